//! Refused handshakes as problem details.

use bytes::Bytes;
use comms_core::context::Context;
use http::{HeaderValue, Response, Version, header};

use super::body::Body;
use crate::refusal::Refusal;

/// Returns problem details (RFC 9457) with the trace id of the current [`Context`].
/// `version` is that of the request.
pub(super) fn response(refusal: Refusal, version: Version) -> Response<Body> {
    let (status, (code, title, detail)) = (refusal.status(), refusal.text());
    let mut body = serde_json::json!({
        "type": format!("/problems/{code}"), "title": title, "status": status.as_u16(), "detail": detail
    });
    if let Some(trace) = Context::current().trace {
        body["trace_id"] = trace.trace_id().into();
    }
    let mut response = Response::new(Body::full(Bytes::from(body.to_string())));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    if refusal == Refusal::Draining && version < Version::HTTP_2 {
        // The next request over this connection would reach the same server, behind a load balancer too. HTTP/2 has no such
        // header.
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    if refusal.is_temporary() {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
    }
    if let Refusal::Handshake(reason) = refusal {
        headers.extend(reason.headers());
    }
    response
}
