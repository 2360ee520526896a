//! The layers around the routes of an HTTP service.

use std::{any::Any, sync::Arc, time::Duration};

use axum::{
    Extension, Router,
    extract::DefaultBodyLimit,
    http::StatusCode,
    middleware::{from_fn, from_fn_with_state},
    response::{IntoResponse, Response},
};
use comms_core::{Clock, jwt::Verifier};
use tower_http::catch_panic::CatchPanicLayer;

use super::{
    Problem, checks,
    context::{self, Limits},
};

/// The largest body that [`checked`] takes, in bytes.
const CHECKED_BODY_LIMIT: usize = 64 * 1024;

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
/// - a [`Context`](comms_core::Context) with the request's trace and deadline, the header `trace-id` on every response, a
///   log line and a duration for each request;
/// - the checks of [`checked`], and the limit of a body;
/// - a [`Problem`] for every refusal: an unknown path (404), another method (405 with `Allow`), a deadline that passes
///   (504), a panic (500);
/// - the [`Verifier`] as an extension of the request.
pub fn edge(routes: Router, edge: Edge) -> Router {
    let Edge { verifier, timeout, body_limit, clock } = edge;
    guarded(routes, body_limit)
        .layer(Extension(verifier))
        .layer(from_fn_with_state(Arc::new(Limits { timeout, clock }), context::context))
}

/// `routes`, with the least that every HTTP listener needs: the header `trace-id` on every response, a [`Problem`] for
/// every refusal, bodies of at most 64 KiB, and the checks of the head:
///
/// | refused | status |
/// |---|---|
/// | no `Host` (HTTP/1.0 may have none; HTTP/2 has `:authority`), two, or one that is no host | 400 |
/// | two `Authorization` | 400 |
/// | a URI over 8 KiB | 414 |
/// | a header section over 16 KiB, or over 100 fields | 431 |
/// | a `Content-Encoding` other than `identity` | 415 |
///
/// For listeners of operators: requests are neither logged nor limited in time.
pub fn checked(routes: Router, clock: &Clock) -> Router {
    guarded(routes, CHECKED_BODY_LIMIT).layer(from_fn_with_state(clock.clone(), context::trace))
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
