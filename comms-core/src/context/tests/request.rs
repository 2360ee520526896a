//! Contexts of requests, in both protocols and all header types.

use super::*;
use crate::{ErrorKind, Inject};

const SECOND: Duration = Duration::from_secs(1);

fn full(clock: &Clock) -> Context {
    let mut context = Context::root(clock).with_priority(Priority::Critical);
    context =
        context.with_deadline(Deadline::after(SECOND * 2, clock)).with_idempotency_key("order-7").unwrap();
    context.tracestate = TraceState::parse(b"rojo=1,congo=2");
    context.correlation_id = Some("orders/1".into());
    context.causation_id = Some("orders/9".into());
    context
}

fn assert_round_trip(carrier: &mut (impl Inject + Extract), protocol: Protocol) {
    let clock = clock();
    let sent = full(&clock);
    sent.write_request(carrier, protocol, &clock).unwrap();
    let mut received = Context::of_request(carrier, protocol, &clock).unwrap();
    assert_ne!(received.trace, sent.trace, "the receiver has a new span");
    assert_eq!(received.trace.unwrap().trace_id(), sent.trace.unwrap().trace_id());
    received.trace = sent.trace;
    assert_eq!(received, sent);
}

#[test]
fn a_request_carries_the_whole_context() {
    for protocol in [Protocol::Http, Protocol::Grpc] {
        assert_round_trip(&mut http::HeaderMap::new(), protocol);
        assert_round_trip(&mut Headers::new(), protocol);
    }
}

#[test]
fn the_deadline_header_of_each_protocol_has_the_remaining_time() {
    let clock = clock();
    let context = full(&clock);
    clock.advance(Duration::from_millis(750));
    for (protocol, name, other, text) in [
        (Protocol::Http, "request-timeout", "grpc-timeout", "1250ms"),
        (Protocol::Grpc, "grpc-timeout", "request-timeout", "1250m"),
    ] {
        let mut headers = Headers::new();
        context.write_request(&mut headers, protocol, &clock).unwrap();
        assert_eq!((headers.text(name), headers.text(other)), (Some(text), None));
    }
    clock.advance(SECOND * 2);
    let late = context.write_request(&mut Headers::new(), Protocol::Grpc, &clock).unwrap_err();
    assert_eq!((late.kind, late.grpc_code()), (ErrorKind::Rejected, 4), "a passed deadline is refused");
}

#[test]
fn unset_values_leave_the_headers_unchanged() {
    let clock = clock();
    let mut headers: Headers = [("idempotency-key", "mine"), ("grpc-timeout", "5S")].into_iter().collect();
    let before = headers.clone();
    Context::default().write_request(&mut headers, Protocol::Grpc, &clock).unwrap();
    assert_eq!(headers, before);
    let only_state = Context { tracestate: TraceState::parse(b"a=1"), ..Context::default() };
    only_state.write_request(&mut headers, Protocol::Grpc, &clock).unwrap();
    assert_eq!(headers, before, "a tracestate is not written without its traceparent");
}

#[test]
fn an_invalid_deadline_or_key_is_refused() {
    let long = "k".repeat(256);
    let table: &[(&[(&'static str, &str)], &str)] = &[
        (&[("grpc-timeout", "soon")], "grpc-timeout"),
        (&[("grpc-timeout", "1S"), ("grpc-timeout", "2S")], "grpc-timeout occurs 2 times"),
        (&[("idempotency-key", "")], "idempotency-key"),
        (&[("idempotency-key", &long)], "idempotency-key"),
        (&[("idempotency-key", "schl\u{fc}ssel")], "idempotency-key"),
        (&[("idempotency-key", "a"), ("idempotency-key", "a")], "idempotency-key occurs 2 times"),
    ];
    for (headers, reason) in table {
        let headers: Headers =
            headers.iter().map(|(name, value)| (*name, value.as_bytes().to_vec())).collect();
        let error = Context::of_request(&headers, Protocol::Grpc, &clock()).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Invalid);
        assert!(error.to_string().contains(reason), "{error}");
    }
}

#[test]
fn invalid_informative_values_are_ignored() {
    let long = "i".repeat(ID_LIMIT + 1);
    let table: &[&[(&'static str, &str)]] = &[
        &[("x-correlation-id", ""), ("x-causation-id", &long)],
        &[("x-correlation-id", "a\r\nb"), ("x-causation-id", "a\u{7f}")],
        &[("x-correlation-id", "a"), ("x-correlation-id", "b")],
        &[("request-priority", "CRITICAL")],
        &[("request-priority", "critical"), ("request-priority", "critical")],
    ];
    for headers in table {
        let headers: Headers =
            headers.iter().map(|(name, value)| (*name, value.as_bytes().to_vec())).collect();
        let context = Context::of_request(&headers, Protocol::Http, &clock()).unwrap();
        let expected = Context { trace: context.trace, ..Context::default() };
        assert_eq!(context, expected, "{headers:?}");
    }
}

#[test]
fn values_that_a_peer_could_refuse_are_not_sent() {
    let clock = clock();
    for id in ["счёт-1", "a\nb", &"i".repeat(ID_LIMIT + 1)] {
        let context = Context { correlation_id: Some(id.into()), ..Context::default() };
        let mut headers = http::HeaderMap::new();
        context.write_request(&mut headers, Protocol::Http, &clock).unwrap();
        assert!(headers.is_empty(), "{id}");
    }
    let context = Context { idempotency_key: Some("a\nb".into()), ..Context::default() };
    assert!(context.write_request(&mut Headers::new(), Protocol::Http, &clock).is_err());
    assert!(Context::default().with_idempotency_key(" ").is_err());
}

#[test]
fn of_trace_reads_only_the_trace() {
    let clock = clock();
    let mut headers = Headers::new();
    let sent = full(&clock);
    sent.write_request(&mut headers, Protocol::Http, &clock).unwrap();
    let context = Context::of_trace(&headers, &clock);
    assert_eq!(context.trace.unwrap().trace_id(), sent.trace.unwrap().trace_id());
    assert_eq!(context.tracestate, sent.tracestate);
    let rest = Context { trace: None, tracestate: None, ..context };
    assert_eq!(rest, Context::default());
}

#[test]
fn a_priority_is_parsed_strictly_in_configuration_and_leniently_from_headers() {
    for known in [Priority::Batch, Priority::Standard, Priority::Critical] {
        assert_eq!(known.to_string().parse::<Priority>().unwrap(), known);
        assert_eq!(Priority::of_header(known.as_str().as_bytes()), known);
        let json = format!("\"{known}\"");
        assert_eq!(serde_json::to_string(&known).unwrap(), json);
        assert_eq!(serde_json::from_str::<Priority>(&json).unwrap(), known);
    }
    for unknown in ["", "Critical", "urgent"] {
        assert!(unknown.parse::<Priority>().is_err());
        assert!(serde_json::from_str::<Priority>(&format!("\"{unknown}\"")).is_err());
        assert_eq!(Priority::of_header(unknown.as_bytes()), Priority::Standard);
    }
}
