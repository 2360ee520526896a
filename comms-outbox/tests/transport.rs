//! The consumer under test on an outbox: one test, which runs in memory and on SQLite.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

use std::time::Duration;

use comms_core::{
    Delivery, Error, ErrorKind, Message, MessageParts, Outcome, Scoped, batch_fn,
    event::Event,
    handler_fn,
    resilience::Backoff,
    testing::{DeliveryState, MemoryTx, MemoryUnit, TestBroker, TestConsumer, TestConsumerBuilder, consumer},
    transactional,
    transport::{AttemptConfig, BatchConfig},
};
use comms_outbox::testing::OutboxTransport;
use serde::{Deserialize, Serialize};

const TOPIC: &str = "order.placed";
const SECOND: Duration = Duration::from_secs(1);

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Placed {
    order: String,
    n: u32,
}

impl Event for Placed {
    const TYPE: &'static str = TOPIC;
    const VERSION: u32 = 1;
    fn key(&self) -> String {
        self.order.clone()
    }
}

fn message(broker: &TestBroker, order: &str, n: u32) -> Message {
    let message = broker.events("shop").message(&Placed { order: order.into(), n }).unwrap();
    Message::new(MessageParts { id: &format!("{order}-{n}"), ..message.parts() })
}

fn builder() -> TestConsumerBuilder {
    let backoff = Backoff::new(SECOND, 60 * SECOND).unwrap();
    TestConsumer::builder("billing").attempts(AttemptConfig::default().backoff(backoff).max_attempts(3))
}

async fn faults(broker: &TestBroker) {
    let unit = MemoryUnit::new();
    let handler = transactional(unit.clone(), |placed: Placed, mut tx: Scoped<MemoryTx>| async move {
        if placed.n > 100 {
            return Err(Error::invalid("too many"));
        }
        tx.write(&format!("{}/{}", placed.order, placed.n), "billed").await
    });
    let consumer = builder().on(TOPIC, handler).start_on(broker).await.unwrap();
    let twice = consumer.deliver_twice(message(broker, "a", 1)).await.unwrap();
    assert_eq!(twice, [DeliveryState::Done, DeliveryState::Duplicate]);
    let orders = [message(broker, "b", 1), message(broker, "b", 2)];
    assert_eq!(consumer.deliver_reversed(&orders).await.unwrap(), [DeliveryState::Done; 2]);
    let crashed = message(broker, "c", 1);
    assert_eq!(consumer.crash_before_ack(crashed.clone()).await.unwrap(), DeliveryState::Duplicate);
    consumer.assert_states_of(&crashed, &[DeliveryState::Abandoned, DeliveryState::Duplicate]);
    let rolled_back = consumer.crash_before_commit(message(broker, "d", 1), &unit).await.unwrap();
    assert_eq!(rolled_back, DeliveryState::Done);

    let (refused, behind) = (message(broker, "e", 101), message(broker, "e", 1));
    let dead = DeliveryState::DeadLettered(ErrorKind::Invalid);
    let states = consumer.deliver_all([refused.clone(), behind]).await.unwrap();
    assert_eq!(states, [dead, DeliveryState::Done], "the key goes on");
    consumer.assert_dead_lettered(&refused, ErrorKind::Invalid, "too many");
    let letters = consumer.dead_letters();
    letters.assert_count(1).to("order.placed.dlq").assert_events(&[Placed { order: "e".into(), n: 101 }]);

    consumer.restart_from_the_beginning().await.unwrap();
    let a = message(broker, "a", 1);
    let (done, again) = (DeliveryState::Done, DeliveryState::Duplicate);
    consumer.assert_states_of(&a, &[done, again, again, again]);
    assert_eq!(unit.rows().len(), 6);
}

async fn waits(broker: &TestBroker) {
    let handler = handler_fn(|delivery: Delivery| async move {
        match (delivery.message.id(), delivery.attempt) {
            ("retried-1", 1 | 2) => Err(Error::indeterminate("no answer")),
            ("stopping-1", _) => Err(Error::fatal("the lease is lost")),
            _ => Ok(Outcome::Done),
        }
    });
    let consumer = builder().on(TOPIC, handler).start_on(broker).await.unwrap();
    let (retried, behind) = (message(broker, "retried", 1), message(broker, "retried", 2));
    let retrying = DeliveryState::Retrying(ErrorKind::Indeterminate);
    assert_eq!(consumer.deliver(retried.clone()).await.unwrap(), retrying);
    assert_eq!(consumer.deliver(behind.clone()).await.unwrap(), DeliveryState::Queued);
    assert_eq!(consumer.deliver(message(broker, "free", 1)).await.unwrap(), DeliveryState::Done);
    consumer.advance(SECOND).await.unwrap();
    consumer.assert_states_of(&retried, &[retrying]);
    consumer.advance(2 * SECOND).await.unwrap();
    consumer.assert_states_of(&retried, &[DeliveryState::Done]);
    consumer.assert_states_of(&behind, &[DeliveryState::Done]);
    let stopped = consumer.deliver(message(broker, "stopping", 1)).await.unwrap();
    assert_eq!(stopped, DeliveryState::Stopped(ErrorKind::Fatal));
    assert!(consumer.failure().unwrap().text.contains("the lease is lost"));
}

/// A hold that is longer than a local consumer holds a message in production keeps the backoff of the test.
async fn holds(broker: &TestBroker) {
    let handler = handler_fn(|delivery: Delivery| async move {
        match delivery.message.id() {
            "a-1" => Err(Error::not_executed("the bank is away")),
            _ => Ok(Outcome::Done),
        }
    });
    let consumer = builder().on(TOPIC, handler).start_on(broker).await.unwrap();
    let held = DeliveryState::Held(ErrorKind::NotExecuted);
    assert_eq!(consumer.deliver(message(broker, "a", 1)).await.unwrap(), held);
    consumer.advance(63 * SECOND).await.unwrap();
    consumer.assert_states(&[held]);
    consumer.calls(TOPIC).assert_called(7); // after 0, 1, 3, 7, 15, 31 and 63 s
    assert_eq!(consumer.holds()[0].attempts, 7);
}

async fn batches(broker: &TestBroker) {
    let handler = batch_fn(|batch: Vec<Delivery>| async move {
        let result = |delivery: &Delivery| match delivery.message.id() {
            "b-1" => Err(Error::invalid("too many")),
            _ => Ok(Outcome::Done),
        };
        Ok(batch.iter().map(result).collect())
    });
    let builder = builder().on_batch(TOPIC, handler).batch(BatchConfig::default().max_records(3));
    let consumer = builder.start_on(broker).await.unwrap();
    let orders = ["a", "b", "c", "d", "e"].map(|order| message(broker, order, 1));
    let states = consumer.deliver_all(orders).await.unwrap();
    let dead = DeliveryState::DeadLettered(ErrorKind::Invalid);
    let done = DeliveryState::Done;
    assert_eq!(states, [done, dead, done, done, done]);
    let sizes: Vec<_> = consumer.calls(TOPIC).list().iter().map(|call| call.batch).collect();
    assert_eq!(sizes, [3, 3, 3, 2, 2]);
}

async fn all(broker: impl AsyncFn() -> TestBroker) {
    faults(&broker().await).await;
    waits(&broker().await).await;
    holds(&broker().await).await;
    batches(&broker().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_test_runs_in_memory() {
    all(async || TestBroker::memory()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_test_runs_on_an_outbox() {
    all(async || TestBroker::new(OutboxTransport::sqlite().await.unwrap())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_local_consumer_passes_the_suite() {
    consumer::all(&OutboxTransport::sqlite().await.unwrap()).await.unwrap();
}
