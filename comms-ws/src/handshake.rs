//! The handshake: the token, the origin, the limits of the upgrade, and refusals.

use axum::{
    Json,
    extract::WebSocketUpgrade,
    response::{IntoResponse, Response},
};
use comms_core::context::Context;
use http::{HeaderMap, HeaderValue, StatusCode, header};

/// The WebSocket subprotocol of the frames. A browser offers its token as a second subprotocol, `bearer.<token>`.
pub const SUBPROTOCOL: &str = "comms.v1";

/// The size of the read buffer. Each idle connection holds one.
const READ_BUFFER: usize = 4 * 1024;
/// The size of the write buffer. A larger frame is written at once.
const WRITE_BUFFER: usize = 16 * 1024;
/// The space for frame headers in the maximum of the write buffer.
const FRAME_HEADERS: usize = 1024;
/// The maximum of [`HubConfig::queue_bytes`](crate::HubConfig::queue_bytes): the maximum of the write buffer, which must
/// hold a frame of that size, is a `usize`.
pub(crate) const MAX_QUEUE_BYTES: usize = usize::MAX - WRITE_BUFFER - FRAME_HEADERS;

/// Returns the token of a handshake.
///
/// The token is in `Authorization: Bearer <token>`, or in `Sec-WebSocket-Protocol: comms.v1, bearer.<token>` for
/// browsers, which cannot set the former. It is never in the URL, because URLs are logged. This function does not
/// verify the token.
///
/// ```
/// let mut headers = http::HeaderMap::new();
/// headers.insert("sec-websocket-protocol", "comms.v1, bearer.abc.def".parse()?);
/// assert_eq!(comms_ws::credentials(&headers), Some("abc.def"));
/// # Ok::<(), http::header::InvalidHeaderValue>(())
/// ```
#[must_use]
pub fn credentials(headers: &HeaderMap) -> Option<&str> {
    let authorization = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
    let bearer =
        authorization.and_then(|v| v.split_once(' ')).filter(|(s, _)| s.eq_ignore_ascii_case("bearer"));
    let offered = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).into_iter().filter_map(|v| v.to_str().ok());
    let mut offered = offered.flat_map(|v| v.split(',')).filter_map(|v| v.trim().strip_prefix("bearer."));
    bearer.map(|(_, token)| token.trim()).or_else(|| offered.next()).filter(|token| !token.is_empty())
}

/// Returns whether the origin of the request may open sockets. A browser sends `Origin` on every handshake and no page
/// can prevent that, so a request without `Origin` does not come from a page.
pub(crate) fn is_origin_allowed(headers: &HeaderMap, origins: &[String]) -> bool {
    headers
        .get_all(header::ORIGIN)
        .iter()
        .all(|origin| origins.iter().any(|o| o.as_bytes() == origin.as_bytes()))
}

/// Sets the subprotocol, the buffers and the limits of the upgrade. Longer messages than `max_message` are not read.
/// `queue_bytes` is at most [`MAX_QUEUE_BYTES`].
pub(crate) fn set_limits(
    upgrade: WebSocketUpgrade,
    max_message: usize,
    queue_bytes: usize,
) -> WebSocketUpgrade {
    upgrade
        .protocols([SUBPROTOCOL])
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(WRITE_BUFFER)
        // A single frame may be as large as the queue.
        .max_write_buffer_size(WRITE_BUFFER + queue_bytes + FRAME_HEADERS)
        .max_message_size(max_message)
        .max_frame_size(max_message)
}

/// The reason why a handshake is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The origin is not allowed.
    Origin,
    /// The principal has too many sessions.
    Principal,
    /// The hub has too many sessions.
    Full,
    /// The hub shuts down.
    Draining,
}

/// Returns problem details (RFC 9457) for a handshake that is refused, with the trace id of the current [`Context`].
pub(crate) fn refuse(refusal: Refusal) -> Response {
    use StatusCode as S;
    let (status, code, title, detail) = match refusal {
        Refusal::Origin => {
            let detail = "Pages of this origin may not open sockets.";
            (S::FORBIDDEN, "origin", "The origin is not allowed", detail)
        }
        Refusal::Principal => {
            let detail = "Close another session of this user, or try again later.";
            (S::TOO_MANY_REQUESTS, "too-many-sessions", "Too many sessions of this user", detail)
        }
        Refusal::Full => {
            (S::SERVICE_UNAVAILABLE, "full", "The server has too many sessions", "Try again later.")
        }
        Refusal::Draining => {
            (S::SERVICE_UNAVAILABLE, "draining", "The server is shutting down", "Connect again.")
        }
    };
    let mut body = serde_json::json!({
        "type": format!("/problems/{code}"), "title": title, "status": status.as_u16(), "detail": detail
    });
    if let Some(trace) = Context::current().trace {
        body["trace_id"] = trace.trace_id().into();
    }
    let mut response = (status, Json(body)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    if status != StatusCode::FORBIDDEN {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    type Pair = (&'static str, &'static str);

    fn headers(pairs: &[Pair]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[tokio::test]
    async fn a_refusal_has_a_detail_and_the_trace_id() {
        let context = Context::root(&comms_core::clock::Clock::system());
        let trace_id = context.trace.unwrap().trace_id();
        for refusal in [Refusal::Origin, Refusal::Principal, Refusal::Full, Refusal::Draining] {
            let response = context.clone().scope(async { refuse(refusal) }).await;
            let status = response.status().as_u16();
            let body = axum::body::to_bytes(response.into_body(), 4096).await.unwrap();
            let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!((&body["status"], &body["trace_id"]), (&status.into(), &trace_id.clone().into()));
            assert!(body["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{body}");
        }
    }

    #[test]
    fn the_token_is_read_from_either_header() {
        let table: [(&[Pair], Option<&str>); 9] = [
            (&[("authorization", "Bearer a.b.c")], Some("a.b.c")),
            (&[("authorization", "bearer  a.b.c ")], Some("a.b.c")),
            (&[("authorization", "Basic a")], None),
            (&[("authorization", "Bearer ")], None),
            (&[("sec-websocket-protocol", "comms.v1, bearer.x")], Some("x")),
            (&[("sec-websocket-protocol", "comms.v1"), ("sec-websocket-protocol", "bearer.x")], Some("x")),
            (&[("sec-websocket-protocol", "comms.v1, bearer.")], None),
            (&[("authorization", "Bearer a"), ("sec-websocket-protocol", "bearer.x")], Some("a")),
            (&[], None),
        ];
        for (pairs, token) in table {
            assert_eq!(credentials(&headers(pairs)), token, "{pairs:?}");
        }
    }

    #[test]
    fn origins_are_refused_unless_listed() {
        let origins = ["https://shop.example".to_owned()];
        let allowed = |pairs: &[Pair]| is_origin_allowed(&headers(pairs), &origins);
        assert!(allowed(&[]), "a request without an origin");
        assert!(allowed(&[("origin", "https://shop.example")]));
        for evil in ["https://evil.example", "https://shop.example.evil", "http://shop.example", "null", ""] {
            assert!(!allowed(&[("origin", evil)]), "{evil}");
        }
        assert!(!allowed(&[("origin", "https://shop.example"), ("origin", "https://evil.example")]));
    }
}
