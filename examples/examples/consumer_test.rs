//! A consumer under test: duplicates, reordering, crashes and retries, without a broker and without waiting.
//!
//! The problem: a handler works in the test that calls it once. In production its messages come twice, out of order,
//! and again after a crash between the effect and the acknowledgement. A test with a broker and real waits is slow, and
//! a crash at the right moment is hard to arrange.
//!
//! The solution: `TestConsumer` runs the handlers in the consumer runtime of production, on a broker in memory and with
//! a manual clock. There is one method for each fault. `bill_each_order_once` is the test. It takes the broker, so that
//! it runs on an outbox in SQLite and on Kafka as well: on librdkafka's mock cluster, and on the cluster that
//! `KAFKA_BROKERS` names.
//!
//! Prints the state of each delivery and the calls of the handler, once for each broker.
//!
//! Run: `cargo run -p examples --example consumer_test`. Nothing else is needed.

use std::time::Duration;

use comms_core::{
    Error, ErrorKind, Outbox, Outcome, Scoped,
    event::{Event, EventSource},
    resilience::Backoff,
    testing::{CallResult, DeliveryState, MemoryTx, MemoryUnit, TestBroker, TestConsumer},
    transactional,
    transport::AttemptConfig,
};
use comms_kafka::{KafkaConfig, testing::KafkaTransport};
use comms_outbox::testing::OutboxTransport;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct OrderPlaced {
    order_id: String,
    cents: i64,
}

impl Event for OrderPlaced {
    const TYPE: &'static str = "order.placed";
    const VERSION: u32 = 1;
    fn key(&self) -> String {
        self.order_id.clone()
    }
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct OrderBilled {
    order_id: String,
}

impl Event for OrderBilled {
    const TYPE: &'static str = "order.billed";
    const VERSION: u32 = 1;
    fn key(&self) -> String {
        self.order_id.clone()
    }
}

/// Returns the handler under test: it writes an invoice and an event in one transaction.
fn billing(unit: &MemoryUnit, events: EventSource) -> impl comms_core::Handler {
    let outbox = unit.clone();
    transactional(unit.clone(), move |placed: OrderPlaced, mut tx: Scoped<MemoryTx>| {
        let (outbox, events) = (outbox.clone(), events.clone());
        async move {
            if placed.cents < 0 {
                return Err(Error::invalid("the amount is negative"));
            }
            tx.write(&format!("invoices/{}", placed.order_id), placed.cents.to_string()).await?;
            outbox.enqueue(&mut tx, &[events.message(&OrderBilled { order_id: placed.order_id })?]).await
        }
    })
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    println!("== in memory");
    bill_each_order_once(&TestBroker::memory()).await?;
    println!("== on an outbox");
    bill_each_order_once(&TestBroker::new(OutboxTransport::sqlite().await?)).await?;
    println!("== on the mock cluster");
    bill_each_order_once(&TestBroker::new(KafkaTransport::mock()?.partitions(1))).await?;
    if let Ok(brokers) = std::env::var(examples::BROKERS) {
        println!("== on {brokers}");
        let kafka = KafkaTransport::new(KafkaConfig::new(brokers))?;
        bill_each_order_once(&TestBroker::new(kafka)).await?;
    }
    Ok(())
}

async fn bill_each_order_once(broker: &TestBroker) -> Result<(), Error> {
    let unit = MemoryUnit::new();
    let second = Duration::from_secs(1);
    let attempts = AttemptConfig::default().backoff(Backoff::new(second, 60 * second)?);
    let consumer = TestConsumer::builder("billing")
        .on(OrderPlaced::TYPE, billing(&unit, broker.events("billing")))
        .attempts(attempts)
        .start_on(broker)
        .await?;
    let order = |id: &str, cents| {
        let order = OrderPlaced { order_id: id.into(), cents };
        broker.events("shop").message(&order)
    };

    println!("-- the broker delivers a message twice");
    let twice = consumer.deliver_twice(order("order-1", 100)?).await?;
    println!("{} and {}", twice[0], twice[1]);
    assert_eq!(twice, [DeliveryState::Done, DeliveryState::Duplicate]);

    println!("-- the process crashes after the commit, before the acknowledgement");
    let redelivered = consumer.crash_before_ack(order("order-2", 200)?).await?;
    println!("the redelivery: {redelivered}");
    assert_eq!(redelivered, DeliveryState::Duplicate);

    println!("-- the process crashes before the commit");
    let redelivered = consumer.crash_before_commit(order("order-3", 300)?, &unit).await?;
    println!("the redelivery: {redelivered}");
    assert_eq!(redelivered, DeliveryState::Done);

    println!("-- the database is away for the first commit");
    unit.fail_next_commit(Error::not_executed("connection refused"));
    let held = consumer.deliver(order("order-4", 400)?).await?;
    println!("at first: {held}");
    assert_eq!(held, DeliveryState::Held(ErrorKind::NotExecuted));
    consumer.advance(second).await?; // the wait of the backoff, without waiting

    println!("-- a message that no attempt can handle");
    let negative = order("order-5", -1)?;
    println!("{}", consumer.deliver(negative.clone()).await?);
    consumer.assert_dead_lettered(&negative, ErrorKind::Invalid, "the amount is negative");

    println!("-- the group loses its position, and gets every message again");
    consumer.restart_from_the_beginning().await?;

    println!("-- the calls of the handler:");
    let calls = consumer.calls(OrderPlaced::TYPE);
    calls.list().iter().for_each(|call| println!("{call}"));
    let done = calls.list().iter().filter(|call| call.result == CallResult::Returned(Outcome::Done)).count();
    assert_eq!(done, 4, "each order is billed once");
    let billed = ["order-1", "order-2", "order-3", "order-4"].map(|id| OrderBilled { order_id: id.into() });
    unit.published().to(OrderBilled::TYPE).assert_events(&billed);
    Ok(())
}
