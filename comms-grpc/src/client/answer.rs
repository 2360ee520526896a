//! The failure that the response of a peer reports.

use comms_core::{
    ErrorKind,
    wire::{GRPC_RETRY_PUSHBACK_MS as PUSHBACK, NOT_EXECUTED},
};
use http::{HeaderMap, HeaderName, Response, StatusCode, header};
use http_body::Body;
use tonic::{Code, Status};

use crate::{
    evidence::Evidence,
    status_headers::{is_bare, limit_status},
};

/// Returns the failure that the head of `response` reports, if there is one.
///
/// The proof of a refusal counts only here, in a response that consists of headers alone. A server that sent anything
/// else has run a handler.
pub(super) fn failure<B: Body>(response: &mut Response<B>, forwards_credentials: bool) -> Option<Status> {
    let (status, is_whole) = (response.status(), response.body().is_end_stream());
    let headers = response.headers_mut();
    let marker = if is_bare(headers) { None } else { headers.remove(NOT_EXECUTED) };
    if !headers.contains_key(Status::GRPC_STATUS) {
        let status = of_http(status, headers)?;
        return Some(of_caller(status, forwards_credentials));
    }
    if !is_whole {
        let head = HeadStatus::take(headers);
        response.extensions_mut().insert(head);
        return None;
    }
    let status = reported(headers, forwards_credentials)?;
    Some(match marker.as_ref().map(header::HeaderValue::as_bytes) {
        Some(b"not_executed") => Evidence::attach(status, ErrorKind::NotExecuted),
        Some(b"rejected") => Evidence::attach(status, ErrorKind::Rejected),
        _ => status,
    })
}

/// The status in the head of a response whose head does not end the stream. Trailers, and messages, replace it: the status
/// of a call is in its last headers. tonic would read the status in the head first.
#[derive(Debug, Clone)]
pub(super) struct HeadStatus(pub(super) HeaderMap);

impl HeadStatus {
    fn take(headers: &mut HeaderMap) -> Self {
        let names = [Status::GRPC_STATUS, Status::GRPC_MESSAGE, Status::GRPC_STATUS_DETAILS];
        Self(
            names
                .into_iter()
                .filter_map(|name| {
                    let value = headers.remove(&name)?;
                    Some((name, value))
                })
                .collect(),
        )
    }
}

const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");

/// Returns the failure of a response whose messages are compressed in a way that the request did not offer.
pub(super) fn unknown_encoding(response: &HeaderMap, request: &HeaderMap) -> Option<Status> {
    let encoding = response.get(&GRPC_ENCODING).filter(|encoding| *encoding != "identity")?;
    let offered =
        request.get("grpc-accept-encoding").and_then(|offered| offered.to_str().ok()).unwrap_or_default();
    let is_offered = offered.split(',').any(|name| name.trim().as_bytes() == encoding.as_bytes());
    (!is_offered)
        .then(|| Status::internal("the response is compressed in a way that the request did not offer"))
}

/// Returns the failure that `grpc-status` in `headers` or trailers reports, if there is one.
pub(super) fn reported(headers: &mut HeaderMap, forwards_credentials: bool) -> Option<Status> {
    let ok = headers.get(Status::GRPC_STATUS)? == "0";
    // Also for a success, because tonic reads the message and details of a success as well.
    if !is_bare(headers) {
        headers.remove(NOT_EXECUTED);
        limit_status(headers);
    }
    if ok {
        return None;
    }
    let status = Status::from_header_map(headers)?;
    Some(of_caller(status, forwards_credentials))
}

/// Attaches the kind of a refusal of credentials, if the channel forwards the credentials of its caller.
fn of_caller(status: Status, forwards_credentials: bool) -> Status {
    match status.code() {
        Code::PermissionDenied if forwards_credentials => {
            Evidence::attach(status, ErrorKind::PermissionDenied)
        }
        Code::Unauthenticated if forwards_credentials => Evidence::attach(status, ErrorKind::Unauthenticated),
        _ => status,
    }
}

