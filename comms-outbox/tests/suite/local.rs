//! Consumer groups without a broker: delivery, order, parking, holds and health.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use comms_core::{
    Delivery, Error, Handler, Outcome, Scoped,
    clock::Clock,
    event::{Event, EventSource},
    handler_fn,
    health::{Health, Status},
    resilience::Backoff,
    transactional,
    transport::{AttemptConfig, FailurePolicy, Ordering},
};
use comms_outbox::ParkedState;
use serde::{Deserialize, Serialize};

use super::{Backend, Tx, consume, message, message_to, recorder::payload, send, until};

pub type Log = Arc<Mutex<Vec<String>>>;

/// Quick attempts, at most two.
pub fn attempts() -> AttemptConfig {
    let backoff = Backoff::new(Duration::from_millis(5), Duration::from_millis(20)).unwrap();
    AttemptConfig::default().backoff(backoff).max_attempts(2)
}

/// A handler that logs payloads, and refuses those that begin with `bad` until `healed`.
fn handler(log: &Log, healed: &Arc<AtomicBool>) -> impl Handler {
    let (log, healed) = (log.clone(), healed.clone());
    handler_fn(move |delivery: Delivery| {
        let (log, healed) = (log.clone(), healed.clone());
        async move {
            let text = payload(&delivery.message);
            if text.starts_with("bad") && !healed.load(SeqCst) {
                return Err(Error::invalid("it is bad"));
            }
            if text.starts_with("held") && !healed.load(SeqCst) {
                return Err(Error::misconfigured("the peer is not configured"));
            }
            tokio::task::yield_now().await;
            log.lock().unwrap().push(text);
            Ok(Outcome::Done)
        }
    })
}

/// Two groups each handle every message of their topics, in the order of the keys. A stopped group continues where it
/// was.
pub async fn each_group_handles_every_message_of_its_topics_once<B: Backend>() {
    const ROWS: usize = 300;
    let (backend, healed) = (B::start().await, Arc::default());
    let (one, two) = (Log::default(), Log::default());
    let row = |n: usize| {
        message_to(if n.is_multiple_of(3) { "a" } else { "b" }, &(n % 7).to_string(), &n.to_string())
    };
    send(&backend, &(0..ROWS).map(row).collect::<Vec<_>>()).await;
    for part in 1..=2 {
        let first =
            consume(backend.local("one").on("a", handler(&one, &healed)).on("b", handler(&one, &healed)));
        let second = consume(backend.local("two").on("a", handler(&two, &healed)));
        until("group one", async || one.lock().unwrap().len() >= ROWS * part).await;
        until("group two", async || two.lock().unwrap().len() >= ROWS / 3 * part).await;
        first.stop().await;
        second.stop().await;
        send(&backend, &(part * ROWS..(part + 1) * ROWS).map(row).collect::<Vec<_>>()).await;
    }
    let numbers = |log: &Log| log.lock().unwrap().iter().map(|n| n.parse().unwrap()).collect::<Vec<usize>>();
    for (log, expected) in [(&one, 2 * ROWS), (&two, 2 * ROWS / 3)] {
        let numbers = numbers(log);
        assert_eq!(numbers.len(), expected, "each message is handled once");
        // The numbers of one topic and key are 21 apart.
        for lane in 0..21 {
            assert!(numbers.iter().filter(|n| *n % 21 == lane).is_sorted(), "the order of lane {lane}");
        }
    }
}

/// A message that fails for good parks its key. Other keys continue, and the release delivers the key in order.
pub async fn a_message_that_fails_for_good_is_parked_until_its_release<B: Backend>() {
    let (backend, log, healed) = (B::start().await, Log::default(), Arc::<AtomicBool>::default());
    let consumer = consume(backend.local("test").on("t", handler(&log, &healed)).attempts(attempts()));
    send(&backend, &[message("k", "bad 1"), message("k", "2"), message("g", "good"), message("k", "3")])
        .await;
    until("the key is parked", async || backend.parked().await.len() == 3).await;
    until("the other key continues", async || *log.lock().unwrap() == ["good"]).await;
    let parked = backend.parked().await;
    assert!(parked[0].error.contains("it is bad") && parked[1].error.contains("behind"), "{parked:?}");
    healed.store(true, SeqCst);
    backend.release(Some("k")).await;
    until("it is delivered", async || backend.parked().await.is_empty()).await;
    assert_eq!(*log.lock().unwrap(), ["good", "bad 1", "2", "3"]);
    consumer.stop().await;
}

