//! Events through Kafka: in order per key, each handled at least once, and one bad record that stops no other.
//!
//! The problem: a Kafka client gives bytes and offsets. A consumer that handles one record after the other lets a slow
//! or unreadable record stop its partition. One that handles them concurrently mixes up the events of an order, or
//! commits an offset before the record is handled, and loses it in a crash.
//!
//! The solution: `Consumer` handles the records of one key in order and other keys meanwhile, retries with a backoff,
//! publishes what can never succeed to a dead-letter topic, and commits an offset only when every record up to it is
//! handled or is a dead letter.
//!
//! `cargo run -p examples --example kafka`: needs no broker, librdkafka's mock cluster runs in this process.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use comms_core::{
    Delivery, Error, Outcome, Publisher,
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
    /// Events of one order keep their order.
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

    println!("-- group mail");
    let (sent, mut mails) = mpsc::channel(16);
    let mut attempts = AttemptConfig::default();
    attempts.backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5))?;
    let consumer = Consumer::builder(&kafka.config, "mail")
        .on(StatusChanged::TYPE, handler_fn(move |delivery| send_mail(delivery, sent.clone())))
        .attempts(attempts)
        .dead_letter(publisher.clone())
        .build()?;
    let mut seen = Vec::new();
    // `run` stops in order when this future resolves. In a service that is SIGTERM.
    let five_mails = async {
        while let Some(mail) = mails.recv().await {
            seen.push(mail);
            if seen.len() == 5 {
                break;
            }
        }
    };
    consumer.run(until(five_mails)).await?;
    let of = |order: &str| seen.iter().filter(|mail| mail.starts_with(order)).cloned().collect::<Vec<_>>();
    anyhow::ensure!(of("order-1") == ["order-1 PLACED", "order-1 PAID", "order-1 SHIPPED"], "{seen:?}");
    anyhow::ensure!(of("order-2") == ["order-2 PLACED", "order-2 CANCELLED"], "{seen:?}");

    println!("-- group operator, on the dead letters");
    let (read, mut letters) = mpsc::channel(1);
    let show = handler_fn(move |delivery: Delivery| {
        let headers = &delivery.message.headers;
        println!("dead letter: {}", headers.text(wire::DLQ_ERROR).unwrap_or_default());
        let _ = read.try_send(());
        async { Ok(Outcome::Done) }
    });
    let operator = Consumer::builder(&kafka.config, "operator")
        .on(dlq_topic(StatusChanged::TYPE), show)
        .dead_letter(publisher)
        .build()?;
    operator.run(until(letters.recv())).await?;
    Ok(())
}

/// Publishes events of two orders, and between them a record that no consumer can read.
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
            message.payload = Some("{".into());
        }
        batch.push_back(message);
    }
    // A publisher takes as many messages as it has room for.
    while !batch.is_empty() {
        publisher.ready().await?;
        for acknowledged in publisher.enqueue(&mut batch).await {
            let receipt = acknowledged?;
            println!("published at offset {}", receipt.offset.unwrap_or_default());
        }
    }
    Ok(())
}

/// Fails once for a payment: its order waits for the retry, other orders do not.
async fn send_mail(delivery: Delivery, sent: mpsc::Sender<String>) -> Result<Outcome, Error> {
    let Some(event) = event::read::<StatusChanged>(&delivery.message)? else { return Ok(Outcome::Skipped) };
    let mail = format!("{} {}", event.order_id, event.status);
    if event.status == "PAID" && delivery.attempt == 1 {
        println!("{mail}: the mail server did not answer, retry");
        return Err(Error::indeterminate("the mail server did not answer"));
    }
    println!("{mail}: mail sent at attempt {}", delivery.attempt);
    let _ = sent.send(mail).await;
    Ok(Outcome::Done)
}
