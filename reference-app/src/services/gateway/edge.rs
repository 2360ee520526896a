//! What every request gets: a trace, a deadline, a log line, a metric.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderValue, Method, StatusCode},
    middleware::Next,
    response::{IntoResponse, Response},
};
use comms_core::{Context, Deadline, Error, context::Protocol, telemetry};
use tracing::Instrument;

use super::{Edge, problem::Problem};

/// How much later the calls behind the edge give up than the edge does. A call that is dropped says nothing
/// about its peer, one that ran into its deadline does: so a client that waits for a millisecond opens no
/// breaker for all others. What the policy's own limits end is counted.
const SLACK: Duration = Duration::from_millis(50);

pub(super) async fn context(State(edge): State<Arc<Edge>>, request: Request, next: Next) -> Response {
    let started = edge.clock.now();
    // Cause and priority are not a stranger's to say; the key is asked for where it is needed.
    let context = Context::of_trace(request.headers(), &edge.clock);
    let asked = Deadline::of_request(request.headers(), Protocol::Http, &edge.clock);
    let trace_id = context.trace.map(|trace| trace.trace_id()).unwrap_or_default();
    let method = request.method().clone();
    // The pattern, not the path: metrics by path would grow without bound.
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let span = tracing::info_span!("request", http.request.method = %method, http.route = route, trace_id);

    let mut response = match asked {
        Ok(asked) => {
            let own = Deadline::after(edge.timeout, &edge.clock);
            let deadline = asked.map_or(own, |asked| asked.earlier(own));
            let limit = deadline.remaining(&edge.clock).unwrap_or_default();
            let context = context.with_deadline(Deadline::after(limit + SLACK, &edge.clock));
            let work = async {
                tokio::select! {
                    // First, so that the edge gives up first also where both are late.
                    biased;
                    () = edge.clock.sleep(limit) => Problem::timed_out(limit).into_response(),
                    answer = next.run(request) => answer,
                }
            };
            context.scope(work).instrument(span.clone()).await
        }
        Err(error) => context.scope(async { bad_header(&error).into_response() }).await,
    };
    if let Ok(value) = HeaderValue::from_str(&trace_id) {
        response.headers_mut().insert(comms_core::wire::TRACE_ID, value);
    }
    let (status, took) = (response.status(), edge.clock.now().duration_since(started));
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

/// The methods of RFC 9110 by name; a client may invent others without end.
fn method_label(method: &Method) -> &'static str {
    const KNOWN: [&str; 8] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE"];
    KNOWN.iter().find(|known| **known == method.as_str()).unwrap_or(&"_OTHER")
}

fn bad_header(error: &Error) -> Problem {
    let detail = error.public_text().unwrap_or_else(|| "It cannot be read.".to_owned());
    Problem::new(StatusCode::BAD_REQUEST, "bad-header", "A header is malformed", detail)
}
