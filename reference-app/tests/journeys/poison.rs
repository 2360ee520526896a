//! What can never be handled: set aside with its reason, and in nobody's way.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use comms_core::{
    Delivery, Headers, Message, Outcome, Publisher,
    bytes::Bytes,
    clock::Clock,
    event::{Event, EventSource},
    handler_fn, wire,
};
use comms_kafka::{Consumer, KafkaConfig, KafkaPublisher, dlq_topic};
use reference_app::contracts::{Money, OrderStatusChanged, PaymentStatus, PaymentStatusChanged};
use sqlx::{Connection, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::sync::mpsc;

use crate::support::{Marketplace, Shape, eventually, server};

/// Without a broker: a row that no consumer can decode parks its key at each of them, and other keys flow.
#[tokio::test]
async fn an_undecodable_event_is_parked_embedded() {
    let marketplace = Marketplace::start(Shape::Embedded).await;
    let ann = marketplace.buyer("ann");
    let mut socket = ann.socket().await;

    let file = marketplace.data_dir().join("order_service.db");
    let options = SqliteConnectOptions::new().filename(file).busy_timeout(Duration::from_secs(5));
    let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
    // As a program with a bug would have written it: the row of a real order, with a payload that is no JSON.
    let first = ann.place("k1", 100).await;
    socket.until(&first.order_id, "PAID").await;
    sqlx::query(
        "INSERT INTO comms_outbox (source, msg_id, topic, key, type, headers, payload)
         SELECT source, 'poison', topic, CAST('poison' AS BLOB), type, headers, CAST('{' AS BLOB)
         FROM comms_outbox LIMIT 1",
    )
    .execute(&mut connection)
    .await
    .unwrap();

    let parked = "SELECT COUNT(*) FROM {s}.comms_outbox_parked WHERE error LIKE '%decode%'";
    eventually("both groups parked it", Duration::from_secs(20), async || {
        (marketplace.books.number("order_service", parked).await.ok()? == 2).then_some(())
    })
    .await;
    let second = ann.place("k2", 100).await;
    socket.until(&second.order_id, "PAID").await;
}

/// On Kafka: a record that cannot be decoded goes to the dead letters of each group, raw, with the reason.
#[tokio::test]
#[ignore = "needs PostgreSQL and Apache Kafka; run scripts/test"]
async fn an_undecodable_record_is_a_dead_letter_full() {
    let marketplace = Marketplace::start(Shape::Full).await;
    let mut letters = DeadLetters::listen(&marketplace, OrderStatusChanged::TYPE);
    let topic = format!("{}{}", marketplace.prefix, OrderStatusChanged::TYPE);
    let kafka = KafkaConfig::new(server("COMMS_TEST_KAFKA_BROKERS"));
    let publisher = KafkaPublisher::new(&kafka, Clock::system()).unwrap();
    let mut headers = Headers::new();
    headers.append(wire::CE_TYPE, "order.status.changed.v1");
    headers.append("x-unknown", Bytes::from_static(b"\xff\x00"));
    let poison = Message {
        source: "stranger".into(),
        id: "poison".into(),
        topic: topic.into(),
        key: Some(Bytes::from_static(b"poison")),
        headers,
        payload: Some(Bytes::from_static(b"{")),
    };
    publisher.enqueue(&mut VecDeque::from([poison])).await.remove(0).unwrap();

    let mut groups = Vec::new();
    for _ in 0..2 {
        let letter = letters.next().await;
        assert_eq!((&*letter.source, &*letter.id), ("stranger", "poison"));
        assert_eq!(letter.payload.as_deref(), Some(&b"{"[..]), "the raw value");
        assert_eq!(
            letter.headers.get("x-unknown").map(|v| &v[..]),
            Some(&b"\xff\x00"[..]),
            "unknown headers stay"
        );
        assert_eq!(letter.headers.text(wire::DLQ_ERROR_KIND), Some("invalid"));
        assert!(letter.headers.text(wire::DLQ_ERROR).unwrap().contains("decode order.status.changed"));
        groups.push(letter.headers.text(wire::DLQ_GROUP).unwrap().to_owned());
    }
    groups.sort();
    let prefix = &marketplace.prefix;
    assert_eq!(groups, [format!("{prefix}notification-orders"), format!("{prefix}order-saga")]);

    let ann = marketplace.buyer("ann");
    let mut socket = ann.socket().await;
    let placed = ann.place("k", 100).await;
    socket.until(&placed.order_id, "PAID").await;
}

/// A payment of an order that does not exist: it may exist yet, so all attempts are made, and then the record is a dead
/// letter with the reason; other groups have not noticed.
#[tokio::test]
#[ignore = "needs PostgreSQL and Apache Kafka; run scripts/test"]
async fn what_is_never_found_is_a_dead_letter_after_all_attempts_full() {
    let few = [("COMMS_CONSUMER__MAX_ATTEMPTS", "3"), ("COMMS_CONSUMER__BACKOFF", "50ms")];
    let marketplace = Marketplace::start_with(Shape::FullByRole, &few).await;
    let mut letters = DeadLetters::listen(&marketplace, PaymentStatusChanged::TYPE);
    let kafka = KafkaConfig::new(server("COMMS_TEST_KAFKA_BROKERS"));
    let publisher = KafkaPublisher::new(&kafka, Clock::system()).unwrap();
    let paid = PaymentStatusChanged {
        payment_id: "p-none".into(),
        order_id: "o-none".into(),
        status: PaymentStatus::Succeeded,
        sequence: 2,
        amount: Money { minor: 100, currency: "RUB".into() },
        reason: None,
        changed_at: "2026-11-26T00:00:00.000Z".into(),
    };
    let topic = format!("{}{}", marketplace.prefix, PaymentStatusChanged::TYPE);
    let message = EventSource::new("payment-service", Clock::system()).message(&paid).unwrap().to(topic);
    let key = message.key.clone();
    publisher.enqueue(&mut VecDeque::from([message])).await.remove(0).unwrap();
    let letter = letters.next().await;
    assert_eq!(letter.key, key);
    assert_eq!(letter.headers.text(wire::DLQ_ATTEMPTS), Some("3"));
    assert_eq!(letter.headers.text(wire::DLQ_ERROR_KIND), Some("not_found"));
    assert!(letter.headers.text(wire::DLQ_ERROR).unwrap().contains("o-none"));
    let ann = marketplace.buyer("ann");
    let mut socket = ann.socket().await;
    let placed = ann.place("k", 100).await;
    socket.until(&placed.order_id, "PAID").await;
}

/// The dead letters of one topic, as an operator would read them.
struct DeadLetters(mpsc::Receiver<Message>);

impl DeadLetters {
    fn listen(marketplace: &Marketplace, topic: &str) -> Self {
        let kafka = KafkaConfig::new(server("COMMS_TEST_KAFKA_BROKERS"));
        let topic = dlq_topic(&format!("{}{topic}", marketplace.prefix));
        let (sender, receiver) = mpsc::channel(16);
        let keep = handler_fn(move |delivery: Delivery| {
            let sender = sender.clone();
            async move {
                sender.send(delivery.message).await.unwrap();
                Ok(Outcome::Done)
            }
        });
        let publisher = Arc::new(KafkaPublisher::new(&kafka, Clock::system()).unwrap());
        let consumer = Consumer::builder(&kafka, format!("{}operator", marketplace.prefix))
            .on(topic, keep)
            .dead_letter(publisher)
            .build()
            .unwrap();
        tokio::spawn(consumer.run(std::future::pending()));
        Self(receiver)
    }

    async fn next(&mut self) -> Message {
        let letter = tokio::time::timeout(Duration::from_secs(30), self.0.recv()).await;
        letter.expect("a dead letter in time").unwrap()
    }
}
