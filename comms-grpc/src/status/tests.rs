use super::*;
use comms_core::{
    clock::Clock,
    resilience::{Breaker, BreakerConfig},
};

/// Columns: kind, code and message that are sent, and the kind that the receiver derives from them.
#[test]
fn every_kind_is_sent_as_its_code_and_no_code_alone_is_a_proof() {
    use ErrorKind::{
        Conflict, Fatal, Indeterminate, Internal, Invalid, Misconfigured, NotExecuted, NotFound,
        PermissionDenied, Rejected, Unauthenticated,
    };
    let table = [
        (NotExecuted, Code::Unavailable, "unavailable", Indeterminate),
        (Indeterminate, Code::Unknown, "the outcome is unknown", Indeterminate),
        (Rejected, Code::ResourceExhausted, "hunter2", Indeterminate),
        (Invalid, Code::InvalidArgument, "hunter2", Invalid),
        (NotFound, Code::NotFound, "hunter2", NotFound),
        (Unauthenticated, Code::Unauthenticated, "hunter2", Misconfigured),
        (PermissionDenied, Code::PermissionDenied, "hunter2", Misconfigured),
        (Conflict, Code::Aborted, "hunter2", Conflict),
        (Misconfigured, Code::Internal, "internal error", Indeterminate),
        (Internal, Code::Internal, "internal error", Indeterminate),
        (Fatal, Code::Internal, "internal error", Indeterminate),
    ];
    assert_eq!(table.map(|row| row.0), ErrorKind::ALL, "every kind has a row");
    for (kind, code, text, received) in table {
        let status = to_status(&Error::new(kind, "hunter2"));
        assert_eq!((status.code(), status.message()), (code, text), "{kind}");
        assert_eq!(from_status(&status).kind, received, "{kind}");
    }
}

#[test]
fn every_code_has_a_kind() {
    use ErrorKind::{Conflict, Indeterminate, Invalid, Misconfigured, NotFound};
    for code in 0..=17 {
        let kind = match code {
            3 | 11 => Invalid,
            5 => NotFound,
            6 | 9 | 10 => Conflict,
            7 | 12 | 16 => Misconfigured,
            _ => Indeterminate,
        };
        let mut status = Status::new(Code::from_i32(code), "why");
        status.metadata_mut().insert(PUSHBACK, 250.into());
        let error = from_status(&status);
        assert_eq!((error.kind, error.retry_after), (kind, Some(Duration::from_millis(250))), "{code}");
    }
}

#[test]
fn an_open_breaker_is_sent_as_unavailable_with_its_wait() {
    let breaker = Breaker::new("payments", BreakerConfig::default(), Clock::system()).unwrap();
    (0..5).for_each(|_| breaker.acquire().unwrap().failure());
    let error = Error::from(breaker.acquire().unwrap_err()).context("charge");
    let status = to_status(&error);
    assert_eq!(status.code(), Code::Unavailable);
    let received = from_status(&status);
    assert_eq!(received.kind, ErrorKind::Indeterminate, "the handler has run");
    assert!(received.retry_after >= error.retry_after && received.retry_after.is_some());
    assert_eq!(from_status(&refused(&error)).kind, ErrorKind::Rejected);
}

#[test]
fn only_refused_attaches_a_proof_and_only_for_two_kinds() {
    for kind in ErrorKind::ALL {
        let error = Error::new(kind, "why");
        let proven = matches!(kind, ErrorKind::NotExecuted | ErrorKind::Rejected).then_some(kind);
        assert_eq!(Refusal::of(&refused(&error)), proven, "{kind}");
        assert_eq!(Refusal::of(&to_status(&error)), None, "{kind}");
    }
    // The evidence of a channel about its own call is no refusal by this process.
    let forwarded = Evidence::attach(Status::unavailable("away"), ErrorKind::NotExecuted);
    assert_eq!(Refusal::of(&forwarded), None);
}

#[test]
fn the_message_of_a_peer_is_not_forwarded() {
    for code in [3, 5, 6, 9, 11] {
        let received = from_status(&Status::new(Code::from_i32(code), "index orders_pkey"));
        let sent = to_status(&received.context("charge the order"));
        assert!(!sent.message().contains("orders_pkey"), "{sent}");
        assert_eq!(ErrorKind::from_grpc_code(sent.code().into()), ErrorKind::from_grpc_code(code));
    }
}

#[test]
fn a_long_message_is_truncated_by_the_sender_and_the_receiver() {
    let sent = to_status(&Error::invalid("a".repeat(17_000)));
    assert_eq!(sent.message().len(), 4_096);
    let error = from_status(&Status::invalid_argument("ж".repeat(100_000)));
    assert_eq!(error.kind, ErrorKind::Invalid);
    assert_eq!(error.cause().downcast_ref::<Status>().unwrap().message().len(), 2_048);
}

#[test]
fn the_wait_is_rounded_up_to_milliseconds() {
    let status = to_status(&Error::rejected("busy", Some(Duration::from_micros(1_200))));
    assert_eq!(from_status(&status).retry_after, Some(Duration::from_millis(2)));
}

/// gRFC A6: such a value allows no further attempt, not even after the usual backoff.
#[test]
fn a_pushback_that_is_negative_or_not_a_number_allows_no_further_attempt() {
    for text in ["-1", "-9223372036854775808", "99999999999999999999", "soon", ""] {
        let mut status = Status::unavailable("busy");
        status.metadata_mut().insert(PUSHBACK, text.parse().unwrap());
        let error = from_status(&status);
        assert_eq!(error.retry_after, Some(Duration::MAX), "{text:?}");
        let forwarded = to_status(&error);
        assert_eq!(forwarded.metadata().get(PUSHBACK).unwrap(), "-1", "{text:?}");
    }
    let month = Error::rejected("busy", Some(Duration::from_secs(30 * 24 * 3600)));
    assert_eq!(to_status(&month).metadata().get(PUSHBACK).unwrap(), "-1");
}

/// The error chain prints the status once, without the evidence.
#[test]
fn an_error_with_evidence_keeps_the_code_and_message_of_the_peer() {
    let status = Evidence::attach(Status::not_found("no such order"), ErrorKind::NotExecuted);
    let error = from_status(&status);
    assert_eq!(error.kind, ErrorKind::NotExecuted);
    let cause = error.cause().downcast_ref::<Status>().unwrap();
    assert_eq!((cause.code(), cause.message()), (Code::NotFound, "no such order"));
    assert!(cause.source().is_none() && !cause.to_string().contains("evidence"));
}
