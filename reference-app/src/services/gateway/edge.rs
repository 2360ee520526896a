//! What every request gets: a trace, a deadline, a log line, a metric.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode},
    middleware::Next,
    response::{IntoResponse, Response},
};
use comms_core::{Context, Deadline, telemetry};
use tracing::Instrument;

use super::{Edge, problem::Problem};

/// How long the client says it will wait.
const REQUEST_TIMEOUT: &str = "request-timeout";

pub(super) async fn context(State(edge): State<Arc<Edge>>, request: Request, next: Next) -> Response {
    let started = edge.clock.now();
    let context = Context::of_request(request.headers(), &edge.clock);
    let trace_id = context.trace.map(|trace| trace.trace_id()).unwrap_or_default();
    let method = request.method().clone();
    // The pattern, not the path: metrics by path would grow without bound.
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let span = tracing::info_span!("request", http.request.method = %method, http.route = route, trace_id);

    let mut response = match limit(request.headers(), edge.timeout) {
        Ok(limit) => {
            let context = context.with_deadline(Deadline::after(limit, &edge.clock));
            let work = async {
                let answer = tokio::time::timeout(limit, next.run(request)).await;
                answer.unwrap_or_else(|_| Problem::timed_out(limit).into_response())
            };
            context.scope(work).instrument(span.clone()).await
        }
        Err(problem) => context.scope(async { problem.into_response() }).await,
    };
    if let Ok(value) = HeaderValue::from_str(&trace_id) {
        response.headers_mut().insert("trace-id", value);
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

/// The client's own limit, if it is below ours.
fn limit(headers: &HeaderMap, longest: Duration) -> Result<Duration, Problem> {
    let Some(value) = headers.get(REQUEST_TIMEOUT) else { return Ok(longest) };
    let asked = value.to_str().ok().and_then(parse).filter(|asked| !asked.is_zero());
    asked.map(|asked| asked.min(longest)).ok_or_else(|| {
        let detail = "Request-Timeout is whole seconds (2) or milliseconds (250ms), and not zero.";
        Problem::new(StatusCode::BAD_REQUEST, "bad-header", "A header is malformed", detail)
    })
}

fn parse(text: &str) -> Option<Duration> {
    let number =
        |digits: &str| digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse::<u32>().ok())?;
    match text.strip_suffix("ms") {
        Some(millis) => Some(Duration::from_millis(number(millis)?.into())),
        None => Some(Duration::from_secs(number(text)?.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_may_ask_for_less_time_not_for_more() {
        let longest = Duration::from_secs(5);
        let limit = |text: &str| {
            let headers = HeaderMap::from_iter([(
                axum::http::HeaderName::from_static(REQUEST_TIMEOUT),
                HeaderValue::from_str(text).unwrap(),
            )]);
            limit(&headers, longest).ok()
        };
        assert_eq!(limit("2"), Some(Duration::from_secs(2)));
        assert_eq!(limit("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(limit("3600"), Some(longest));
        for wrong in ["0", "-1", "+1", "1.5", "soon", "", "99999999999999"] {
            assert_eq!(limit(wrong), None, "{wrong}");
        }
    }
}
