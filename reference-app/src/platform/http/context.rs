//! What every request gets: a trace, a deadline, a log line, a metric.

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

/// How much later than the edge the calls behind it give up. A call that is dropped says nothing about its peer, one that
/// ran into its deadline does: so a client that waits for a millisecond opens no breaker for all others. A call that the
/// policy's own limit ends is counted.
const SLACK: Duration = Duration::from_millis(50);

/// What the context layer of an edge needs.
pub(super) struct Limits {
    pub(super) timeout: Duration,
    pub(super) clock: Clock,
}

/// Gives the request a trace alone, for listeners of operators, whose requests are not logged.
pub(super) async fn trace(State(clock): State<Clock>, request: Request, next: Next) -> Response {
    let context = Context::of_trace(request.headers(), &clock);
    let trace_id = trace_id(&context);
    let mut response = context.scope(next.run(request)).await;
    name_trace(response.headers_mut(), &trace_id);
    response
}

/// Gives the request its context, ends it at its deadline, and records it.
pub(super) async fn context(State(limits): State<Arc<Limits>>, request: Request, next: Next) -> Response {
    let clock = &limits.clock;
    let started = clock.now();
    // Cause and priority are not a stranger's to decide; a route that needs the idempotency key reads it.
    let context = Context::of_trace(request.headers(), clock);
    let asked = Deadline::of_request(request.headers(), Protocol::Http, clock);
    let trace_id = trace_id(&context);
    let method = request.method().clone();
    // The pattern, not the path: metrics by path would grow without bound.
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let span = tracing::info_span!("request", http.request.method = %method, http.route = route, trace_id);

    let mut response = match asked {
        Ok(asked) => answer(&limits, context, asked, next.run(request)).instrument(span.clone()).await,
        Err(error) => context.scope(async { bad_header(&error).into_response() }).await,
    };
    name_trace(response.headers_mut(), &trace_id);
    let (status, took) = (response.status(), clock.now().duration_since(started));
    span.in_scope(|| tracing::info!(status = status.as_u16(), took = ?took, "answered"));
    metrics::histogram!(
        telemetry::HTTP_SERVER_DURATION,
        "http.request.method" => method_label(&method),
        "http.route" => route,
        "http.response.status_code" => status.as_u16().to_string(),
    )
    .record(took.as_secs_f64());
    response
}

/// Runs `work` in `context` until the deadline: that of the edge, or the earlier one that the client `asked` for.
async fn answer(
    limits: &Limits,
    context: Context,
    asked: Option<Deadline>,
    work: impl Future<Output = Response>,
) -> Response {
    let clock = &limits.clock;
    let own = Deadline::after(limits.timeout, clock);
    let deadline = asked.map_or(own, |asked| asked.earlier(own));
    let limit = deadline.remaining(clock).unwrap_or_default();
    let context = context.with_deadline(Deadline::after(limit + SLACK, clock));
    let bounded = async {
        tokio::select! {
            // First, so that the edge gives up first also where both are late.
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

fn name_trace(headers: &mut HeaderMap, trace_id: &str) {
    if let Ok(value) = HeaderValue::from_str(trace_id) {
        headers.insert(wire::TRACE_ID, value);
    }
}

/// The methods of RFC 9110 by name; a client may invent others without end.
fn method_label(method: &Method) -> &'static str {
    const KNOWN: [&str; 8] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE"];
    KNOWN.iter().find(|known| **known == method.as_str()).unwrap_or(&"_OTHER")
}

fn bad_header(error: &Error) -> Problem {
    let detail = error.public_text().unwrap_or_else(|| "It cannot be read.".to_owned());
    Problem::new(StatusCode::BAD_REQUEST, "bad-header", "A header is malformed", detail)
}
