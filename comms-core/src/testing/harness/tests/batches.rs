//! Batch handlers: what comes together, and what the failure of one message or of the whole batch means.

use tokio::sync::Semaphore;

use super::*;
use crate::{BatchHandler, BatchResults, batch_fn, transactional_batch, transport::BatchConfig};

/// Returns a handler whose nth call returns the nth result, and `Done` for each message after the last one.
fn scripted(results: impl IntoIterator<Item = Result<BatchResults, Error>>) -> impl BatchHandler {
    let results = Arc::new(Mutex::new(results.into_iter().collect::<std::collections::VecDeque<_>>()));
    batch_fn(move |batch: Vec<Delivery>| {
        let next = results.lock().unwrap().pop_front();
        async move { next.unwrap_or_else(|| Ok(done(batch.len()))) }
    })
}

fn done(count: usize) -> BatchResults {
    (0..count).map(|_| Ok(Outcome::Done)).collect()
}

async fn start(handler: impl BatchHandler) -> TestConsumer {
    TestConsumer::builder("billing").on_batch(TOPIC, handler).start().await.unwrap()
}

/// Returns the size of the batch of each call.
fn sizes(consumer: &TestConsumer) -> Vec<usize> {
    consumer.calls(TOPIC).list().iter().map(|call| call.batch).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn messages_that_are_delivered_together_are_one_batch_within_its_limit() {
    let builder = TestConsumer::builder("billing").batch(BatchConfig::default().max_records(3));
    let consumer = builder.on_batch(TOPIC, scripted([])).start().await.unwrap();
    let five = ["a", "b", "a", "c", "d"].map(|order| message(order, 1));
    assert_eq!(consumer.deliver_all(five).await.unwrap(), [DeliveryState::Done; 5]);
    assert_eq!(sizes(&consumer), [3, 3, 3, 2, 2]);
    assert_eq!(consumer.deliver(message("e", 1)).await.unwrap(), DeliveryState::Done);
    assert_eq!(sizes(&consumer).last(), Some(&1));
    let shown = consumer.calls(TOPIC).list()[1].to_string();
    assert_eq!(shown, "order.placed/0@1, attempt 1, key b, in a batch of 3: returned done");
}

#[tokio::test]
async fn messages_that_arrive_while_the_handler_is_busy_are_the_next_batch() {
    let gate = Arc::new(Semaphore::new(0));
    let opened = gate.clone();
    let consumer = start(batch_fn(move |batch: Vec<Delivery>| {
        let gate = gate.clone();
        async move {
            gate.acquire().await.unwrap().forget();
            Ok(done(batch.len()))
        }
    }))
    .await;
    consumer.publish(message("a", 1)).await.unwrap();
    consumer.until_called(TOPIC, 1).await.unwrap();
    for order in ["a", "b", "c"] {
        consumer.publish(message(order, 2)).await.unwrap();
    }
    opened.add_permits(2);
    consumer.settle().await.unwrap();
    consumer.assert_states(&[DeliveryState::Done; 4]);
    assert_eq!(sizes(&consumer), [1, 3, 3, 3]);
}

#[tokio::test]
async fn a_message_that_fails_is_attempted_again_alone_and_its_key_waits() {
    let results = vec![
        Ok(Outcome::Done),
        Err(Error::indeterminate("no answer")),
        Err(Error::invalid("because of b-1")),
    ];
    let consumer = start(scripted([Ok(results)])).await;
    let (a, b, behind) = (message("a", 1), message("b", 1), message("b", 2));
    let states = consumer.deliver_all([a, b.clone(), behind.clone()]).await.unwrap();
    let retrying = DeliveryState::Retrying(ErrorKind::Indeterminate);
    assert_eq!(states, [DeliveryState::Done, retrying, DeliveryState::Queued]);
    assert_eq!(consumer.deliver(message("c", 1)).await.unwrap(), DeliveryState::Done, "other keys go on");
    consumer.advance(Duration::from_millis(100)).await.unwrap();
    consumer.assert_states(&[DeliveryState::Done; 4]);
    let calls = consumer.calls(TOPIC);
    let attempts = |message: &Message| {
        let of = calls.list().iter().filter(|call| call.delivery.message.id() == message.id());
        of.map(|call| (call.batch, call.delivery.attempt)).collect::<Vec<_>>()
    };
    assert_eq!(attempts(&b), [(3, 1), (1, 2)]);
    assert_eq!(attempts(&behind), [(3, 1), (1, 1)], "the ignored failure is no attempt");
}

#[tokio::test]
async fn after_the_failure_of_a_batch_each_message_is_attempted_alone() {
    let handler = batch_fn(|batch: Vec<Delivery>| async move {
        let is_bad = batch.iter().any(|delivery| delivery.message.id() == "b-0");
        if is_bad { Err(Error::invalid("no price")) } else { Ok(done(batch.len())) }
    });
    let consumer = start(handler).await;
    let (bad, dead) = (message("b", 0), DeliveryState::DeadLettered(ErrorKind::Invalid));
    let states = consumer.deliver_all([message("a", 1), bad.clone(), message("b", 1)]).await.unwrap();
    assert_eq!(states, [DeliveryState::Done, dead, DeliveryState::Done]);
    assert_eq!(sizes(&consumer), [3, 1, 3, 1, 3, 1]);
    consumer.assert_dead_lettered(&bad, ErrorKind::Invalid, "no price");
}

#[tokio::test]
async fn a_batch_in_a_transaction_has_the_same_faults_as_a_message() {
    let unit = MemoryUnit::new();
    let handler =
        transactional_batch(unit.clone(), |orders: Vec<Placed>, mut tx: Scoped<MemoryTx>| async move {
            for order in &orders {
                tx.write(&order.order, orders.len().to_string()).await?;
            }
            if orders.iter().any(|order| order.cents == 0) { Err(Error::invalid("no price")) } else { Ok(()) }
        });
    let consumer = start(handler).await;
    let states = consumer.deliver_all([message("a", 1), message("b", 0), message("c", 1)]).await.unwrap();
    let dead = DeliveryState::DeadLettered(ErrorKind::Invalid);
    assert_eq!(states, [DeliveryState::Done, dead, DeliveryState::Done]);
    assert_eq!(unit.rows().iter().map(|(row, _)| &**row).collect::<Vec<_>>(), ["a", "c"]);
    let twice = consumer.deliver_twice(message("d", 1)).await.unwrap();
    assert_eq!(twice, [DeliveryState::Done, DeliveryState::Duplicate]);
    let crashed = consumer.crash_before_ack(message("e", 1)).await.unwrap();
    assert_eq!(crashed, DeliveryState::Duplicate);
    let rolled_back = consumer.crash_before_commit(message("f", 1), &unit).await.unwrap();
    assert_eq!(rolled_back, DeliveryState::Done);
}

#[tokio::test]
async fn a_failure_outside_the_messages_holds_the_batch_and_those_behind_it() {
    let away = || Err(Error::not_executed("the database is away"));
    let consumer = start(scripted([away(), away()])).await;
    let held = DeliveryState::Held(ErrorKind::NotExecuted);
    let states = consumer.deliver_all([message("a", 1), message("b", 1)]).await.unwrap();
    assert_eq!(states, [held, held]);
    assert_eq!(consumer.holds().len(), 1, "the batch is listed once");
    assert_eq!(consumer.deliver(message("c", 1)).await.unwrap(), DeliveryState::Queued);
    consumer.advance(Duration::from_millis(100)).await.unwrap();
    consumer.assert_states(&[held, held, DeliveryState::Queued]);
    consumer.advance(Duration::from_millis(200)).await.unwrap();
    consumer.assert_states(&[DeliveryState::Done; 3]);
    assert_eq!(sizes(&consumer), [2, 2, 2, 2, 2, 2, 1]);
    assert!(consumer.calls(TOPIC).list().iter().all(|call| call.delivery.attempt == 1));
}

#[tokio::test]
async fn a_batch_whose_hold_has_reached_its_limit_is_attempted_one_by_one() {
    let away = || Err(Error::not_executed("the database is away"));
    let attempts = AttemptConfig::default().hold_limit(Duration::from_millis(250));
    let builder = TestConsumer::builder("billing").attempts(attempts);
    let handler = scripted([away(), away(), away()]);
    let consumer = builder.on_batch(TOPIC, handler).start().await.unwrap();
    consumer.deliver_all([message("a", 1), message("a", 2)]).await.unwrap();
    consumer.advance(SECOND).await.unwrap();
    consumer.assert_states(&[DeliveryState::Done; 2]);
    assert_eq!(sizes(&consumer), [2, 2, 2, 1, 2, 2, 2, 1]);
}

#[tokio::test]
async fn a_fatal_failure_of_a_batch_stops_the_consumer_at_its_first_message() {
    let consumer = start(scripted([Err(Error::fatal("the lease is lost"))])).await;
    let states = consumer.deliver_all([message("a", 1), message("b", 1)]).await.unwrap();
    assert_eq!(states, [DeliveryState::Stopped(ErrorKind::Fatal), DeliveryState::Abandoned]);
    assert!(consumer.failure().unwrap().text.contains("the lease is lost"));
    consumer.restart().await.unwrap();
    assert_eq!(consumer.states()[2..], [DeliveryState::Done; 2]);
    assert_eq!(sizes(&consumer), [2; 4]);
}

#[tokio::test]
async fn a_batch_that_exceeds_the_time_limit_is_attempted_one_by_one() {
    let handler = batch_fn(|batch: Vec<Delivery>| async move {
        if batch.len() > 1 {
            std::future::pending::<()>().await;
        }
        Ok(done(batch.len()))
    });
    let attempts = AttemptConfig::default().timeout(SECOND);
    let builder = TestConsumer::builder("billing").attempts(attempts);
    let consumer = builder.on_batch(TOPIC, handler).start().await.unwrap();
    for order in ["a", "b"] {
        consumer.publish(message(order, 1)).await.unwrap();
    }
    consumer.until_called(TOPIC, 2).await.unwrap();
    consumer.advance(SECOND).await.unwrap();
    consumer.assert_states(&[DeliveryState::Done; 2]);
    assert_eq!(sizes(&consumer), [2, 1, 2, 1]);
}
