//! The manual clock: retries, holds and time limits.

use super::*;
use crate::resilience::Backoff;

fn attempts(max: u32) -> AttemptConfig {
    let backoff = Backoff::new(SECOND, 60 * SECOND).unwrap();
    AttemptConfig::default().backoff(backoff).max_attempts(max)
}

#[tokio::test]
async fn a_wait_between_attempts_is_exact() {
    let handler = scripted((0..3).map(|_| Err(Error::indeterminate("no answer"))));
    let builder = TestConsumer::builder("billing").attempts(attempts(5));
    let consumer = builder.on(TOPIC, handler).start().await.unwrap();
    consumer.deliver(message("a", 1)).await.unwrap();
    for (advance, calls) in [(999, 1), (1, 2), (1_999, 2), (1, 3), (3_999, 3), (1, 4)] {
        consumer.advance(Duration::from_millis(advance)).await.unwrap();
        consumer.calls(TOPIC).assert_called(calls);
    }
    consumer.assert_states(&[DeliveryState::Done]);
}

#[tokio::test]
async fn all_attempts_on_the_way_are_made_at_their_time() {
    let clock_of = TestBroker::memory();
    let clock = clock_of.clock().clone();
    let times = Arc::new(Mutex::new(Vec::new()));
    let (seen, start) = (times.clone(), clock.now());
    let handler = handler_fn(move |_: Delivery| {
        seen.lock().unwrap().push(clock.now().duration_since(start).as_secs());
        async { Err(Error::indeterminate("no answer")) }
    });
    let builder = TestConsumer::builder("billing").attempts(attempts(4));
    let consumer = builder.on(TOPIC, handler).start_on(&clock_of).await.unwrap();
    let message = message("a", 1);
    consumer.deliver(message.clone()).await.unwrap();
    consumer.advance(60 * 60 * SECOND).await.unwrap();
    assert_eq!(*times.lock().unwrap(), [0, 1, 3, 7]);
    consumer.assert_dead_lettered(&message, ErrorKind::Indeterminate, "no answer");
    assert_eq!(clock_of.clock().now().duration_since(start), 60 * 60 * SECOND);
}

#[tokio::test]
async fn a_requested_wait_is_kept_and_a_conflict_does_not_grow() {
    let results = [
        Err(Error::indeterminate("busy").with_retry_after(30 * SECOND)),
        Err(Error::conflict("lost")),
        Err(Error::conflict("lost")),
    ];
    let builder = TestConsumer::builder("billing").attempts(attempts(5));
    let consumer = builder.on(TOPIC, scripted(results)).start().await.unwrap();
    consumer.deliver(message("a", 1)).await.unwrap();
    for (advance, calls) in [(29, 1), (1, 2), (1, 3), (1, 4)] {
        consumer.advance(advance * SECOND).await.unwrap();
        consumer.calls(TOPIC).assert_called(calls);
    }
    consumer.assert_states(&[DeliveryState::Done]);
}

#[tokio::test]
async fn a_hold_ends_at_its_limit() {
    let handler = handler_fn(|_: Delivery| async { Err(Error::misconfigured("the table is missing")) });
    let builder = TestConsumer::builder("billing").attempts(attempts(1).hold_limit(100 * SECOND));
    let consumer = builder.on(TOPIC, handler).start().await.unwrap();
    let held = message("a", 1);
    consumer.deliver(held.clone()).await.unwrap();
    consumer.advance(60 * SECOND).await.unwrap();
    consumer.assert_states_of(&held, &[DeliveryState::Held(ErrorKind::Misconfigured)]);
    consumer.advance(120 * SECOND).await.unwrap();
    consumer.assert_dead_lettered(&held, ErrorKind::Misconfigured, "the table is missing");
}

#[tokio::test]
async fn an_attempt_ends_at_its_time_limit() {
    let handler = handler_fn(|delivery: Delivery| async move {
        if delivery.attempt == 1 {
            std::future::pending::<()>().await;
        }
        Ok(Outcome::Done)
    });
    let consumer = start(handler).await;
    consumer.publish(message("a", 1)).await.unwrap();
    consumer.until_called(TOPIC, 1).await.unwrap();
    consumer.assert_states(&[DeliveryState::Running]);
    consumer.advance(30 * SECOND).await.unwrap();
    consumer.calls(TOPIC).assert_results(&[Err(ErrorKind::Indeterminate)]);
    consumer.advance(SECOND).await.unwrap();
    consumer.assert_states(&[DeliveryState::Done]);
}

/// The consumer runs on other threads than the test, so the test cannot rely on which of them is polled first.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn retries_are_exact_on_several_threads() {
    for _ in 0..50 {
        let handler = handler_fn(|delivery: Delivery| async move {
            tokio::task::yield_now().await;
            if delivery.attempt < 4 { Err(Error::indeterminate("no answer")) } else { Ok(Outcome::Done) }
        });
        let builder = TestConsumer::builder("billing").attempts(attempts(5));
        let consumer = builder.on(TOPIC, handler).start().await.unwrap();
        for order in ["a", "b", "c", "d"] {
            consumer.deliver(message(order, 1)).await.unwrap();
        }
        consumer.advance(3 * SECOND).await.unwrap();
        consumer.calls(TOPIC).assert_called(12);
        consumer.advance(4 * SECOND).await.unwrap();
        consumer.assert_states(&[DeliveryState::Done; 4]);
    }
}
