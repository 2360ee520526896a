//! Order, refusal and release of keys, without a database.
#![allow(clippy::disallowed_methods, reason = "the tests wait for real time or for tokio's paused time")]

use std::time::Duration;

use comms_core::{
    Delivery, ErrorKind, MessageParts, Outcome,
    clock::Clock,
    handler_fn,
    resilience::Backoff,
    transport::{AttemptConfig, Receipt},
};

use super::*;
use crate::parked::Refusal;

mod attempts;
mod ends;

type Log = Arc<Mutex<Vec<String>>>;
type HandlerResult = Result<Outcome, Error>;

/// Returns a subscriber of topic `t` that logs the payload of each call, and returns the result of `act`.
fn subscriber<F, Fut>(in_flight: u32, act: F) -> (Subscriber, Log)
where
    F: Fn(String) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = HandlerResult> + Send + 'static,
{
    let log = Log::default();
    let seen = log.clone();
    let handler = handler_fn(move |delivery: Delivery| {
        let payload = String::from_utf8(delivery.message.payload().unwrap().to_vec()).unwrap();
        seen.lock().unwrap().push(payload.clone());
        act(payload)
    });
    let mut attempts = AttemptConfig::default();
    attempts.backoff = Backoff::new(Duration::from_millis(10), Duration::from_secs(1)).unwrap();
    attempts.max_attempts = 3;
    let builder = Subscriber::builder("g").on("t", handler).attempts(attempts).in_flight(in_flight);
    (builder.clock(Clock::system()).build().unwrap(), log)
}

fn batch(messages: &[(&'static str, &'static str)]) -> VecDeque<Message> {
    let message = |&(key, payload): &(&'static str, &'static str)| {
        Message::new(MessageParts {
            source: "s",
            id: payload,
            topic: "t",
            key: (!key.is_empty()).then_some(key.as_bytes()),
            payload: Some(payload.as_bytes()),
            ..MessageParts::default()
        })
    };
    messages.iter().map(message).collect()
}

fn kinds(results: &[Result<Receipt, Error>]) -> Vec<Option<ErrorKind>> {
    results.iter().map(|r| r.as_ref().err().map(|e| e.kind)).collect()
}

async fn refuse_bad(payload: String) -> HandlerResult {
    if payload.starts_with("bad") { Err(Error::invalid("no")) } else { Ok(Outcome::Done) }
}

#[tokio::test(start_paused = true)]
async fn a_key_does_not_run_after_a_refusal_until_the_relay_has_the_result() {
    let (subscriber, log) = subscriber(100, refuse_bad);
    let one =
        subscriber.enqueue(&mut batch(&[("a", "bad1"), ("a", "2"), ("b", "3"), ("", "bad4"), ("", "5")]));
    // The relay has not received the results yet, although the lane has long been idle.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let two = subscriber.enqueue(&mut batch(&[("a", "6"), ("b", "7")]));
    let invalid = Some(ErrorKind::Invalid);
    let results = one.await;
    assert_eq!(kinds(&results), [invalid, invalid, None, invalid, None]);
    let behind = Refusal::of(results[1].as_ref().unwrap_err());
    assert_eq!((behind.attempts, behind.kind), (0, None));
    assert!(behind.reason.contains("no"), "{}", behind.reason);
    assert_eq!(kinds(&two.await), [invalid, None]);
    // The relay has the results now, so the messages of this key that it hands over are released ones.
    let three = subscriber.enqueue(&mut batch(&[("a", "2"), ("a", "6")]));
    assert_eq!(kinds(&three.await), [None, None]);
    let mut ran = log.lock().unwrap().clone();
    assert_eq!(ran.split_off(5), ["2", "6"]);
    ran.sort();
    assert_eq!(ran, ["3", "5", "7", "bad1", "bad4"]);
    assert!(subscriber.shared.config.budget.records() == 0, "no state remains");
}

