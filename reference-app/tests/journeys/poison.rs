//! Messages that cannot be handled: they are parked, or become dead letters, and other messages continue.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use comms_core::{
    Delivery, Headers, Message, MessageParts, Outcome, Publisher,
    clock::Clock,
    event::{Event, EventSource},
    handler_fn, wire,
};
use comms_kafka::{Consumer, KafkaConfig, KafkaPublisher, dlq_topic};
use reference_app::{
    contracts::{Money, OrderStatusChanged, PaymentStatus, PaymentStatusChanged},
    services,
};
use sqlx::{Connection, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::sync::mpsc;

use crate::support::{Deployment, Marketplace, eventually, server};

/// Returns the groups that consume `order.status.changed`, sorted.
fn groups() -> Vec<&'static str> {
    let all = services::ALL.iter().flat_map(|service| service.subscriptions);
    let mut groups: Vec<_> = all
        .filter(|subscription| subscription.topic == OrderStatusChanged::TYPE)
        .map(|it| it.group)
        .collect();
    groups.sort_unstable();
    assert!(groups.len() > 1, "{groups:?}");
    groups
}

/// Without a broker, each relay parks the key of a message that its group cannot decode, and delivers other keys.
#[tokio::test]
async fn an_undecodable_event_is_parked_embedded() {
    let marketplace = Marketplace::start(Deployment::Embedded).await;
    let ann = marketplace.buyer("ann");
    let mut socket = ann.socket().await;

    let file = marketplace.data_dir().join("order_service.db");
    let options = SqliteConnectOptions::new().filename(file).busy_timeout(Duration::from_secs(5));
    let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
    // A copy of the row of a real order, whose payload is not JSON.
    let first = ann.place("k1", 100).await;
    socket.until(&first.order_id, "PAID").await;
    sqlx::query(
        "INSERT INTO comms_outbox (source, msg_id, topic, key, type, headers, payload)
         SELECT source, 'poison', topic, CAST('poison' AS BLOB), type, headers, CAST('{' AS BLOB)
         FROM comms_outbox WHERE topic = 'order.status.changed' ORDER BY id LIMIT 1",
    )
    .execute(&mut connection)
    .await
    .unwrap();

    let parked = "SELECT COUNT(*) FROM {s}.comms_outbox_parked WHERE error LIKE '%decode%'";
    eventually("every group parked the message", Duration::from_secs(20), async || {
        (marketplace.databases.number("order_service", parked).await.ok()? == groups().len()).then_some(())
    })
    .await;
    let second = ann.place("k2", 100).await;
    socket.until(&second.order_id, "PAID").await;
}

/// On Kafka, each group writes a record that it cannot decode to the dead-letter topic: unchanged, with the reason.
#[tokio::test]
#[ignore = "needs PostgreSQL and Apache Kafka; run scripts/test"]
async fn an_undecodable_record_is_a_dead_letter_full() {
    let marketplace = Marketplace::start(Deployment::Full).await;
    let mut dead_letters = DeadLetters::consume(&marketplace, OrderStatusChanged::TYPE);
    let topic = format!("{}{}", marketplace.prefix, OrderStatusChanged::TYPE);
    let kafka = KafkaConfig::new(server("COMMS_TEST_KAFKA_BROKERS"));
    let publisher = KafkaPublisher::new(&kafka, Clock::system()).unwrap();
    let mut headers = Headers::new();
    headers.append(wire::CE_TYPE, "order.status.changed.v1");
    headers.append("x-unknown", b"\xff\x00");
    let poison = Message::new(MessageParts {
        source: "stranger",
        id: "poison",
        topic: &topic,
        key: Some(b"poison"),
        headers: headers.view(),
        payload: Some(b"{"),
    });
    publisher.enqueue(&mut VecDeque::from([poison])).await.remove(0).unwrap();

    let mut refused = Vec::new();
    for _ in groups() {
        let dead_letter = dead_letters.next().await;
        assert_eq!((dead_letter.source(), dead_letter.id()), ("stranger", "poison"));
        assert_eq!(dead_letter.payload(), Some(&b"{"[..]), "the value of the record");
        assert_eq!(
            dead_letter.headers().get("x-unknown"),
            Some(&b"\xff\x00"[..]),
            "unknown headers are kept"
        );
        assert_eq!(dead_letter.headers().text(wire::DLQ_ERROR_KIND), Some("invalid"));
        assert!(dead_letter.headers().text(wire::DLQ_ERROR).unwrap().contains("decode order.status.changed"));
        refused.push(dead_letter.headers().text(wire::DLQ_GROUP).unwrap().to_owned());
    }
    refused.sort();
    let prefix = &marketplace.prefix;
    assert_eq!(refused, groups().iter().map(|group| format!("{prefix}{group}")).collect::<Vec<_>>());

    let ann = marketplace.buyer("ann");
    let mut socket = ann.socket().await;
    let placed = ann.place("k", 100).await;
    socket.until(&placed.order_id, "PAID").await;
}

