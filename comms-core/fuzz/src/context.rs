//! The parsers of what a hop carries.

use std::time::Duration;

use comms_core::{
    Headers, Message,
    clock::Clock,
    context::{
        Context, ID_LIMIT, Priority, Protocol, TraceContext, TraceState, grpc_timeout as print_grpc,
        parse_grpc_timeout, parse_request_timeout, request_timeout as print_request,
    },
    idempotency::is_key,
};

pub(super) fn traceparent(data: &[u8]) {
    let Some(trace) = TraceContext::parse(data) else { return };
    let text = trace.to_string();
    assert_eq!(text.len(), 55);
    assert!(text.starts_with("00-"));
    assert_eq!(TraceContext::parse(text.as_bytes()), Some(trace));
    let sent = String::from_utf8_lossy(data);
    assert!(sent.contains(&trace.trace_id()) && sent.contains(&trace.span_id()), "ids are what was sent");
    assert!(trace.trace_id().bytes().any(|b| b != b'0') && trace.span_id().bytes().any(|b| b != b'0'));
}

/// A line feed stands between the lines of the header.
pub(super) fn tracestate(data: &[u8]) {
    let Some(state) = TraceState::of_lines(data.split(|&b| b == b'\n')) else { return };
    check_state(&state);
    assert!(data.len() <= 16_447 + 64, "a state that long was read");
    let own = state.with("own@house", "1").expect("a good member");
    check_state(&own);
    assert_eq!(own.iter().next(), Some(("own@house", "1")));
}

fn check_state(state: &TraceState) {
    let text = state.as_str();
    assert_eq!(TraceState::parse(text.as_bytes()).as_ref(), Some(state));
    assert!((1..=512).contains(&text.len()));
    let members: Vec<_> = state.iter().collect();
    assert!((1..=32).contains(&members.len()));
    for (at, (key, value)) in members.iter().enumerate() {
        assert!((1..=256).contains(&key.len()) && (1..=256).contains(&value.len()));
        assert!(!members[..at].iter().any(|(other, _)| other == key), "{key} comes twice");
        assert_eq!(state.get(key), Some(*value));
    }
}

pub(super) fn grpc_timeout(data: &[u8]) {
    let Ok(timeout) = parse_grpc_timeout(data) else { return };
    assert!((2..=9).contains(&data.len()));
    let text = print_grpc(timeout);
    assert_eq!(parse_grpc_timeout(text.as_bytes()).expect("our own is read"), timeout, "exact where it was");
    assert!(text.len() <= data.len().max(2), "{text} is not the shortest");
}

pub(super) fn request_timeout(data: &[u8]) {
    let Ok(timeout) = parse_request_timeout(data) else { return };
    assert!((1..=10).contains(&data.len()) && !timeout.is_zero());
    let again = parse_request_timeout(print_request(timeout).as_bytes()).expect("our own is read");
    assert!(again >= timeout && again - timeout < Duration::from_secs(1));
}

/// Lines of `name: value`; a tab stands between source and id on the first.
pub(super) fn message_context(data: &[u8]) {
    let (identity, rest) = split(data, b'\n');
    let (source, id) = split(identity, b'\t');
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let message = Message {
        source: text(source).into(),
        id: text(id).into(),
        topic: "t".into(),
        key: None,
        headers: headers(rest),
        payload: None,
    };
    let context = Context::of_message(&message, &clock());
    check(&context);
    assert_eq!((context.deadline, &context.idempotency_key), (None, &None), "they end at the outbox");
    assert_eq!(context.priority, Priority::Standard);
    if let Some(cause) = &context.causation_id {
        assert_eq!(**cause, format!("{}/{}", message.source, message.id));
    }
}

/// Lines of `name: value`; the first byte says which protocol.
pub(super) fn request_context(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else { return };
    let protocol = if first % 2 == 0 { Protocol::Http } else { Protocol::Grpc };
    let headers = headers(rest);
    let Ok(context) = Context::of_request(&headers, protocol, &clock()) else { return };
    check(&context);
    let timeout = if protocol == Protocol::Http { "request-timeout" } else { "grpc-timeout" };
    for (name, read) in
        [(timeout, context.deadline.is_some()), ("idempotency-key", context.idempotency_key.is_some())]
    {
        let sent = headers.iter().filter(|(other, _)| *other == name).count();
        assert_eq!(sent, usize::from(read), "{name}: none becomes none, one is read, several are refused");
    }
    assert!(context.idempotency_key.as_deref().is_none_or(is_key));
    if context.deadline.is_some_and(|deadline| deadline.has_passed(&clock())) {
        return;
    }
    let mut sent = Headers::new();
    context.write_request(&mut sent, protocol, &clock()).expect("what was read can be sent");
    let next = Context::of_request(&sent, protocol, &clock()).expect("what was sent can be read");
    let printable = |id: &Option<std::sync::Arc<str>>| id.clone().filter(|id| id.is_ascii());
    let mut expected = context.clone();
    expected.correlation_id = printable(&context.correlation_id);
    expected.causation_id = printable(&context.causation_id);
    expected.trace = next.trace;
    expected.deadline = next.deadline;
    assert_eq!(next, expected);
    assert!(next.deadline >= context.deadline, "the peer never gives up first");
}

fn check(context: &Context) {
    assert!(context.trace.is_some(), "a trace begins where none goes on");
    for id in [&context.correlation_id, &context.causation_id].into_iter().flatten() {
        assert!((1..=ID_LIMIT).contains(&id.len()) && !id.bytes().any(|b| b.is_ascii_control()), "{id:?}");
    }
    context.tracestate.iter().for_each(check_state);
}

/// The same for every call: deadlines of two readings can be compared.
fn clock() -> Clock {
    static CLOCK: std::sync::OnceLock<Clock> = std::sync::OnceLock::new();
    CLOCK.get_or_init(|| Clock::manual(Duration::from_secs(1_700_000_000))).clone()
}

fn split(data: &[u8], at: u8) -> (&[u8], &[u8]) {
    let found = data.iter().position(|&b| b == at);
    found.map_or((data, &[]), |found| (&data[..found], &data[found + 1..]))
}

/// Names that are known are taken as they are; what else comes is carried under its own.
fn headers(data: &[u8]) -> Headers {
    let mut headers = Headers::new();
    for line in data.split(|&b| b == b'\n').take(64) {
        let (name, value) = split(line, b':');
        headers.append(
            String::from_utf8_lossy(name).into_owned(),
            value.strip_prefix(b" ").unwrap_or(value).to_vec(),
        );
    }
    headers
}
