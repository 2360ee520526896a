//! Kafka: events in order per key, handled at least once, with retries and dead letters.
//!
//! The problem: a Kafka client delivers bytes and offsets. If a consumer handles record after record, a slow or
//! unreadable record stops its partition. If it handles them concurrently, the events of an order get out of order, or
//! an offset is committed before its record is handled, and the record is lost in a crash.
//!
//! The solution: `Consumer` handles the records of one key in order and those of other keys concurrently. It retries
//! with backoff, publishes records that cannot succeed to a dead-letter topic, and commits an offset only when every
//! record up to it is handled or is a dead letter.
//!
//! Prints the published offsets, the mails with their attempt, and the dead letter.
//!
//! Run: `cargo run -p examples --example kafka`. No broker is needed; librdkafka's mock cluster is in this process.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use comms_core::{
    Delivery, Error, Message, MessageParts, Outcome, Publisher,
    clock::Clock,
    event::{self, Event, EventSource},
    handler_fn,
    resilience::Backoff,
    transport::AttemptConfig,
    wire,
};
use comms_kafka::{Consumer, KafkaPublisher, TopicSpec, dlq_topic};
use examples::{Kafka, until};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

#[derive(Serialize, Deserialize)]
struct StatusChanged {
    order_id: String,
    status: String,
}

impl Event for StatusChanged {
    const TYPE: &'static str = "order.status.changed";
    const VERSION: u32 = 1;
    /// Events with the same key keep their order.
    fn key(&self) -> String {
        self.order_id.clone()
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let topic = TopicSpec::new(StatusChanged::TYPE, 1, 1);
    let kafka = Kafka::mock(&[topic.clone(), topic.dead_letters()])?;
    let publisher = Arc::new(KafkaPublisher::new(&kafka.config, Clock::system())?);
    publish(&publisher).await?;

    println!("-- the group mail consumes the events");
    let (sent, mut mails) = mpsc::channel(16);
    let mut attempts = AttemptConfig::default();
    attempts.backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5))?;
    let consumer = Consumer::builder(&kafka.config, "mail")
        .on(StatusChanged::TYPE, handler_fn(move |delivery| send_mail(delivery, sent.clone())))
        .attempts(attempts)
        .dead_letter(publisher.clone())
        .build()?;
    let mut received = Vec::new();
    // `run` shuts down gracefully when this future resolves. A service passes its SIGTERM.
    let five_mails = async {
        while let Some(mail) = mails.recv().await {
            received.push(mail);
            if received.len() == 5 {
                break;
            }
        }
    };
    consumer.run(until(five_mails)).await?;
    let of =
        |order: &str| received.iter().filter(|mail| mail.starts_with(order)).cloned().collect::<Vec<_>>();
    anyhow::ensure!(of("order-1") == ["order-1 PLACED", "order-1 PAID", "order-1 SHIPPED"], "{received:?}");
    anyhow::ensure!(of("order-2") == ["order-2 PLACED", "order-2 CANCELLED"], "{received:?}");

    println!("-- the group operator consumes the dead letters");
    let (shown, mut dead_letters) = mpsc::channel(1);
    let show = handler_fn(move |delivery: Delivery| {
        let headers = delivery.message.headers();
        println!("dead letter: {}", headers.text(wire::DLQ_ERROR).unwrap_or_default());
        let _ = shown.try_send(());
        async { Ok(Outcome::Done) }
    });
    let operator = Consumer::builder(&kafka.config, "operator")
        .on(dlq_topic(StatusChanged::TYPE), show)
        .dead_letter(publisher)
        .build()?;
    operator.run(until(dead_letters.recv())).await?;
    Ok(())
}

/// Publishes the events of two orders, and a record that no consumer can decode.
async fn publish(publisher: &KafkaPublisher) -> anyhow::Result<()> {
    let mut batch = VecDeque::new();
    for (order_id, status) in [
        ("order-1", "PLACED"),
        ("order-2", "PLACED"),
        ("order-1", "PAID"),
        ("order-2", "unreadable"),
        ("order-1", "SHIPPED"),
        ("order-2", "CANCELLED"),
    ] {
        let event = StatusChanged { order_id: order_id.into(), status: status.into() };
        let mut message = EventSource::new("order-service", Clock::system()).message(&event)?;
        if status == "unreadable" {
            message = Message::new(MessageParts { payload: Some(b"{"), ..message.parts() });
        }
        batch.push_back(message);
    }
    // `enqueue` takes as many messages from the front as fit into the producer's queue.
    while !batch.is_empty() {
        publisher.ready().await?;
        for acknowledged in publisher.enqueue(&mut batch).await {
            let receipt = acknowledged?;
            println!("published at offset {}", receipt.offset.unwrap_or_default());
        }
    }
    Ok(())
}

/// Sends a mail for an event. The first attempt for PAID fails, and the later events of that order wait for the retry.
async fn send_mail(delivery: Delivery, sent: mpsc::Sender<String>) -> Result<Outcome, Error> {
    let Some(event) = event::read::<StatusChanged>(&delivery.message)? else { return Ok(Outcome::Skipped) };
    let mail = format!("{} {}", event.order_id, event.status);
    if event.status == "PAID" && delivery.attempt == 1 {
        println!("{mail}: the mail server did not answer, to be retried");
        return Err(Error::indeterminate("the mail server did not answer"));
    }
    println!("{mail}: mail sent at attempt {}", delivery.attempt);
    let _ = sent.send(mail).await;
    Ok(Outcome::Done)
}
