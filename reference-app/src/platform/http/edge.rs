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
    Problem, checks,
    context::{self, Limits},
};

/// The largest body that [`checked`] takes, in bytes.
const CHECKED_BODY_LIMIT: usize = 64 * 1024;

/// Routes with the layers of [`edge`] or [`checked`] around them. A listener serves nothing else, so that no service goes
/// without the checks of a request's head and without problem bodies.
#[derive(Clone)]
pub struct Guarded(Router);

impl Guarded {
    pub(super) fn into_router(self) -> Router {
        self.0
    }

    /// The same routes within another layer.
    pub(super) fn map(self, layer: impl FnOnce(Router) -> Router) -> Self {
        Self(layer(self.0))
    }
}

/// What the routes of an HTTP service need around them.
pub struct Edge {
    /// Verifies the tokens of [`Principal`](super::Principal).
    pub verifier: Verifier,
    /// The longest a request may take. A client may ask for less with `request-timeout`.
    pub timeout: Duration,
    /// The largest body, in bytes.
    pub body_limit: usize,
    /// Time and randomness.
    pub clock: Clock,
}

/// `routes`, with everything that a listener for clients needs around a service:
/// - a [`Context`](comms_core::context::Context) with the request's trace and deadline, the header `trace-id` on every response, a
///   log line and a duration for each request;
/// - the checks of [`checked`], and the limit of a body;
/// - a [`Problem`] for every refusal: an unknown path (404), another method (405 with `Allow`), a deadline that passes
///   (504), a panic (500);
/// - the [`Verifier`] as an extension of the request.
pub fn edge(routes: Router, edge: Edge) -> Guarded {
    let Edge { verifier, timeout, body_limit, clock } = edge;
    let routes = guarded(routes, body_limit)
        .layer(Extension(verifier))
        .layer(from_fn_with_state(Arc::new(Limits { timeout, clock }), context::context));
    Guarded(routes)
}

/// `routes`, with the least that every HTTP listener needs: the header `trace-id` on every response, a [`Problem`] for
/// every refusal, bodies of at most 64 KiB, and the checks of the head:
///
/// | refused | status |
/// |---|---|
/// | no `Host` (HTTP/1.0 may have none; HTTP/2 has `:authority`), two, or one that is no host with or without a port | 400 |
/// | two `Authorization` | 400 |
/// | a URI over 8 KiB | 414 |
/// | a header section over 16 KiB, or over 100 fields | 431 |
/// | a `Transfer-Encoding` other than `chunked` | 501 |
/// | a `Content-Encoding` other than `identity` | 415 |
///
/// For listeners of operators: requests are neither logged nor limited in time.
pub fn checked(routes: Router, clock: &Clock) -> Guarded {
    Guarded(guarded(routes, CHECKED_BODY_LIMIT).layer(from_fn_with_state(clock.clone(), context::trace)))
}

fn guarded(routes: Router, body_limit: usize) -> Router {
    routes
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(not_found)
        .layer(DefaultBodyLimit::max(body_limit))
        .layer(from_fn(checks::check))
        .layer(CatchPanicLayer::custom(panicked))
}

/// A defect of this process: the client gets an answer, the log the reason.
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

    /// Status, `allow`, code of the problem, and whether its trace is that of the header.
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
    async fn every_refusal_of_an_edge_is_a_problem_with_its_trace() {
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
