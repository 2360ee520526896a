//! From one transaction through relay and subscriber into another transaction: each message has its effect once.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use comms_core::{
    Delivery, Error, Handler, Message, Outbox, Outcome, Scoped,
    clock::Clock,
    event::{Event, EventSource},
    handler_fn,
    resilience::Backoff,
    transactional,
    transport::AttemptConfig,
};
use comms_outbox::{Subscriber, SubscriberBuilder};
use serde::{Deserialize, Serialize};

use super::{Backend, Tx, message, run, send, until};

#[derive(Serialize, Deserialize)]
struct Placed {
    order: String,
    number: u32,
}

impl Event for Placed {
    const TYPE: &'static str = "t";
    const VERSION: u32 = 1;
    fn key(&self) -> String {
        self.order.clone()
    }
}

fn placed(order: &str, number: u32) -> Message {
    let event = Placed { order: order.to_owned(), number };
    EventSource::new("shop", Clock::system()).message(&event).unwrap()
}

fn attempts(limit: u32) -> AttemptConfig {
    let mut attempts = AttemptConfig::default();
    attempts.backoff = Backoff::new(Duration::from_millis(5), Duration::from_millis(50)).unwrap();
    attempts.max_attempts = limit;
    attempts
}

fn subscriber(handler: impl Handler) -> SubscriberBuilder {
    Subscriber::builder("readers").on("t", handler).attempts(attempts(3))
}

/// The handler writes an effect and a message, and fails after its writes at every second attempt.
pub async fn a_handler_that_fails_after_its_writes_has_its_effect_once<B: Backend>() {
    let backend = B::start().await;
    let (shared, attempted) = (backend.clone(), Arc::new(Mutex::new(0)));
    let handler = transactional(backend.unit(), move |event: Placed, mut tx: Scoped<Tx<B>>| {
        let (backend, attempted) = (shared.clone(), attempted.clone());
        async move {
            backend.add_effect(&mut tx, &format!("{}-{}", event.order, event.number)).await;
            backend.unit().enqueue(&mut tx, &[super::message_to("next", &event.order, "x")]).await?;
            let mut attempted = attempted.lock().unwrap();
            *attempted += 1;
            if *attempted % 2 == 1 { Err(Error::internal("died after its writes")) } else { Ok(()) }
        }
    });
    let messages: Vec<_> = (0..6).map(|n| placed(if n % 2 == 0 { "a" } else { "b" }, n)).collect();
    send(&backend, &messages).await;
    // Two relays with different cursors deliver each message twice.
    for name in ["one", "two"] {
        let subscriber = subscriber(handler.clone()).attempts(attempts(30)).build().unwrap();
        let relay = run(backend.relay(Arc::new(subscriber)).name(name).topics(["t"]));
        until("six effects", async || backend.effects().await.len() == 6).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        relay.stop().await;
    }
    let effects = backend.effects().await;
    let of = |order: &str| effects.iter().filter(|e| e.starts_with(order)).cloned().collect::<Vec<_>>();
    assert_eq!(effects.len(), 6, "{effects:?}");
    assert_eq!(of("a"), ["a-0", "a-2", "a-4"]);
    assert_eq!(of("b"), ["b-1", "b-3", "b-5"]);
    let next = super::recorder::Recorder::new();
    let relay = run(backend.relay(next.clone()).name("next").topics(["next"]));
    until("one message per effect", async || next.count() == 6).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(next.count(), 6);
    relay.stop().await;
}

type Log = Arc<Mutex<Vec<String>>>;

/// A key that is slow, a key that succeeds, and a key that fails until `healed`.
fn three_keys() -> (Arc<Subscriber>, Log, Arc<Mutex<bool>>) {
    let (log, healed) = (Arc::new(Mutex::new(Vec::<String>::new())), Arc::new(Mutex::new(false)));
    let handler = handler_fn({
        let (log, healed) = (log.clone(), healed.clone());
        move |delivery: Delivery| {
            let (log, healed) = (log.clone(), healed.clone());
            async move {
                let text = super::recorder::payload(&delivery.message);
                if text.starts_with("slow") {
                    tokio::time::sleep(Duration::from_millis(300)).await;
                }
                log.lock().unwrap().push(text.clone());
                if text == "bad-0" && !*healed.lock().unwrap() {
                    return Err(Error::indeterminate("not yet"));
                }
                Ok(Outcome::Done)
            }
        }
    });
    (Arc::new(subscriber(handler).build().unwrap()), log, healed)
}

