use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn clock() -> Clock {
    Clock::manual(Duration::from_secs(1_700_000_000))
}

#[test]
fn traceparent_is_as_strict_as_the_standard() {
    let valid = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let table = [
        (valid, true),
        ("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-later", true),
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-later", false),
        ("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01later", false),
        ("ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", false),
        ("00-00000000000000000000000000000000-00f067aa0ba902b7-01", false),
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", false),
        ("00-4BF92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", false),
        ("00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01", false),
        ("00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", false),
        ("", false),
        ("00", false),
    ];
    for (text, ok) in table {
        assert_eq!(TraceContext::parse(text.as_bytes()).is_some(), ok, "{text}");
    }
}

#[test]
fn a_child_keeps_the_trace_and_gets_a_span_of_its_own() {
    let root = TraceContext::root(&clock());
    let child = root.child(&clock());
    assert_eq!(root.trace_id(), child.trace_id());
    assert_ne!(root, child);
}

/// The rows of grpc-go's table: units, limits, and what must be refused.
#[test]
fn grpc_timeout_is_read_strictly() {
    let good = [
        ("00000001n", Some(Duration::from_nanos(1))),
        ("000000001n", None),
        ("1n", Some(Duration::from_nanos(1))),
        ("1u", Some(Duration::from_micros(1))),
        ("1m", Some(Duration::from_millis(1))),
        ("1S", Some(Duration::from_secs(1))),
        ("1M", Some(Duration::from_secs(60))),
        ("1H", Some(Duration::from_secs(3_600))),
        ("99999999S", Some(Duration::from_secs(99_999_999))),
        ("+5S", None),
        ("-1S", None),
        ("1x", None),
        ("S", None),
        ("", None),
        ("1 S", None),
    ];
    for (text, expected) in good {
        assert_eq!(parse_grpc_timeout(text.as_bytes()).ok(), expected, "{text}");
    }
}

#[test]
fn a_deadline_combines_to_the_earlier_and_ends() {
    let clock = clock();
    let near = Deadline::after(Duration::from_secs(1), &clock);
    let far = Deadline::after(Duration::from_secs(9), &clock);
    let context = Context::root(&clock).with_deadline(near).with_deadline(far);
    assert_eq!(context.deadline, Some(near));
    clock.advance(Duration::from_secs(1));
    assert_eq!(near.remaining(&clock), None);
    assert_eq!(near.grpc_timeout(&clock), None);
    assert_eq!(Deadline::after(Duration::MAX, &clock).grpc_timeout(&clock).as_deref(), Some("99999999S"));
}

#[tokio::test]
async fn an_event_carries_trace_and_cause_but_no_deadline() {
    let clock = clock();
    let deadline = Deadline::after(Duration::from_secs(1), &clock);
    let mut headers = Headers::new();
    let context = Context::root(&clock).with_deadline(deadline);
    context.scope(async { Context::current().write_event_headers(&mut headers) }).await;
    let message = Message {
        source: "orders".into(),
        id: "1".into(),
        destination: "t".into(),
        key: None,
        headers,
        payload: None,
    };
    let next = Context::of_message(&message, &clock);
    assert_eq!(
        next.trace.map(|t| t.trace_id()),
        Some(TraceContext::parse(message.headers.extract("traceparent").unwrap()).unwrap().trace_id())
    );
    assert_eq!(next.causation_id.as_deref(), Some("orders/1"));
    assert!(next.deadline.is_none());
    assert!(!message.headers.iter().any(|(name, _)| name.contains("timeout") || name.contains("deadline")));
}

proptest! {
    #[test]
    fn a_timeout_sent_is_never_shorter_than_what_was_left(nanos in 1u64..10_000_000_000_000_000) {
        let clock = clock();
        let left = Duration::from_nanos(nanos);
        let text = Deadline::after(left, &clock).grpc_timeout(&clock).unwrap();
        prop_assert!(parse_grpc_timeout(text.as_bytes()).unwrap() >= left);
    }

    #[test]
    fn parsers_of_outside_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        let _ = TraceContext::parse(&bytes);
        let _ = parse_grpc_timeout(&bytes);
    }
}
