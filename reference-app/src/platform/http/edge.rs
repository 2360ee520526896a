//! The layers around the routes of an HTTP service.

use std::{any::Any, sync::Arc, time::Duration};

use axum::{
    Extension, Router,
    extract::DefaultBodyLimit,
    http::StatusCode,
    middleware::{from_fn, from_fn_with_state},
    response::{IntoResponse, Response},
};
use comms_core::{clock::Clock, jwt::Verifier};
use tower_http::catch_panic::CatchPanicLayer;

use super::{
    Problem,
    context::{self, Limits},
    head_checks,
};

/// The body limit of [`checked`], in bytes.
const CHECKED_BODY_LIMIT: usize = 64 * 1024;

/// Routes wrapped by [`edge`] or [`checked`]. A listener serves only this type, so that no service omits the checks
/// of the request head or answers without a problem body.
#[derive(Clone)]
pub struct Guarded(Router);

impl Guarded {
    pub(super) fn into_router(self) -> Router {
        self.0
    }

    /// Wraps the routes in a further layer.
    pub(super) fn map(self, layer: impl FnOnce(Router) -> Router) -> Self {
        Self(layer(self.0))
    }
}

/// The settings of [`edge`].
pub struct Edge {
    /// Verifies the tokens for [`Principal`](super::Principal).
    pub verifier: Verifier,
    /// The time limit of a request. A client can ask for less with the header `request-timeout`.
    pub timeout: Duration,
    /// The largest request body, in bytes.
    pub body_limit: usize,
    /// The source of time and randomness.
    pub clock: Clock,
}

/// Wraps `routes` in the layers that a listener for clients needs:
/// - a [`Context`](comms_core::context::Context) with the request's trace and deadline, the header `trace-id` on every
///   response, and a log line and a duration metric for each request;
/// - the checks of [`checked`], with the configured body limit;
/// - a [`Problem`] for every refusal: an unknown path (404), a method that is not allowed (405 with `Allow`), a
///   deadline that has passed (504), a panic (500);
/// - the [`Verifier`] as a request extension.
pub fn edge(routes: Router, edge: Edge) -> Guarded {
    let Edge { verifier, timeout, body_limit, clock } = edge;
    let routes = guarded(routes, body_limit)
        .layer(Extension(verifier))
        .layer(from_fn_with_state(Arc::new(Limits { timeout, clock }), context::context));
    Guarded(routes)
}

/// Wraps `routes` in the layers that every HTTP listener needs: the header `trace-id` on every response, a
/// [`Problem`] for every refusal, a body limit of 64 KiB, and the checks of the request head:
///
/// | refused | status |
/// |---|---|
/// | no `Host` (HTTP/1.0 needs none; HTTP/2 has `:authority`), two, or one that is not a host and optional port | 400 |
/// | two `Authorization` | 400 |
/// | a URI over 8 KiB | 414 |
/// | a header section over 16 KiB, or over 100 fields | 431 |
/// | a `Transfer-Encoding` other than `chunked` | 501 |
/// | a `Content-Encoding` other than `identity` | 415 |
///
/// For listeners of operators: requests are not logged, and have no time limit.
pub fn checked(routes: Router, clock: &Clock) -> Guarded {
    Guarded(guarded(routes, CHECKED_BODY_LIMIT).layer(from_fn_with_state(clock.clone(), context::trace)))
}

fn guarded(routes: Router, body_limit: usize) -> Router {
    routes
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(not_found)
        .layer(DefaultBodyLimit::max(body_limit))
        .layer(from_fn(head_checks::check))
        .layer(CatchPanicLayer::custom(panicked))
}

/// Answers a panic of a handler. The log contains the panic's message, the response does not.
fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    tracing::error!(panic = text.unwrap_or("no message"), "a request handler panicked");
    Problem::internal().into_response()
}

async fn not_found() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "not-found", "Not found", "There is nothing at this path.")
}