/// A held message degrades the health component, is listed, and is handled when its cause is gone.
pub async fn a_held_message_degrades_the_health_of_the_consumer<B: Backend>() {
    let (backend, log, healed) = (B::start().await, Log::default(), Arc::<AtomicBool>::default());
    let health = Health::new();
    let status = || health.readiness().status;
    let consumer = backend.local("test").on("t", handler(&log, &healed)).attempts(attempts());
    let consumer = consumer.health(health.component("group")).build().unwrap();
    let holds = consumer.holds().clone();
    let lag = consumer.lag_seconds();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(consumer.run(async {
        let _ = stopped.await;
    }));
    until("it is ready", async || status() == Status::Ready).await;
    send(&backend, &[message("k", "held"), message("g", "good")]).await;
    until("it is degraded", async || status() == Status::Degraded).await;
    assert_eq!(holds.list()[0].key.as_deref(), Some(&b"k"[..]));
    until("its age is the lag", async || lag() > 0.0).await;
    healed.store(true, SeqCst);
    until("it is handled", async || log.lock().unwrap().len() == 2).await;
    until("it is ready again", async || status() == Status::Ready).await;
    stop.send(()).unwrap();
    running.await.unwrap().unwrap();
    assert_eq!(status(), Status::Unready, "the consumer has stopped");
}

/// A message that the failure policy holds is parked as held like any other one, and is attempted until it succeeds.
pub async fn a_message_that_the_policy_holds_lets_the_position_move_on<B: Backend>() {
    let (backend, log, healed) = (B::start().await, Log::default(), Arc::<AtomicBool>::default());
    let attempts = attempts().hold_in_place(Duration::from_millis(50));
    let consumer = backend.local("test").on("t", handler(&log, &healed)).attempts(attempts);
    let consumer = consumer.failure_policy(FailurePolicy::Hold).hold_retry(Duration::from_millis(50));
    let consumer = consume(consumer);
    send(&backend, &[message("k", "bad 1"), message("k", "2"), message("g", "good")]).await;
    let is_held = |parked: &[ParkedState]| parked == [ParkedState::Held, ParkedState::Parked];
    let states = async || backend.parked().await.iter().map(|parked| parked.state).collect::<Vec<_>>();
    until("it is parked as held", async || is_held(&states().await)).await;
    healed.store(true, SeqCst);
    until("it is delivered", async || backend.parked().await.is_empty()).await;
    assert_eq!(*log.lock().unwrap(), ["good", "bad 1", "2"]);
    consumer.stop().await;
}

/// With one partition per topic, a refused message is parked alone, and the others keep the order of their topic.
pub async fn the_order_of_a_topic_survives_a_refusal<B: Backend>() {
    let (backend, log, healed) = (B::start().await, Log::default(), Arc::default());
    let rows = (0..40).map(|n| {
        let text = if n % 10 == 5 { format!("bad {n}") } else { n.to_string() };
        message(&n.to_string(), &text)
    });
    send(&backend, &rows.collect::<Vec<_>>()).await;
    let consumer = backend.local("test").on("t", handler(&log, &healed)).attempts(attempts());
    let consumer = consume(consumer.ordering(Ordering::Partition));
    until("the others are handled", async || log.lock().unwrap().len() == 36).await;
    let expected: Vec<_> = (0..40).filter(|n| n % 10 != 5).map(|n| n.to_string()).collect();
    assert_eq!(*log.lock().unwrap(), expected);
    let parked = backend.parked().await;
    assert_eq!(parked.iter().map(|p| p.state).collect::<Vec<_>>(), [ParkedState::Parked; 4]);
    consumer.stop().await;
}

#[derive(Serialize, Deserialize)]
struct Placed {
    order: String,
}

impl Event for Placed {
    const TYPE: &'static str = "order.placed";
    const VERSION: u32 = 1;
    fn key(&self) -> String {
        self.order.chars().take(1).collect()
    }
}

/// The members of a group crash at any moment, one after the other. Each effect happens once, in the order of the keys.
pub async fn crashes_lose_nothing_and_repeat_no_effect<B: Backend>() {
    const ROWS: usize = 200;
    let backend = B::start().await;
    let source = EventSource::new("shop", Clock::system());
    let event = |n: usize| source.message(&Placed { order: format!("{}-{n}", n % 5) }).unwrap();
    send(&backend, &(0..ROWS).map(event).collect::<Vec<_>>()).await;
    let member = |owner: usize| {
        let shared = backend.clone();
        let handler = transactional(backend.unit(), move |event: Placed, mut tx: Scoped<Tx<B>>| {
            let backend = shared.clone();
            async move {
                backend.add_effect(&mut tx, &event.order).await;
                Ok(())
            }
        });
        let consumer = backend.local("test").on(Placed::TYPE, handler).attempts(attempts().max_attempts(30));
        consume(consumer.owner(format!("member {owner}")).concurrency(4))
    };
    for crash in 1..=4 {
        let running = member(crash);
        until("some effects", async || backend.effects().await.len() >= ROWS * crash / 5).await;
        running.crash().await;
    }
    let last = member(5);
    until("every effect", async || backend.effects().await.len() >= ROWS).await;
    last.stop().await;
    let effects = backend.effects().await;
    assert_eq!(effects.len(), ROWS, "no effect is repeated");
    for key in 0..5 {
        let expected: Vec<_> = (0..ROWS).filter(|n| n % 5 == key).map(|n| format!("{key}-{n}")).collect();
        let effects: Vec<_> = effects.iter().filter(|e| e.starts_with(&format!("{key}-"))).cloned().collect();
        assert_eq!(effects, expected);
    }
}
