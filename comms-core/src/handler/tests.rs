//! Attempts: panics, readiness, the context and the span.

use std::{
    future::{pending, ready},
    panic::resume_unwind,
    sync::{
        Mutex,
        atomic::{AtomicU32, Ordering},
    },
    task::Waker,
    time::Duration,
};

use super::*;
use crate::{ErrorKind, Message, MessageParts, context};

fn delivery() -> Delivery {
    let message = Message::new(MessageParts { source: "s", id: "1", topic: "t", ..MessageParts::default() });
    Delivery::new(message, "g")
}

fn attempt(handler: impl Handler) -> Attempt {
    BoxHandler::new(handler).attempt(delivery(), None, &Clock::manual(Duration::ZERO))
}

fn poll(attempt: &mut Attempt) -> Poll<Result<Outcome, Error>> {
    std::pin::Pin::new(attempt).poll(&mut Context::from_waker(Waker::noop()))
}

/// A service that panics at one point of its life.
struct Bomb {
    at: &'static str,
    drops: Arc<AtomicU32>,
}

impl Bomb {
    fn new(at: &'static str) -> (Self, Arc<AtomicU32>) {
        let drops = Arc::new(AtomicU32::new(0));
        (Self { at, drops: drops.clone() }, drops)
    }

    fn reach(&self, point: &str) {
        if self.at == point {
            resume_unwind(Box::new(point.to_owned()));
        }
    }
}

impl Clone for Bomb {
    fn clone(&self) -> Self {
        self.reach("clone");
        Self { at: self.at, drops: self.drops.clone() }
    }
}

impl Drop for Bomb {
    fn drop(&mut self) {
        self.drops.fetch_add(1, Ordering::SeqCst);
        self.reach("drop of the service");
    }
}

impl Service<Delivery> for Bomb {
    type Response = Outcome;
    type Error = Error;
    type Future = Fuse;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.reach("readiness");
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Delivery) -> Fuse {
        self.reach("call");
        Fuse(Self { at: self.at, drops: self.drops.clone() })
    }
}

struct Fuse(Bomb);

impl Future for Fuse {
    type Output = Result<Outcome, Error>;

    fn poll(self: std::pin::Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.reach("poll");
        match self.0.at {
            "never" | "drop while pending" => Poll::Pending,
            _ => Poll::Ready(Ok(Outcome::Done)),
        }
    }
}

impl Drop for Fuse {
    fn drop(&mut self) {
        self.0.reach("drop of the future");
        self.0.reach("drop while pending");
    }
}

#[test]
fn a_panic_at_any_point_is_one_internal_error() {
    let points = ["clone", "readiness", "call", "poll", "drop of the future", "drop of the service"];
    for point in points {
        let (bomb, drops) = Bomb::new(point);
        // The handler itself is not dropped: its drop would panic too.
        let handler = std::mem::ManuallyDrop::new(BoxHandler::new(bomb));
        let mut attempt = handler.attempt(delivery(), None, &Clock::manual(Duration::ZERO));
        let Poll::Ready(Err(error)) = poll(&mut attempt) else { panic!("{point}") };
        assert_eq!(error.kind, ErrorKind::Internal, "{point}");
        assert!(error.to_string().contains(&format!("the handler panicked: {point}")), "{error}");
        assert_eq!(attempt.delivery().message.id(), "1");
        drop(attempt);
        let made = match point {
            "clone" => 0,
            "readiness" | "call" => 1,
            _ => 2,
        };
        assert_eq!(drops.load(Ordering::SeqCst), made, "{point}: each value is dropped once");
    }
}

#[test]
fn the_drop_of_an_unfinished_attempt_does_not_panic() {
    let (bomb, drops) = Bomb::new("drop while pending");
    let mut unfinished = attempt(bomb);
    assert!(poll(&mut unfinished).is_pending() && unfinished.is_called());
    drop(unfinished);
    // The handler, its clone, and the part of it in the future.
    assert_eq!(drops.load(Ordering::SeqCst), 3);
}

#[test]
fn a_payload_whose_drop_panics_is_one_error_too() {
    struct Payload;
    impl Drop for Payload {
        fn drop(&mut self) {
            resume_unwind(Box::new("again"));
        }
    }
    let handler = handler_fn(|_: Delivery| async { std::panic::panic_any(Payload) });
    let Poll::Ready(Err(error)) = poll(&mut attempt(handler)) else { panic!() };
    assert!(error.to_string().contains("no message"), "{error}");
}

#[test]
fn an_attempt_is_called_when_the_service_is_ready() {
    let limit = Arc::new(tokio::sync::Semaphore::new(1));
    let taken = limit.clone().try_acquire_owned().unwrap();
    let handler = tower::limit::ConcurrencyLimit::with_semaphore(
        handler_fn(|_: Delivery| pending::<Result<Outcome, Error>>()),
        limit,
    );
    let mut attempt = attempt(handler);
    assert!(poll(&mut attempt).is_pending() && !attempt.is_called());
    drop(taken);
    assert!(poll(&mut attempt).is_pending() && attempt.is_called());
}

#[test]
fn the_context_is_that_of_the_message_from_the_call_to_the_drop() {
    struct Look(&'static str, Arc<Mutex<Vec<String>>>);
    impl Drop for Look {
        fn drop(&mut self) {
            let id = context::Context::current().causation_id.map(|id| id.to_string());
            self.1.lock().unwrap().push(format!("{} {}", self.0, id.unwrap_or_default()));
        }
    }
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = seen.clone();
    let mut attempt = attempt(handler_fn(move |_: Delivery| {
        drop(Look("call", log.clone()));
        let dropped = Look("drop", log.clone());
        let log = log.clone();
        async move {
            let _dropped = dropped;
            drop(Look("poll", log));
            pending().await
        }
    }));
    assert!(poll(&mut attempt).is_pending());
    assert_eq!(context::Context::current(), context::Context::default(), "outside of the poll");
    drop(attempt);
    assert_eq!(*seen.lock().unwrap(), ["call s/1", "poll s/1", "drop s/1"]);
}

#[test]
fn the_context_is_made_once_and_a_scope_inside_hides_it() {
    let mut attempt = attempt(handler_fn(|_: Delivery| async {
        let first = context::Context::current();
        assert!(first.trace.is_some() && context::deadline().is_none());
        assert_eq!(context::Context::current(), first, "the trace is random, so it was made once");
        let other = context::Context::root(&Clock::manual(Duration::ZERO));
        let inside = other.clone().scope(async { context::Context::current() }).await;
        assert_eq!(inside, other);
        assert_eq!(context::Context::current(), first);
        Ok(Outcome::Done)
    }));
    assert!(matches!(poll(&mut attempt), Poll::Ready(Ok(Outcome::Done))));
}

#[test]
fn a_name_is_given_without_a_wait_of_its_own() {
    let handler = named(
        "stock",
        handler_fn(|delivery: Delivery| ready(Err(Error::internal(delivery.handler.to_string())))),
    );
    let Poll::Ready(Err(error)) = poll(&mut attempt(handler)) else { panic!() };
    assert!(error.to_string().contains("stock"));
}
