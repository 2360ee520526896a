//! Targets for the parsers of the context: trace, timeouts, requests and messages.

use std::time::Duration;

use comms_core::{
    Headers, Message, MessageParts,
    clock::Clock,
    context::{
        Context, ID_LIMIT, Priority, Protocol, TraceContext, TraceState, format_grpc_timeout,
        format_request_timeout, parse_grpc_timeout, parse_request_timeout,
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
    assert!(
        sent.contains(&trace.trace_id()) && sent.contains(&trace.span_id()),
        "the ids are those of the input"
    );
    assert!(trace.trace_id().bytes().any(|b| b != b'0') && trace.span_id().bytes().any(|b| b != b'0'));
}

/// The input is the lines of the header, separated by line feeds.
pub(super) fn tracestate(data: &[u8]) {
    let Some(state) = TraceState::of_lines(data.split(|&b| b == b'\n')) else { return };
    check_state(&state);
    assert!(data.len() <= 16_447 + 64, "an overlong state was parsed");
    let extended = state.with("tenant@vendor", "1").expect("a valid member");
    check_state(&extended);
    assert_eq!(extended.iter().next(), Some(("tenant@vendor", "1")));
}

fn check_state(state: &TraceState) {
    let text = state.as_str();
    assert_eq!(TraceState::parse(text.as_bytes()).as_ref(), Some(state));
    assert!((1..=512).contains(&text.len()));
    let members: Vec<_> = state.iter().collect();
    assert!((1..=32).contains(&members.len()));
    for (at, (key, value)) in members.iter().enumerate() {
        assert!((1..=256).contains(&key.len()) && (1..=256).contains(&value.len()));
        assert!(!members[..at].iter().any(|(other, _)| other == key), "{key} occurs twice");
        assert_eq!(state.get(key), Some(*value));
    }
}

pub(super) fn grpc_timeout(data: &[u8]) {
    let Ok(timeout) = parse_grpc_timeout(data) else { return };
    assert!((2..=9).contains(&data.len()));
    let text = format_grpc_timeout(timeout);
    assert_eq!(
        parse_grpc_timeout(text.as_bytes()).expect("a formatted timeout parses"),
        timeout,
        "the parsed value is exact"
    );
    assert!(text.len() <= data.len().max(2), "{text} is not the shortest");
}

pub(super) fn request_timeout(data: &[u8]) {
    let Ok(timeout) = parse_request_timeout(data) else { return };
    assert!((1..=10).contains(&data.len()) && !timeout.is_zero());
    let parsed = parse_request_timeout(format_request_timeout(timeout).as_bytes())
        .expect("a formatted timeout parses");
    assert!(parsed >= timeout && parsed - timeout < Duration::from_secs(1));
}

/// The first line is the source and the id, separated by a tab. The other lines are headers, `name: value`.
pub(super) fn message_context(data: &[u8]) {
    let (identity, rest) = split(data, b'\n');
    let (source, id) = split(identity, b'\t');
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let message = Message::new(MessageParts {
        source: &text(source),
        id: &text(id),
        topic: "t",
        key: None,
        headers: headers(rest).view(),
        payload: None,
    });
    let context = Context::of_message(&message, &clock());
    check(&context);
    assert_eq!(
        (context.deadline, &context.idempotency_key),
        (None, &None),
        "a message carries no deadline and no key"
    );
    assert_eq!(context.priority, Priority::Standard);
    if let Some(cause) = &context.causation_id {
        assert_eq!(**cause, format!("{}/{}", message.source(), message.id()));
    }
}

/// The first byte selects the protocol. The rest is lines of headers, `name: value`.
pub(super) fn request_context(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else { return };
    let protocol = if first % 2 == 0 { Protocol::Http } else { Protocol::Grpc };
    let headers = headers(rest);
    let Ok(context) = Context::of_request(&headers, protocol, &clock()) else { return };
    check(&context);
    let timeout = if protocol == Protocol::Http { "request-timeout" } else { "grpc-timeout" };
    for (name, was_read) in
        [(timeout, context.deadline.is_some()), ("idempotency-key", context.idempotency_key.is_some())]
    {
        let sent = headers.iter().filter(|(other, _)| *other == name).count();
        assert_eq!(
            sent,
            usize::from(was_read),
            "{name}: a header that occurs once is read, a repeated one is refused"
        );
    }
    assert!(context.idempotency_key.as_deref().is_none_or(is_key));
    if context.deadline.is_some_and(|deadline| deadline.has_passed(&clock())) {
        return;
    }
    let mut sent = Headers::new();
    context.write_request(&mut sent, protocol, &clock()).expect("a context that was read can be written");
    let next =
        Context::of_request(&sent, protocol, &clock()).expect("a context that was written can be read");
    let printable = |id: &Option<std::sync::Arc<str>>| id.clone().filter(|id| id.is_ascii());
    let mut expected = context.clone();
    expected.correlation_id = printable(&context.correlation_id);
    expected.causation_id = printable(&context.causation_id);
    expected.trace = next.trace;
    expected.deadline = next.deadline;
    assert_eq!(next, expected);
    assert!(next.deadline >= context.deadline, "the deadline is never earlier at the peer");
}

fn check(context: &Context) {
    assert!(context.trace.is_some(), "every context has a trace");
    for id in [&context.correlation_id, &context.causation_id].into_iter().flatten() {
        assert!((1..=ID_LIMIT).contains(&id.len()) && !id.bytes().any(|b| b.is_ascii_control()), "{id:?}");
    }
    context.tracestate.iter().for_each(check_state);
}

/// Returns the same clock on every call, so that the deadlines of two contexts can be compared.
fn clock() -> Clock {
    static CLOCK: std::sync::OnceLock<Clock> = std::sync::OnceLock::new();
    CLOCK.get_or_init(|| Clock::manual(Duration::from_secs(1_700_000_000))).clone()
}

fn split(data: &[u8], at: u8) -> (&[u8], &[u8]) {
    let found = data.iter().position(|&b| b == at);
    found.map_or((data, &[]), |found| (&data[..found], &data[found + 1..]))
}

/// Parses lines of `name: value`, at most 64.
fn headers(data: &[u8]) -> Headers {
    let mut headers = Headers::new();
    for line in data.split(|&b| b == b'\n').take(64) {
        let (name, value) = split(line, b':');
        headers.append(String::from_utf8_lossy(name), value.strip_prefix(b" ").unwrap_or(value));
    }
    headers
}
