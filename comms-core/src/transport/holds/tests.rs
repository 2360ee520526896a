//! Tests of the list of holds without a processor.

use std::time::SystemTime;

use tracing::Level;

use super::{list::CAPACITY, *};
use crate::{
    Message, MessageParts,
    error::{Guard, Rejection},
    health::Status,
};

fn delivery(id: &str) -> Delivery {
    let message = Message::new(MessageParts {
        source: "s",
        id,
        topic: "orders",
        key: Some(id.as_bytes()),
        ..MessageParts::default()
    });
    Delivery::new(message, "g")
}

fn unreachable() -> Error {
    Error::not_executed("connection refused").context("call payments")
}

#[test]
fn a_hold_is_listed_with_its_key_start_time_and_reason() {
    let clock = Clock::manual(Duration::from_secs(1_000));
    let holds = Holds::new(clock.clone());
    let held = holds.register(&delivery("a"), &unreachable(), None);
    clock.advance(Duration::from_secs(5));
    let other = holds.register(&delivery("b"), &unreachable(), None);
    let held = holds.register(&delivery("a"), &Error::misconfigured("no such method"), Some(held));
    let list = holds.list();
    assert_eq!((list.len(), holds.len()), (2, 2));
    let first = &list[0];
    assert_eq!((&*first.group, &*first.topic, first.attempts), ("g", "orders", 2));
    assert_eq!(first.key.as_deref(), Some(&b"a"[..]));
    assert_eq!(first.since, SystemTime::UNIX_EPOCH + Duration::from_secs(1_000));
    assert_eq!((first.kind, &*first.reason), (ErrorKind::Misconfigured, "misconfigured: no such method"));
    assert_eq!(list[1].reason, "not_executed: call payments: connection refused");
    drop((held, other));
    assert!(holds.is_empty() && holds.list().is_empty());
}

#[test]
fn a_deployment_fault_degrades_readiness_at_once_and_any_other_hold_after_a_minute() {
    let clock = Clock::manual(Duration::ZERO);
    let holds = Holds::new(clock.clone());
    assert_eq!(holds.state(), State::ready());
    let held = holds.register(&delivery("a"), &unreachable(), None);
    clock.advance(LONG_HOLD);
    assert_eq!(holds.state(), State::ready());
    clock.advance(Duration::from_secs(1));
    let state = holds.state();
    assert_eq!(state.status, Status::Degraded);
    assert!(state.reason.unwrap().contains("connection refused"));
    let fault = holds.register(&delivery("b"), &Error::misconfigured("no such method"), None);
    assert!(holds.state().reason.unwrap().contains("no such method"), "the deployment fault comes first");
    drop(held);
    assert_eq!(holds.state().status, Status::Degraded);
    drop(fault);
    assert_eq!(holds.state(), State::ready());
}

#[test]
fn a_hold_that_stays_is_resumed_with_its_start_time_and_removed_by_release() {
    let clock = Clock::manual(Duration::ZERO);
    let holds = Holds::new(clock.clone());
    holds.register(&delivery("a"), &unreachable(), None).stay();
    clock.advance(Duration::from_secs(7));
    assert!(holds.resume(&delivery("b")).is_none());
    let resumed = holds.resume(&delivery("a")).unwrap();
    assert_eq!((resumed.lasted(clock.now()), resumed.attempts), (Duration::from_secs(7), 1));
    resumed.stay();
    holds.release(&delivery("b"));
    assert_eq!(holds.len(), 1);
    holds.release(&delivery("a"));
    assert!(holds.is_empty());
}

#[test]
fn the_list_is_bounded_and_a_delivery_enters_it_when_there_is_room() {
    let holds = Holds::new(Clock::manual(Duration::ZERO));
    let mut held: Vec<_> =
        (0..=CAPACITY).map(|n| holds.register(&delivery(&n.to_string()), &unreachable(), None)).collect();
    assert_eq!(holds.len(), CAPACITY);
    let last = held.pop();
    held.pop();
    let last = holds.register(&delivery(&CAPACITY.to_string()), &unreachable(), last);
    assert_eq!((holds.len(), last.attempts), (CAPACITY, 2));
    drop((held, last));
    assert!(holds.is_empty());
}

#[test]
fn a_hold_is_logged_at_its_start_once_a_minute_and_when_the_kind_changes() {
    let clock = Clock::manual(Duration::ZERO);
    let mut entry = Entry::new(&delivery("a"), SystemTime::UNIX_EPOCH, clock.now());
    let mut logged = |error: &Error, seconds: u64| {
        clock.advance(Duration::from_secs(seconds));
        entry.record(error, 1, clock.now())
    };
    assert!(logged(&unreachable(), 0));
    assert!(!logged(&unreachable(), 59));
    assert!(logged(&unreachable(), 1));
    assert!(!logged(&unreachable(), 1));
    assert!(logged(&Error::misconfigured("no such method"), 1));
    assert!(!logged(&Error::misconfigured("no such method"), 59));
}

#[test]
fn a_refusal_by_an_open_breaker_is_logged_at_debug() {
    let clock = Clock::manual(Duration::ZERO);
    let mut entry = Entry::new(&delivery("a"), SystemTime::UNIX_EPOCH, clock.now());
    let open = || Error::from(Rejection::new("payments", Guard::Breaker, None)).context("call payments");
    let mut logged = |error: &Error| (entry.record(error, 1, clock.now()), entry.level());
    assert_eq!(logged(&open()), (true, Level::DEBUG));
    assert_eq!(logged(&unreachable()), (true, Level::WARN));
    assert_eq!(logged(&open()), (false, Level::WARN));
    assert_eq!(logged(&Error::misconfigured("no such method")), (true, Level::ERROR));
}

#[test]
fn a_breaker_refusal_does_not_replace_an_earlier_reason() {
    let holds = Holds::new(Clock::manual(Duration::ZERO));
    let open = || Error::from(Rejection::new("payments", Guard::Breaker, None));
    let held = holds.register(&delivery("a"), &open(), None);
    assert_eq!(holds.list()[0].kind, ErrorKind::Rejected);
    let held = holds.register(&delivery("a"), &Error::misconfigured("no such method"), Some(held));
    let held = holds.register(&delivery("a"), &open().context("call payments"), Some(held));
    let hold = holds.list().remove(0);
    assert_eq!(
        (hold.kind, &*hold.reason, hold.attempts),
        (ErrorKind::Misconfigured, "misconfigured: no such method", 3)
    );
    let held = holds.register(&delivery("a"), &unreachable(), Some(held));
    assert_eq!(holds.list()[0].kind, ErrorKind::NotExecuted);
    drop(held);
}
