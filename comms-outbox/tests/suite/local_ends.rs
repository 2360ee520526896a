//! How a consumer without a broker ends: shutdown, a lost session, and a fatal failure.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use comms_core::{
    Delivery, Error, ErrorKind, Handler, Outcome, handler_fn,
    health::{Health, Status},
    transport::FailurePolicy,
};

use super::{
    Backend, consume,
    local::{Log, attempts},
    message,
    recorder::payload,
    send, until,
};

/// Attempts of a handler that hangs until it is released.
#[derive(Clone, Default)]
struct Hanging {
    released: Arc<AtomicBool>,
    begun: Arc<AtomicUsize>,
    cancelled: Arc<AtomicUsize>,
    /// Running attempts of the key, and the most at a time.
    running: Arc<Mutex<(usize, usize)>>,
    log: Log,
}

struct Attempt(Hanging);

impl Drop for Attempt {
    fn drop(&mut self) {
        self.0.running.lock().unwrap().0 -= 1;
        if !self.0.released.load(SeqCst) {
            self.0.cancelled.fetch_add(1, SeqCst);
        }
    }
}

impl Hanging {
    fn handler(&self) -> impl Handler {
        let hanging = self.clone();
        handler_fn(move |delivery: Delivery| {
            let hanging = hanging.clone();
            async move {
                {
                    let mut running = hanging.running.lock().unwrap();
                    *running = (running.0 + 1, running.1.max(running.0 + 1));
                }
                hanging.begun.fetch_add(1, SeqCst);
                let attempt = Attempt(hanging.clone());
                while !hanging.released.load(SeqCst) {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                hanging.log.lock().unwrap().push(payload(&delivery.message));
                drop(attempt);
                Ok(Outcome::Done)
            }
        })
    }
}

/// A handler hangs at shutdown: it is cancelled after the drain time, and its message and those behind it are handled
/// after the next start.
pub async fn a_hanging_handler_is_cancelled_at_shutdown_and_its_message_is_kept<B: Backend>() {
    let (backend, hanging) = (B::start().await, Hanging::default());
    let member = || {
        let consumer = backend.local("test").on("t", hanging.handler());
        consume(consumer.drain(Duration::from_millis(50)))
    };
    send(&backend, &[message("k", "1"), message("k", "2")]).await;
    let first = member();
    until("the handler runs", async || hanging.begun.load(SeqCst) == 1).await;
    first.stop().await;
    assert_eq!((hanging.begun.load(SeqCst), hanging.cancelled.load(SeqCst)), (1, 1));
    assert!(backend.parked().await.is_empty() && backend.branches().await.is_empty());
    assert!(!backend.lease().await.2, "the lease is released");
    hanging.released.store(true, SeqCst);
    let second = member();
    until("both are handled", async || *hanging.log.lock().unwrap() == ["1", "2"]).await;
    second.stop().await;
}

/// A handler that finishes within the drain time is acknowledged: its message is not handled again.
pub async fn a_handler_that_finishes_within_the_drain_time_is_acknowledged<B: Backend>() {
    let (backend, hanging) = (B::start().await, Hanging::default());
    let member = || consume(backend.local("test").on("t", hanging.handler()).drain(Duration::from_secs(30)));
    send(&backend, &[message("k", "1")]).await;
    let first = member();
    until("the handler runs", async || hanging.begun.load(SeqCst) == 1).await;
    let stopping = tokio::spawn(first.stop());
    tokio::time::sleep(Duration::from_millis(100)).await;
    hanging.released.store(true, SeqCst);
    stopping.await.unwrap();
    let second = member();
    send(&backend, &[message("k", "2")]).await;
    until("the next one is handled", async || hanging.log.lock().unwrap().contains(&"2".to_owned())).await;
    second.stop().await;
    assert_eq!(*hanging.log.lock().unwrap(), ["1", "2"]);
}

/// A message that waits for its next attempt does not delay the shutdown by the wait.
pub async fn a_wait_between_attempts_ends_at_shutdown<B: Backend>() {
    let (backend, failed) = (B::start().await, Arc::new(AtomicUsize::new(0)));
    let count = failed.clone();
    let handler = handler_fn(move |_: Delivery| {
        count.fetch_add(1, SeqCst);
        async { Err(Error::indeterminate("later").with_retry_after(Duration::from_secs(300))) }
    });
    let consumer = consume(backend.local("test").on("t", handler).drain(Duration::from_secs(200)));
    send(&backend, &[message("k", "1")]).await;
    until("the attempt has failed", async || failed.load(SeqCst) == 1).await;
    // The test would not end within its time limit.
    consumer.stop().await;
    assert!(backend.parked().await.is_empty(), "the message is kept");
}

/// The session is lost under running handlers, by the statement `end`. Their attempts are cancelled after the drain
/// time, and the next session handles the messages. Two attempts of one key never run at the same time.
pub async fn a_lost_session_fences_its_attempts<B: Backend>(end: &str) {
    let (backend, hanging) = (B::start().await, Hanging::default());
    let consumer = backend.local("test").on("t", hanging.handler());
    let consumer = consume(consumer.drain(Duration::from_millis(50)));
    send(&backend, &[message("k", "1"), message("k", "2")]).await;
    for session in 1..=3 {
        until("the handler runs", async || hanging.begun.load(SeqCst) == session).await;
        until("the lease is valid", async || backend.lease().await.2).await;
        backend.sql(end).await;
        until("its attempt is cancelled", async || hanging.cancelled.load(SeqCst) == session).await;
    }
    hanging.released.store(true, SeqCst);
    until("both are handled", async || *hanging.log.lock().unwrap() == ["1", "2"]).await;
    assert_eq!(hanging.running.lock().unwrap().1, 1, "one attempt at a time");
    consumer.stop().await;
}

/// With `FailurePolicy::Stop`, and after a fatal failure, the consumer ends with the error, and the message is kept.
pub async fn a_failure_that_stops_the_consumer_keeps_the_message<B: Backend>() {
    let (backend, log) = (B::start().await, Log::default());
    let member = |failure: Option<ErrorKind>| {
        let log = log.clone();
        let handler = handler_fn(move |delivery: Delivery| {
            let log = log.clone();
            async move {
                if let Some(kind) = failure {
                    return Err(Error::new(kind, "the disk is on fire"));
                }
                log.lock().unwrap().push(payload(&delivery.message));
                Ok(Outcome::Done)
            }
        });
        let consumer = backend.local("test").on("t", handler).attempts(attempts());
        consume(consumer.failure_policy(FailurePolicy::Stop))
    };
    send(&backend, &[message("k", "1"), message("k", "2")]).await;
    for kind in [ErrorKind::Invalid, ErrorKind::Fatal] {
        let error = member(Some(kind)).end().await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Fatal);
        let chain = error.chain().to_string();
        assert!(chain.contains("group test") && chain.contains("the disk is on fire"), "{chain}");
    }
    assert!(backend.parked().await.is_empty());
    let last = member(None);
    until("both are handled", async || *log.lock().unwrap() == ["1", "2"]).await;
    last.stop().await;
}

