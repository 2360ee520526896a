//! The consumer under test on Kafka: one test, which runs in memory, on the mock cluster and on a real cluster.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use comms_core::{
    Delivery, Error, ErrorKind, Message, MessageParts, Outcome, Scoped, batch_fn,
    event::Event,
    handler_fn,
    resilience::Backoff,
    testing::{
        DeliveryState, MemoryPublisher, MemoryTx, MemoryUnit, TestBroker, TestConsumer, TestConsumerBuilder,
        consumer,
    },
    transactional,
    transport::{AttemptConfig, BatchConfig, Ordering},
};
use comms_kafka::{KafkaConfig, testing::KafkaTransport};
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

/// Applies each order to a row. Orders above 100 are refused.
fn billing(unit: &MemoryUnit) -> impl comms_core::Handler {
    transactional(unit.clone(), |placed: Placed, mut tx: Scoped<MemoryTx>| async move {
        if placed.n > 100 {
            return Err(Error::invalid("too many"));
        }
        tx.write(&format!("{}/{}", placed.order, placed.n), "billed").await
    })
}

async fn faults(broker: &TestBroker) {
    let unit = MemoryUnit::new();
    let consumer = builder().on(TOPIC, billing(&unit)).start_on(broker).await.unwrap();
    let twice = consumer.deliver_twice(message(broker, "a", 1)).await.unwrap();
    assert_eq!(twice, [DeliveryState::Done, DeliveryState::Duplicate]);
    let orders = [message(broker, "b", 1), message(broker, "b", 2)];
    let reversed = consumer.deliver_reversed(&orders).await.unwrap();
    assert_eq!(reversed, [DeliveryState::Done; 2]);

    let crashed = message(broker, "c", 1);
    assert_eq!(consumer.crash_before_ack(crashed.clone()).await.unwrap(), DeliveryState::Duplicate);
    consumer.assert_states_of(&crashed, &[DeliveryState::Abandoned, DeliveryState::Duplicate]);
    let rolled_back = consumer.crash_before_commit(message(broker, "d", 1), &unit).await.unwrap();
    assert_eq!(rolled_back, DeliveryState::Done);

    let refused = message(broker, "e", 101);
    consumer.deliver(refused.clone()).await.unwrap();
    consumer.assert_dead_lettered(&refused, ErrorKind::Invalid, "too many");
    let letters = consumer.dead_letters();
    letters.assert_count(1).to("order.placed.dlq").assert_events(&[Placed { order: "e".into(), n: 101 }]);

    consumer.restart_from_the_beginning().await.unwrap();
    consumer.assert_states_of(&orders[0], &[DeliveryState::Done, DeliveryState::Duplicate]);
    assert_eq!(unit.rows().len(), 5);
}

async fn waits(broker: &TestBroker) {
    let publisher = MemoryPublisher::new();
    publisher.judge(|_| Err(Error::not_executed("away")));
    let handler = handler_fn(|delivery: Delivery| async move {
        match (delivery.message.id(), delivery.attempt) {
            ("retried-1", 1 | 2) => Err(Error::indeterminate("no answer")),
            ("hopeless-1", _) => Err(Error::conflict("lost")),
            _ => Ok(Outcome::Done),
        }
    });
    let builder = builder().on(TOPIC, handler).dead_letter(Arc::new(publisher.clone()));
    let consumer = builder.start_on(broker).await.unwrap();
    let retried = message(broker, "retried", 1);
    let (behind, hopeless) = (message(broker, "retried", 2), message(broker, "hopeless", 1));
    let retrying = DeliveryState::Retrying(ErrorKind::Indeterminate);
    assert_eq!(consumer.deliver(retried.clone()).await.unwrap(), retrying);
    assert_eq!(consumer.deliver(behind.clone()).await.unwrap(), DeliveryState::Queued);
    assert_eq!(consumer.deliver(message(broker, "free", 1)).await.unwrap(), DeliveryState::Done);
    consumer.deliver(hopeless.clone()).await.unwrap();
    consumer.advance(SECOND).await.unwrap();
    consumer.assert_states_of(&retried, &[retrying]);
    consumer.advance(2 * SECOND).await.unwrap();
    consumer.assert_states_of(&retried, &[DeliveryState::Done]);
    consumer.assert_states_of(&behind, &[DeliveryState::Done]);
    consumer.assert_states_of(&hopeless, &[DeliveryState::Held(ErrorKind::Misconfigured)]);
    assert_eq!(consumer.holds().len(), 1);
    publisher.judge(|_| Ok(()));
    consumer.advance(60 * SECOND).await.unwrap();
    consumer.assert_dead_lettered(&hopeless, ErrorKind::Conflict, "lost");
}