#[tokio::test(start_paused = true)]
async fn a_refused_key_stays_blocked_after_the_acknowledgements_are_dropped() {
    let (subscriber, log) = subscriber(100, |payload: String| async move {
        tokio::time::sleep(Duration::from_millis(10)).await;
        refuse_bad(payload).await
    });
    let acks = subscriber.enqueue(&mut batch(&[("a", "bad1"), ("a", "2"), ("a", "3"), ("b", "4")]));
    tokio::time::sleep(Duration::from_millis(5)).await;
    drop(acks);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut ran = log.lock().unwrap().clone();
    ran.sort();
    assert_eq!(ran, ["4", "bad1"], "running deliveries end, and none begins");
    drop(subscriber.enqueue(&mut batch(&[("c", "5")])));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(log.lock().unwrap().len(), 2);
    // A relay that reads the messages again finds the key unblocked.
    let again = subscriber.enqueue(&mut batch(&[("a", "1")])).await;
    assert_eq!(kinds(&again), [None]);
    assert!(subscriber.shared.config.budget.records() == 0, "no state remains");
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_retried_does_not_delay_other_keys() {
    let (subscriber, log) = subscriber(100, |payload: String| async move {
        if payload == "slow" { Err(Error::indeterminate("later")) } else { Ok(Outcome::Done) }
    });
    let acks = subscriber.enqueue(&mut batch(&[("a", "slow"), ("b", "1"), ("b", "2")]));
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert_eq!(*log.lock().unwrap(), ["slow", "1", "2"]);
    let results = acks.await;
    assert_eq!(kinds(&results), [Some(ErrorKind::Invalid), None, None]);
    let refusal = Refusal::of(results[0].as_ref().unwrap_err());
    assert_eq!((refusal.attempts, refusal.kind), (3, Some(ErrorKind::Indeterminate)));
}

#[tokio::test(start_paused = true)]
async fn at_most_in_flight_messages_are_accepted() {
    let (subscriber, _) = subscriber(2, |_| async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        Ok(Outcome::Done)
    });
    let mut messages = batch(&[("a", "1"), ("b", "2"), ("c", "3")]);
    let acks = subscriber.enqueue(&mut messages);
    assert_eq!(messages.len(), 1);
    assert!(tokio::time::timeout(Duration::from_secs(4), subscriber.ready()).await.is_err());
    subscriber.ready().await.unwrap();
    subscriber.flush().await.unwrap();
    assert_eq!(kinds(&acks.await), [None, None]);
    let last = subscriber.enqueue(&mut messages);
    assert!(messages.is_empty());
    assert_eq!(kinds(&last.await), [None]);
}

#[tokio::test(start_paused = true)]
async fn at_most_concurrency_handlers_run_at_once() {
    let running = Arc::new(Mutex::new((0, 0)));
    let count = running.clone();
    let handler = handler_fn(move |_: Delivery| {
        let count = count.clone();
        async move {
            {
                let mut count = count.lock().unwrap();
                *count = (count.0 + 1, count.1.max(count.0 + 1));
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
            count.lock().unwrap().0 -= 1;
            Ok(Outcome::Done)
        }
    });
    let subscriber = Subscriber::builder("g").on("t", handler).concurrency(3).build().unwrap();
    let results = subscriber.enqueue(&mut batch(&[("", "x"); 20])).await;
    assert!(results.iter().all(Result::is_ok));
    assert_eq!(running.lock().unwrap().1, 3);
}

#[tokio::test(start_paused = true)]
async fn after_a_stop_no_message_is_attempted() {
    let (subscriber, log) = subscriber(100, |_| async { Err(Error::indeterminate("later")) });
    let acks = subscriber.enqueue(&mut batch(&[("a", "1"), ("a", "2")]));
    tokio::time::sleep(Duration::from_millis(1)).await;
    subscriber.stop();
    let transient = Some(ErrorKind::NotExecuted);
    assert_eq!(kinds(&acks.await), [transient, transient]);
    assert_eq!(*log.lock().unwrap(), ["1"]);
}

#[tokio::test(start_paused = true)]
async fn a_fatal_failure_stops_the_subscriber_and_is_returned() {
    let (subscriber, log) = subscriber(100, |_| async { Err(Error::fatal("disk on fire")) });
    let acks = subscriber.enqueue(&mut batch(&[("a", "1"), ("a", "2")]));
    assert_eq!(kinds(&acks.await), [Some(ErrorKind::Fatal), Some(ErrorKind::NotExecuted)]);
    assert_eq!(*log.lock().unwrap(), ["1"]);
}

#[tokio::test]
async fn a_message_without_a_handler_counts_as_delivered() {
    let (subscriber, log) = subscriber(100, refuse_bad);
    let mut messages: VecDeque<_> = batch(&[("a", "1")]).into_iter().map(|m| m.to("elsewhere")).collect();
    assert_eq!(kinds(&subscriber.enqueue(&mut messages).await), [None]);
    assert!(log.lock().unwrap().is_empty());
}

#[test]
fn invalid_settings_are_refused() {
    let ok = || handler_fn(|_: Delivery| async { Ok(Outcome::Done) });
    assert!(Subscriber::builder("g").build().is_err());
    assert!(Subscriber::builder("").on("t", ok()).build().is_err());
    assert!(Subscriber::builder("g").on("t", ok()).on("t", ok()).build().is_err());
    assert!(Subscriber::builder("g").on("t", ok()).in_flight(0).build().is_err());
    assert!(Subscriber::builder("g").on("t", ok()).concurrency(0).build().is_err());
}