async fn method_not_allowed() -> Problem {
    let detail = "The header Allow lists the methods of this path.";
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "Method not allowed", detail)
}

#[cfg(test)]
mod tests {
    use axum::{
        body::{Body, to_bytes},
        http::Request,
        routing::{get, post},
    };
    use jsonwebtoken::{Algorithm, DecodingKey};
    use serde_json::Value;
    use tonic::codegen::Service as _;

    use super::*;
    use crate::platform::http::{Json, Principal};

    #[derive(serde::Deserialize, garde::Validate)]
    struct Name {
        #[garde(skip)]
        #[expect(dead_code, reason = "only read")]
        name: String,
    }

    async fn panics() -> StatusCode {
        panic!("a defect")
    }

    fn routes() -> Router {
        Router::new()
            .route("/fine", get(async || "fine"))
            .route("/panics", get(panics))
            .route("/slow", get(async || std::future::pending::<()>().await))
            .route("/own", get(async |Principal(own): Principal| own))
            .route("/name", post(async |Json(_): Json<Name>| "read"))
    }

    /// Returns the status, `allow`, and the code of the problem. Checks that the problem's trace is the trace in the
    /// header.
    async fn answer(
        Guarded(routes): &Guarded,
        method: &str,
        path: &str,
        body: &str,
    ) -> (u16, String, String) {
        let request = Request::builder().method(method).uri(path).header("host", "a");
        let request = request.header("content-type", "application/json").body(Body::from(body.to_owned()));
        let response = routes.clone().call(request.unwrap()).await.unwrap();
        let header = |name: &str| {
            response.headers().get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
        };
        let (status, allow, trace_id) = (response.status().as_u16(), header("allow"), header("trace-id"));
        assert_eq!(trace_id.len(), 32, "{path}");
        let body = to_bytes(response.into_body(), 4096).await.unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        if status >= 400 {
            assert_eq!(body["trace_id"], trace_id.as_str(), "{path}: {body}");
        }
        (status, allow, body["type"].as_str().unwrap_or_default().replace("/problems/", ""))
    }

    fn verifier() -> Verifier {
        let key = Arc::new(DecodingKey::from_secret(b"secret"));
        Verifier::new(Algorithm::HS256, "issuer", "audience", key, Clock::system())
    }

    #[tokio::test(start_paused = true)]
    async fn every_refusal_of_an_edge_is_a_problem_with_the_trace_id() {
        let (clock, timeout) = (Clock::system(), Duration::from_secs(5));
        let edge =
            edge(routes(), Edge { verifier: verifier(), timeout, body_limit: 64, clock: clock.clone() });
        let large = format!(r#"{{"name":"{}"}}"#, "x".repeat(64));
        let table = [
            ("GET", "/fine", "", (200, "", "")),
            ("GET", "/nowhere", "", (404, "", "not-found")),
            ("POST", "/fine", "", (405, "GET,HEAD", "method-not-allowed")),
            ("GET", "/panics", "", (500, "", "internal")),
            ("GET", "/slow", "", (504, "", "timeout")),
            ("GET", "/own", "", (401, "", "unauthorized")),
            ("POST", "/name", r#"{"name":"ann"}"#, (200, "", "")),
            ("POST", "/name", "[\"ann\"]", (422, "", "validation")),
            ("POST", "/name", &large, (413, "", "too-large")),
        ];
        for (method, path, body, (status, allow, code)) in table {
            let expected = (status, allow.to_owned(), code.to_owned());
            assert_eq!(answer(&edge, method, path, body).await, expected, "{method} {path}");
        }
        let checked = checked(routes(), &clock);
        assert_eq!(answer(&checked, "GET", "/fine", "").await.0, 200);
        assert_eq!(answer(&checked, "GET", "/nowhere", "").await.2, "not-found");
        assert_eq!(answer(&checked, "POST", "/fine", "").await.1, "GET,HEAD");
        assert_eq!(answer(&checked, "GET", "/panics", "").await.2, "internal");
    }
}
