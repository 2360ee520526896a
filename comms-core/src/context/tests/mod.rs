//! Contexts of events, deadlines, and the fixtures of the context tests.

mod request;
mod timeouts;
mod w3c;

use std::{task::Poll, time::Duration};

use futures_util::FutureExt;
use proptest::prelude::*;

use super::*;
use crate::{Extract, Headers, MessageParts};

fn clock() -> Clock {
    Clock::manual(Duration::from_secs(1_700_000_000))
}

fn message(source: &str, id: &str, headers: Headers) -> Message {
    let headers = headers.view();
    Message::new(MessageParts { source, id, topic: "t", headers, ..MessageParts::default() })
}

#[test]
fn a_child_has_the_same_trace_a_new_span_and_no_key() {
    let clock = clock();
    let parent = Context::root(&clock).with_priority(Priority::Batch).with_idempotency_key("k").unwrap();
    let child = parent.child(&clock);
    let (before, after) = (parent.trace.unwrap(), child.trace.unwrap());
    assert_eq!(before.trace_id(), after.trace_id());
    assert_ne!(before.span_id(), after.span_id());
    assert_eq!((child.idempotency_key, child.priority), (None, Priority::Batch));
    assert!(Context::default().child(&clock).trace.is_some(), "a context without a trace gets a new one");
}

#[test]
fn deadlines_combine_to_the_earlier_one_and_pass() {
    let clock = clock();
    let near = Deadline::after(Duration::from_secs(1), &clock);
    let far = Deadline::after(Duration::from_secs(9), &clock);
    for (first, second) in [(near, far), (far, near)] {
        let context = Context::root(&clock).with_deadline(first).with_deadline(second);
        assert_eq!(context.deadline, Some(near));
        assert_eq!(first.earlier(second), near);
    }
    assert!(!near.has_passed(&clock));
    clock.advance(Duration::from_secs(1));
    assert_eq!(near.remaining(&clock), None);
    assert!(near.has_passed(&clock));
    assert_eq!(near.timeout(Protocol::Grpc, &clock), None);
    let longest = Deadline::after(Duration::MAX, &clock).timeout(Protocol::Grpc, &clock);
    assert_eq!(longest.as_deref(), Some("99999999S"));
}

#[tokio::test]
async fn an_event_carries_trace_and_ids_but_no_deadline_key_or_priority() {
    let clock = clock();
    let deadline = Deadline::after(Duration::from_secs(1), &clock);
    let mut context = Context::root(&clock).with_deadline(deadline).with_priority(Priority::Critical);
    context = context.with_idempotency_key("order-7").unwrap();
    context.tracestate = TraceState::parse(b"rojo=1");
    let mut headers = Headers::new();
    context.clone().scope(async { Context::current().write_event_headers(&mut headers) }).await;
    let names: Vec<_> = headers.iter().map(|(name, _)| name.to_owned()).collect();
    assert_eq!(names, ["traceparent", "tracestate"]);

    let next = Context::of_message(&message("orders", "1", headers), &clock);
    assert_eq!(next.trace.map(|t| t.trace_id()), context.trace.map(|t| t.trace_id()));
    assert_eq!(next.tracestate.unwrap().as_str(), "rojo=1");
    assert_eq!(next.causation_id.as_deref(), Some("orders/1"));
    assert_eq!(
        next.correlation_id.as_deref(),
        Some("orders/1"),
        "an event without a correlation id starts a conversation"
    );
    assert_eq!((next.deadline, next.idempotency_key, next.priority), (None, None, Priority::Standard));
}

#[test]
fn deadline_key_and_priority_in_a_message_are_ignored() {
    let claims = ["grpc-timeout", "request-timeout", "idempotency-key", "request-priority"];
    let headers: Headers = claims.into_iter().zip(["1S", "1", "k", "critical"]).collect();
    let context = Context::of_message(&message("s", "1", headers), &clock());
    assert_eq!(
        (context.deadline, context.idempotency_key, context.priority),
        (None, None, Priority::Standard)
    );
}

#[test]
fn the_correlation_id_stays_and_the_causation_id_changes() {
    let mut headers = Headers::new();
    headers.append(wire::CE_CORRELATION_ID, "orders/1");
    headers.append(wire::CE_CAUSATION_ID, "orders/8");
    let context = Context::of_message(&message("payments", "9", headers), &clock());
    assert_eq!(context.correlation_id.as_deref(), Some("orders/1"));
    assert_eq!(context.causation_id.as_deref(), Some("payments/9"));
}

#[test]
fn an_invalid_identity_is_left_out() {
    let fits = "i".repeat(ID_LIMIT - 2);
    for (id, carried) in
        [(fits.as_str(), true), (&format!("{fits}i"), false), ("a\nb", false), ("счёт", true)]
    {
        let context = Context::of_message(&message("s", id, Headers::new()), &clock());
        let expected = carried.then(|| format!("s/{id}"));
        assert_eq!(context.causation_id.as_deref(), expected.as_deref(), "{id:?}");
        assert_eq!(context.correlation_id, context.causation_id, "{id:?}");
    }
    let mut written = Headers::new();
    let context = Context { correlation_id: Some(format!("s/{fits}i").into()), ..Context::default() };
    context.write_event_headers(&mut written);
    assert!(written.is_empty(), "an id over the limit is not written");
}

proptest! {
    #[test]
    fn ids_round_trip_through_an_event(source in "[a-z/]{1,40}", id in "\\PC{1,40}") {
        let clock = clock();
        let cause = Context::of_message(&message(&source, &id, Headers::new()), &clock);
        let mut headers = Headers::new();
        cause.write_event_headers(&mut headers);
        prop_assert_eq!(headers.text(wire::CE_CAUSATION_ID), cause.causation_id.as_deref());
        let next = Context::of_message(&message("next", "1", headers), &clock);
        prop_assert_eq!(next.correlation_id, cause.correlation_id);
    }

    #[test]
    fn a_trace_round_trips_through_its_header(seed in any::<u64>()) {
        let clock = Clock::seeded(Duration::from_secs(1), seed);
        let trace = TraceContext::root(&clock).child(&clock);
        prop_assert_eq!(TraceContext::parse(&trace.to_bytes()), Some(trace));
        let text = trace.to_string();
        prop_assert_eq!(text.as_bytes(), &trace.to_bytes());
        prop_assert!(text.contains(&trace.trace_id()) && text.contains(&trace.span_id()));
    }
}

/// A future whose drop records the correlation id of the context.
struct RecordsDrop<'a>(&'a std::cell::RefCell<Vec<Option<Arc<str>>>>, Poll<()>);

impl Future for RecordsDrop<'_> {
    type Output = ();

    fn poll(self: std::pin::Pin<&mut Self>, _: &mut std::task::Context<'_>) -> Poll<()> {
        self.1
    }
}

impl Drop for RecordsDrop<'_> {
    fn drop(&mut self) {
        self.0.borrow_mut().push(Context::current().correlation_id);
    }
}

#[test]
fn a_future_is_dropped_in_its_scope_before_and_after_its_end() {
    let dropped = std::cell::RefCell::default();
    let context = Context { correlation_id: Some("inside".into()), ..Context::default() };
    for poll in [Poll::Pending, Poll::Ready(())] {
        let ended = context.clone().scope(RecordsDrop(&dropped, poll)).now_or_never();
        assert_eq!(ended.is_some(), poll.is_ready());
    }
    let inside = Some(Arc::from("inside"));
    assert_eq!(dropped.into_inner(), [inside.clone(), inside]);
}