async fn a_fatal_error(broker: &TestBroker) {
    let handler = handler_fn(|delivery: Delivery| async move {
        match delivery.message.id() {
            "a-1" => Err(Error::fatal("the lease is lost")),
            _ => Ok(Outcome::Done),
        }
    });
    let consumer = builder().on(TOPIC, handler).start_on(broker).await.unwrap();
    assert_eq!(consumer.deliver(message(broker, "b", 1)).await.unwrap(), DeliveryState::Done);
    let stopped = consumer.deliver(message(broker, "a", 1)).await.unwrap();
    assert_eq!(stopped, DeliveryState::Stopped(ErrorKind::Fatal));
    let failure = consumer.failure().unwrap();
    assert!(failure.text.contains("the lease is lost"), "{failure:?}");
}

async fn a_partition_in_order(broker: &TestBroker) {
    let handler = handler_fn(|delivery: Delivery| async move {
        if delivery.attempt == 1 { Err(Error::conflict("lost")) } else { Ok(Outcome::Done) }
    });
    let builder = builder().on(TOPIC, handler).ordering(Ordering::Partition);
    let consumer = builder.start_on(broker).await.unwrap();
    for order in ["a", "b", "c", "d", "e", "f"] {
        consumer.deliver(message(broker, order, 1)).await.unwrap();
    }
    assert!(consumer.states().contains(&DeliveryState::Queued));
    consumer.advance(10 * SECOND).await.unwrap();
    consumer.assert_states(&[DeliveryState::Done; 6]);
}

/// The sizes of batches are not certain on Kafka, and the ends of the deliveries are.
async fn batches(broker: &TestBroker) {
    let is_away = Arc::new(AtomicBool::new(false));
    let away = is_away.clone();
    let handler = batch_fn(move |batch: Vec<Delivery>| {
        let is_away = away.load(SeqCst);
        async move {
            let result = |delivery: &Delivery| match delivery.message.id() {
                "b-1" => Err(Error::invalid("too many")),
                _ => Ok(Outcome::Done),
            };
            if is_away { Err(Error::not_executed("away")) } else { Ok(batch.iter().map(result).collect()) }
        }
    });
    let builder = builder().on_batch(TOPIC, handler).batch(BatchConfig::default().max_records(3));
    let consumer = builder.start_on(broker).await.unwrap();
    let orders = ["a", "b", "c", "d", "e"];
    let states = consumer.deliver_all(orders.map(|order| message(broker, order, 1))).await.unwrap();
    let (done, dead) = (DeliveryState::Done, DeliveryState::DeadLettered(ErrorKind::Invalid));
    assert_eq!(states, [done, dead, done, done, done]);
    let sizes: Vec<_> = consumer.calls(TOPIC).list().iter().map(|call| call.batch).collect();
    assert!(sizes.len() == 5 && sizes.iter().all(|size| (1..=3).contains(size)), "{sizes:?}");

    is_away.store(true, SeqCst);
    for n in 2..5 {
        let states = consumer.deliver_all(orders.map(|order| message(broker, order, n))).await.unwrap();
        let waits = [DeliveryState::Held(ErrorKind::NotExecuted), DeliveryState::Queued];
        assert!(states.iter().all(|state| waits.contains(state)), "{states:?}");
        consumer.advance(SECOND).await.unwrap();
    }
    is_away.store(false, SeqCst);
    consumer.advance(60 * SECOND).await.unwrap();
    assert_eq!(consumer.states()[5..], [done; 15]);
    assert!(consumer.holds().is_empty());
}

async fn all(broker: impl Fn() -> TestBroker) {
    batches(&broker()).await;
    faults(&broker()).await;
    waits(&broker()).await;
    a_partition_in_order(&broker()).await;
    a_fatal_error(&broker()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_test_runs_in_memory() {
    all(TestBroker::memory).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_consumer_passes_the_suite_on_the_mock_cluster() {
    consumer::all(&KafkaTransport::mock().unwrap()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Apache Kafka; run scripts/test"]
async fn the_consumer_passes_the_suite_on_a_real_cluster() {
    let brokers = std::env::var("COMMS_TEST_KAFKA_BROKERS").unwrap();
    consumer::all(&KafkaTransport::new(KafkaConfig::new(&brokers)).unwrap()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_test_runs_on_the_mock_cluster() {
    all(|| TestBroker::new(KafkaTransport::mock().unwrap())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Apache Kafka; run scripts/test"]
async fn the_same_test_runs_on_a_real_cluster() {
    let brokers = std::env::var("COMMS_TEST_KAFKA_BROKERS").unwrap();
    all(|| TestBroker::new(KafkaTransport::new(KafkaConfig::new(&brokers)).unwrap())).await;
}