/// An event of a payment that does not exist. The payment may be committed later, so all attempts are made. Then the
/// record is a dead letter with the reason, and other groups continue. For the saga it belongs to no run, and changes
/// nothing.
#[tokio::test]
#[ignore = "needs PostgreSQL and Apache Kafka; run scripts/test"]
async fn an_event_of_an_unknown_payment_is_a_dead_letter_after_all_attempts_full() {
    let few = [("COMMS_CONSUMER__MAX_ATTEMPTS", "3"), ("COMMS_CONSUMER__BACKOFF", "50ms")];
    let marketplace = Marketplace::start_with(Deployment::FullByRole, &few).await;
    let mut dead_letters = DeadLetters::consume(&marketplace, PaymentStatusChanged::TYPE);
    let kafka = KafkaConfig::new(server("COMMS_TEST_KAFKA_BROKERS"));
    let publisher = KafkaPublisher::new(&kafka, Clock::system()).unwrap();
    let pending = PaymentStatusChanged {
        payment_id: "p-none".into(),
        order_id: "o-none".into(),
        status: PaymentStatus::Pending,
        sequence: 1,
        amount: Money { minor: 100, currency: "RUB".into() },
        reason: None,
        changed_at: "2026-11-26T00:00:00.000Z".into(),
    };
    let topic = format!("{}{}", marketplace.prefix, PaymentStatusChanged::TYPE);
    let message = EventSource::new("payment-service", Clock::system()).message(&pending).unwrap().to(topic);
    let key = message.key_bytes();
    publisher.enqueue(&mut VecDeque::from([message])).await.remove(0).unwrap();
    let dead_letter = dead_letters.next().await;
    assert_eq!(dead_letter.key_bytes(), key);
    assert_eq!(dead_letter.headers().text(wire::DLQ_ATTEMPTS), Some("3"));
    assert_eq!(dead_letter.headers().text(wire::DLQ_ERROR_KIND), Some("not_found"));
    assert!(dead_letter.headers().text(wire::DLQ_ERROR).unwrap().contains("p-none"));
    let group = format!("{}payment-settlement", marketplace.prefix);
    assert_eq!(dead_letter.headers().text(wire::DLQ_GROUP), Some(&*group));
    let ann = marketplace.buyer("ann");
    let mut socket = ann.socket().await;
    let placed = ann.place("k", 100).await;
    socket.until(&placed.order_id, "PAID").await;
}

/// The dead letters of one topic.
struct DeadLetters(mpsc::Receiver<Message>);

impl DeadLetters {
    fn consume(marketplace: &Marketplace, topic: &str) -> Self {
        let kafka = KafkaConfig::new(server("COMMS_TEST_KAFKA_BROKERS"));
        let topic = dlq_topic(&format!("{}{topic}", marketplace.prefix));
        let (sender, receiver) = mpsc::channel(16);
        let forward = handler_fn(move |delivery: Delivery| {
            let sender = sender.clone();
            async move {
                sender.send(delivery.message).await.unwrap();
                Ok(Outcome::Done)
            }
        });
        let publisher = Arc::new(KafkaPublisher::new(&kafka, Clock::system()).unwrap());
        let consumer = Consumer::builder(&kafka, format!("{}operator", marketplace.prefix))
            .on(topic, forward)
            .dead_letter(publisher)
            .build()
            .unwrap();
        tokio::spawn(consumer.run(std::future::pending()));
        Self(receiver)
    }

    async fn next(&mut self) -> Message {
        let dead_letter = tokio::time::timeout(Duration::from_secs(30), self.0.recv()).await;
        dead_letter.expect("a dead letter in time").unwrap()
    }
}
