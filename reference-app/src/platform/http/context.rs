//! The context of each request: trace, deadline, log line and metric.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode},
    middleware::Next,
    response::{IntoResponse, Response},
};
use comms_core::{
    Error,
    clock::Clock,
    context::{Context, Deadline, Protocol},
    telemetry, wire,
};
use tracing::Instrument;

use super::Problem;

/// How much later than the edge's deadline the calls behind the edge expire.
///
/// A call that is dropped at the edge's deadline does not count for a breaker; a call that reaches its own deadline
/// does. Thus a client with a timeout of a millisecond cannot open a breaker that other clients share. A call that
/// exceeds the policy's own timeout counts.
const SLACK: Duration = Duration::from_millis(50);

/// The settings of [`context`].
pub(super) struct Limits {
    pub(super) timeout: Duration,
    pub(super) clock: Clock,
}

/// Gives the request a trace, without a log line or a deadline. For listeners of operators.
pub(super) async fn trace(State(clock): State<Clock>, request: Request, next: Next) -> Response {
    let context = Context::of_trace(request.headers(), &clock);
    let trace_id = trace_id(&context);
    let mut response = context.scope(next.run(request)).await;
    set_trace_id(response.headers_mut(), &trace_id);
    response
}

/// Gives the request its context, ends the request at its deadline, and records the duration.
pub(super) async fn context(State(limits): State<Arc<Limits>>, request: Request, next: Next) -> Response {
    let clock = &limits.clock;
    let started = clock.now();
    // Ignore cause and priority, which an untrusted client must not set. A route that needs the idempotency key reads
    // it.
    let context = Context::of_trace(request.headers(), clock);
    let requested = Deadline::of_request(request.headers(), Protocol::Http, clock);
    let trace_id = trace_id(&context);
    let method = request.method().clone();
    // The pattern of the route, because metrics by path would have unbounded cardinality.
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let span = tracing::info_span!("request", http.request.method = %method, http.route = route, trace_id);

    let mut response = match requested {
        Ok(requested) => {
            answer(&limits, context, requested, next.run(request)).instrument(span.clone()).await
        }
        Err(error) => context.scope(async { bad_header(&error).into_response() }).await,
    };
    set_trace_id(response.headers_mut(), &trace_id);
    let (status, took) = (response.status(), clock.now().duration_since(started));
    span.in_scope(|| tracing::info!(status = status.as_u16(), took = ?took, "request completed"));
    metrics::histogram!(
        telemetry::HTTP_SERVER_DURATION,
        "http.request.method" => method_label(&method),
        "http.route" => route,
        "http.response.status_code" => status.as_u16().to_string(),
    )
    .record(took.as_secs_f64());
    response
}

/// Runs `work` in `context` until the deadline of the edge, or until the earlier deadline `requested` by the client.
async fn answer(
    limits: &Limits,
    context: Context,
    requested: Option<Deadline>,
    work: impl Future<Output = Response>,
) -> Response {
    let clock = &limits.clock;
    let own = Deadline::after(limits.timeout, clock);
    let deadline = requested.map_or(own, |requested| requested.earlier(own));
    let limit = deadline.remaining(clock).unwrap_or_default();
    let context = context.with_deadline(Deadline::after(limit + SLACK, clock));
    let bounded = async {
        tokio::select! {
            // Poll the deadline first, so that the edge's deadline wins if both have passed.
            biased;
            () = clock.sleep(limit) => Problem::timed_out(limit).into_response(),
            answer = work => answer,
        }
    };
    context.scope(bounded).await
}

fn trace_id(context: &Context) -> String {
    context.trace.map(|trace| trace.trace_id()).unwrap_or_default()
}

fn set_trace_id(headers: &mut HeaderMap, trace_id: &str) {
    if let Ok(value) = HeaderValue::from_str(trace_id) {
        headers.insert(wire::TRACE_ID, value);
    }
}

/// Returns the metric label of `method`: the name of an RFC 9110 method, and `_OTHER` for any other, because clients
/// can invent methods.
fn method_label(method: &Method) -> &'static str {
    const KNOWN: [&str; 8] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE"];
    KNOWN.iter().find(|known| **known == method.as_str()).unwrap_or(&"_OTHER")
}

fn bad_header(error: &Error) -> Problem {
    let detail = error.public_text().unwrap_or_else(|| "The header cannot be read.".to_owned());
    Problem::new(StatusCode::BAD_REQUEST, "bad-header", "A header is malformed", detail)
}