/// A consumer ends while a message waits, with an error or because its future is dropped: it has no lag any more, and does
/// not show its last one for ever.
pub async fn a_consumer_that_has_ended_has_no_lag<B: Backend>() {
    let backend = B::start().await;
    send(&backend, &[message("k", "1")]).await;
    for is_fatal in [true, false] {
        let open = Arc::new(tokio::sync::Semaphore::new(0));
        let opened = open.clone();
        let handler = handler_fn(move |_: Delivery| {
            let opened = opened.clone();
            async move {
                opened.acquire().await.map_err(Error::internal)?.forget();
                Err(Error::fatal("the disk is on fire"))
            }
        });
        let consumer = backend.local("test").on("t", handler).build().unwrap();
        let lag = consumer.lag_seconds();
        let running = tokio::spawn(consumer.run(std::future::pending()));
        until("the message is the lag", async || lag() > 0.0).await;
        match is_fatal {
            true => open.add_permits(1),
            false => running.abort(),
        }
        let ended = running.await;
        assert!(!is_fatal || ended.unwrap().is_err());
        assert_eq!(lag(), 0.0);
    }
}

/// A message is parked as held, and then another member becomes active, by the statement `other`. The first member does
/// not deliver the message again, so the message leaves its list, and its health recovers.
pub async fn a_member_that_is_not_active_holds_no_message<B: Backend>(other: &str) {
    let (backend, health) = (B::start().await, Health::new());
    let handler = handler_fn(|_: Delivery| async { Err(Error::misconfigured("the peer is not configured")) });
    let attempts = attempts().hold_in_place(Duration::from_millis(30));
    let consumer = backend.local("test").on("t", handler).attempts(attempts);
    let consumer = consumer.health(health.component("group")).parked_limit(10).build().unwrap();
    let holds = consumer.holds().clone();
    let running = tokio::spawn(consumer.run(std::future::pending()));
    send(&backend, &[message("k", "1")]).await;
    until("it is parked", async || backend.parked().await.len() == 1).await;
    until("it is degraded", async || health.readiness().status == Status::Degraded).await;
    assert_eq!(holds.len(), 1);
    backend.sql(other).await;
    until("it is off the list", async || holds.is_empty()).await;
    until("it is ready", async || health.readiness().status == Status::Ready).await;
    running.abort();
}