/// Returns the failure of a response without `grpc-status`: the response of a proxy, or of a server that does not speak
/// gRPC. The codes follow the HTTP mapping of the gRPC project. The kinds are:
///
/// | HTTP status | kind | reason |
/// |---|---|---|
/// | 408, 425, 429, 499, 5xx | `Indeterminate` | a proxy may have forwarded the call; `retry-after` is the wait |
/// | 413, 414, 431 | `Invalid` | this request is too large |
/// | any other, 501, 505, 200 without a gRPC content type | `Misconfigured` | the channel does not lead to this service |
fn of_http(status: StatusCode, headers: &HeaderMap) -> Option<Status> {
    use ErrorKind::{Indeterminate, Invalid, Misconfigured};
    let (code, kind) = match status.as_u16() {
        200 if is_grpc(headers) => return None,
        400 => (Code::Internal, Misconfigured),
        401 => (Code::Unauthenticated, Misconfigured),
        403 => (Code::PermissionDenied, Misconfigured),
        404 => (Code::Unimplemented, Misconfigured),
        429 | 502 | 503 | 504 => (Code::Unavailable, Indeterminate),
        413 | 414 | 431 => (Code::Unknown, Invalid),
        501 | 505 => (Code::Unknown, Misconfigured),
        408 | 425 | 499 | 500..=599 => (Code::Unknown, Indeterminate),
        _ => (Code::Unknown, Misconfigured),
    };
    let mut failure = Status::new(code, format!("received HTTP status {status} instead of a gRPC response"));
    if let Some(seconds) = retry_after(headers) {
        failure.metadata_mut().insert(PUSHBACK, seconds.saturating_mul(1_000).into());
    }
    Some(Evidence::attach(failure, kind))
}

/// Returns whether the content type is that of gRPC. A missing content type is accepted, because some small servers
/// omit it.
fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_none_or(|value| value.as_bytes().starts_with(b"application/grpc"))
}

/// Returns the wait of `retry-after` in seconds. The date format is not supported.
fn retry_after(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::from_status;
    use std::time::Duration;

    fn answer(status: u16, headers: &[(&'static str, &str)], forwards: bool) -> Option<Status> {
        let mut response = Response::builder().status(status);
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        failure(&mut response.body(String::new()).unwrap(), forwards)
    }

    #[test]
    fn the_http_status_of_a_proxy_is_misconfigured_indeterminate_or_invalid() {
        use ErrorKind::{Indeterminate, Invalid, Misconfigured};
        for (kind, statuses) in [
            (Misconfigured, &[204, 302, 400, 401, 403, 404, 405, 415, 421, 501, 505][..]),
            (Indeterminate, &[408, 425, 429, 499, 500, 502, 503, 504, 520]),
            (Invalid, &[413, 414, 431]),
        ] {
            for status in statuses {
                let error = from_status(&answer(*status, &[("retry-after", "3")], false).unwrap());
                assert_eq!(error.kind, kind, "{status}");
                assert_eq!(error.retry_after, Some(Duration::from_secs(3)), "{status}");
            }
        }
        let error =
            from_status(&answer(503, &[("retry-after", "Wed, 21 Oct 2026 07:28:00 GMT")], false).unwrap());
        assert_eq!(error.retry_after, None);
    }

    #[test]
    fn success_with_another_content_type_is_misconfigured() {
        let html = answer(200, &[("content-type", "text/html")], false).unwrap();
        assert_eq!(from_status(&html).kind, ErrorKind::Misconfigured);
        assert!(answer(200, &[("content-type", "application/grpc+proto")], false).is_none());
        assert!(answer(200, &[], false).is_none());
        assert!(answer(200, &[("grpc-status", "0"), ("content-type", "text/html")], false).is_none());
    }

    #[test]
    fn a_refusal_of_forwarded_credentials_concerns_the_caller() {
        use ErrorKind::{Misconfigured, PermissionDenied, Unauthenticated};
        for (status, code, kind) in [(401, "16", Unauthenticated), (403, "7", PermissionDenied)] {
            for (forwards, kind) in [(false, Misconfigured), (true, kind)] {
                let grpc = answer(200, &[("grpc-status", code)], forwards).unwrap();
                assert_eq!(from_status(&grpc).kind, kind, "{code} {forwards}");
                let http = answer(status, &[], forwards).unwrap();
                assert_eq!(from_status(&http).kind, kind, "{status} {forwards}");
            }
        }
    }

    #[test]
    fn only_a_known_proof_header_with_a_grpc_status_is_a_proof() {
        for (marker, kind) in [
            ("not_executed", ErrorKind::NotExecuted),
            ("rejected", ErrorKind::Rejected),
            ("invalid", ErrorKind::Indeterminate),
            ("", ErrorKind::Indeterminate),
        ] {
            let status = answer(200, &[("grpc-status", "14"), (NOT_EXECUTED, marker)], false).unwrap();
            assert_eq!(from_status(&status).kind, kind, "{marker:?}");
            assert!(status.metadata().get(NOT_EXECUTED).is_none(), "the proof header is removed");
        }
        let proxy = answer(503, &[(NOT_EXECUTED, "not_executed")], false).unwrap();
        assert_eq!(from_status(&proxy).kind, ErrorKind::Indeterminate);
    }
}
