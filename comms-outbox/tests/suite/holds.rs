//! A key whose message cannot be handled for a cause outside the message is held, listed, and resumed automatically.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use comms_core::{
    Delivery, Error, Handler, Outcome, handler_fn, resilience::Backoff, transport::AttemptConfig,
};
use comms_outbox::{ParkedState, Subscriber, SubscriberBuilder};

use super::{Backend, message, recorder::payload, run, send, until};

type Log = Arc<Mutex<Vec<String>>>;

/// A handler that fails for payloads that begin with `held` until `healed`.
fn handler(healed: &Arc<AtomicBool>, log: &Log) -> impl Handler {
    let (healed, log) = (healed.clone(), log.clone());
    handler_fn(move |delivery: Delivery| {
        let (healed, log) = (healed.clone(), log.clone());
        async move {
            let text = payload(&delivery.message);
            if text.starts_with("held") && !healed.load(Ordering::SeqCst) {
                return Err(Error::misconfigured("the peer lacks the method"));
            }
            log.lock().unwrap().push(text);
            Ok(Outcome::Done)
        }
    })
}

fn subscriber(handler: impl Handler) -> SubscriberBuilder {
    let mut attempts = AttemptConfig::default();
    attempts.backoff = Backoff::new(Duration::from_millis(5), Duration::from_millis(20)).unwrap();
    attempts.max_attempts = 2;
    attempts.hold_in_place = Some(Duration::from_millis(30));
    Subscriber::builder("readers").on("t", handler).attempts(attempts).hold_retry(Duration::from_millis(300))
}

/// The key is parked as held, the cursor moves on, and no attempt is counted. Afterwards every message is delivered in
/// order, also by the next process.
pub async fn a_held_key_delays_no_other_key_and_resumes_automatically<B: Backend>() {
    let backend = B::start().await;
    let (healed, log) = (Arc::new(AtomicBool::new(false)), Log::default());
    let held = subscriber(handler(&healed, &log)).build().unwrap();
    let holds = held.holds().clone();
    let relay = run(backend.relay(Arc::new(held)).page(3).in_flight(4));
    for n in 0..10 {
        let good = (0..4).map(|k| message(&format!("good {k}"), &format!("good {n}")));
        let rows: Vec<_> = good.chain([message("held", &format!("held {n}"))]).collect();
        send(&backend, &rows).await;
    }
    // More rows than the limit in flight are delivered past the held key.
    until("other keys continue", async || log.lock().unwrap().len() == 40).await;
    until("the key is parked", async || backend.parked().await.len() == 10).await;
    // It is released for a moment at each further attempt.
    until("it is held", async || backend.parked().await[0].state == ParkedState::Held).await;
    let parked = backend.parked().await;
    assert_eq!((parked[0].attempts, parked[0].error_kind.as_deref()), (0, Some("misconfigured")));
    assert!(parked[0].error.contains("lacks the method"), "{}", parked[0].error);
    let hold = holds.list().into_iter().next().expect("it is listed");
    assert_eq!(hold.key.as_deref(), Some(b"held".as_slice()));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(backend.parked().await.len(), 10, "attempts of a hold are not counted");

    relay.stop().await;
    let next = subscriber(handler(&healed, &log)).build().unwrap();
    let holds = next.holds().clone();
    let relay = run(backend.relay(Arc::new(next)).page(3).in_flight(4));
    tokio::time::sleep(Duration::from_millis(700)).await;
    healed.store(true, Ordering::SeqCst);
    until("nothing is parked", async || backend.parked().await.is_empty()).await;
    let held: Vec<_> = log.lock().unwrap().iter().filter(|p| p.starts_with("held")).cloned().collect();
    assert_eq!(held, (0..10).map(|n| format!("held {n}")).collect::<Vec<_>>());
    assert!(holds.is_empty());
    relay.stop().await;
}

/// A hold with a limit ends as a parked message that waits for an operator.
pub async fn a_hold_with_a_limit_ends_parked<B: Backend>() {
    let backend = B::start().await;
    let (healed, log) = (Arc::new(AtomicBool::new(false)), Log::default());
    let mut attempts = AttemptConfig::default();
    attempts.backoff = Backoff::new(Duration::from_millis(5), Duration::from_millis(20)).unwrap();
    attempts.hold_in_place = Some(Duration::from_millis(30));
    attempts.hold_limit = Some(Duration::from_millis(600));
    let limited = subscriber(handler(&healed, &log)).attempts(attempts).build().unwrap();
    let relay = run(backend.relay(Arc::new(limited)));
    send(&backend, &[message("k", "held 0"), message("k", "held 1"), message("g", "good")]).await;
    let states = async || backend.parked().await.iter().map(|p| p.state).collect::<Vec<_>>();
    until("it is held", async || states().await == [ParkedState::Held, ParkedState::Parked]).await;
    until("it is parked", async || states().await == [ParkedState::Parked, ParkedState::Parked]).await;
    healed.store(true, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(*log.lock().unwrap(), ["good"], "it waits for a release");
    assert_eq!(backend.release(Some("k")).await, 2);
    until("nothing is parked", async || backend.parked().await.is_empty()).await;
    assert_eq!(*log.lock().unwrap(), ["good", "held 0", "held 1"]);
    relay.stop().await;
}