async fn send_to_three_keys<B: Backend>(backend: &B) {
    for n in 0..10 {
        let text = |key: &str| message(key, &format!("{key}-{n}"));
        send(backend, &[text("slow"), text("bad"), text("good")]).await;
    }
}

fn ran(log: &Mutex<Vec<String>>, prefix: &str) -> Vec<String> {
    log.lock().unwrap().iter().filter(|p| p.starts_with(prefix)).cloned().collect()
}

/// With many small pages: after the refusal no later message of the key runs until it is released, however far the
/// relay has read ahead. Then all messages run in order.
pub async fn a_refused_key_is_parked_and_released_in_order_while_others_continue<B: Backend>() {
    let backend = B::start().await;
    let (subscriber, log, healed) = three_keys();
    let relay = run(backend.relay(subscriber).page(4));
    send_to_three_keys(&backend).await;
    until("good is delivered before slow", async || ran(&log, "good").len() == 10).await;
    assert!(ran(&log, "slow").len() < 10);
    until("bad is parked", async || backend.parked().await.len() == 10).await;
    assert_eq!(ran(&log, "bad"), ["bad-0", "bad-0", "bad-0"], "three attempts, and no later message ran");
    let parked = backend.parked().await;
    assert_eq!((parked[0].attempts, parked[0].error_kind.as_deref()), (3, Some("indeterminate")));

    *healed.lock().unwrap() = true;
    assert_eq!(backend.release(Some("bad")).await, 10);
    send(&backend, &[message("bad", "bad-10")]).await;
    until("bad is delivered", async || ran(&log, "bad").len() >= 14).await;
    until("nothing is parked", async || backend.parked().await.is_empty()).await;
    let expected: Vec<_> = (0..=10).map(|n| format!("bad-{n}")).collect();
    assert_eq!(ran(&log, "bad")[3..], expected);
    until("slow is delivered", async || ran(&log, "slow").len() == 10).await;
    relay.stop().await;
}

/// The key is released as soon as its first message is parked, while later ones are still in flight to be refused. One
/// release is enough, and the order is kept.
pub async fn a_release_waits_for_messages_in_flight<B: Backend>() {
    let backend = B::start().await;
    let (subscriber, log, healed) = three_keys();
    let relay = run(backend.relay(subscriber).page(4));
    send_to_three_keys(&backend).await;
    until("the first is parked", async || !backend.parked().await.is_empty()).await;
    *healed.lock().unwrap() = true;
    assert!(backend.release(Some("bad")).await < 10);
    until("bad is delivered", async || ran(&log, "bad").len() >= 13).await;
    until("nothing is parked", async || backend.parked().await.is_empty()).await;
    let expected: Vec<_> = (0..10).map(|n| format!("bad-{n}")).collect();
    assert_eq!(ran(&log, "bad")[3..], expected);
    relay.stop().await;
}

/// At shutdown a message that is being retried is not parked, and the next process delivers it.
pub async fn a_message_being_retried_is_redelivered_after_a_restart<B: Backend>() {
    let backend = B::start().await;
    let stubborn = handler_fn(|_: Delivery| async { Err(Error::indeterminate("never here")) });
    let subscriber = subscriber(stubborn).attempts(attempts(1_000)).build().unwrap();
    let stop = subscriber.stop_token();
    let relay = backend.relay(Arc::new(subscriber)).build().unwrap();
    send(&backend, &[message("k", "1"), message("k", "2")]).await;
    let started = std::time::Instant::now();
    relay
        .run(async move {
            tokio::time::sleep(Duration::from_millis(200)).await;
            stop.cancel();
        })
        .await
        .unwrap();
    assert!(started.elapsed() < Duration::from_secs(3), "the shutdown did not wait for the retries");
    assert!(backend.parked().await.is_empty());
    let next = super::recorder::Recorder::new();
    let relay = run(backend.relay(next.clone()));
    until("both are delivered", async || next.count() == 2).await;
    assert_eq!(next.payloads(), ["1", "2"]);
    relay.stop().await;
}
