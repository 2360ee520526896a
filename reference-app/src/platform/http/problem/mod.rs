//! Refusals as problem details (RFC 9457).

mod of_error;

use std::time::Duration;

use axum::{
    Json,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use comms_core::{clock, context::Context, resilience::Guard};
use serde::Serialize;

/// The errors that one problem lists at most.
pub(super) const MOST_ERRORS: usize = 32;

/// A refusal of an HTTP request: an `application/problem+json` body with the trace id of the current [`Context`].
///
/// Made for what a service refuses itself ([`Problem::new`], [`Problem::fields`]), or of an [`Error`](comms_core::Error),
/// whose kind decides about the status and whose text is sent only where it may be read by a client.
// Boxed, because it stands in every `Result` and is rare.
#[derive(Debug)]
pub struct Problem(Box<Parts>);

#[derive(Debug)]
struct Parts {
    status: StatusCode,
    code: &'static str,
    title: &'static str,
    detail: String,
    errors: Vec<FieldError>,
    guard: Option<Guard>,
    headers: HeaderMap,
}

/// One error of a body, and its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// The JSON pointer (RFC 6901) of the value in the body, empty for the whole body; `/` and the name of a parameter of
    /// the query.
    pub pointer: String,
    /// What is wrong, for a person.
    pub detail: String,
}

impl FieldError {
    /// The error `detail` of the value at `pointer`.
    #[must_use]
    pub fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), detail: detail.into() }
    }
}

impl Problem {
    /// A problem of the type `/problems/<code>`. `title` is the same for every problem of the type; `detail` is about this
    /// one, for a person.
    #[must_use]
    pub fn new(
        status: StatusCode,
        code: &'static str,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        let (detail, errors, headers) = (detail.into(), Vec::new(), HeaderMap::new());
        Self(Box::new(Parts { status, code, title, detail, errors, guard: None, headers }))
    }

    /// A request with values that cannot be accepted: 422. The body lists the first 32 errors, so that the answer to a
    /// request of many errors is not many times as large.
    #[must_use]
    pub fn fields(mut errors: Vec<FieldError>) -> Self {
        errors.truncate(MOST_ERRORS);
        let title = "The request does not validate";
        let detail = "See errors for each field.";
        let mut problem = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "validation", title, detail);
        problem.0.errors = errors;
        problem
    }

    /// A handler that did not answer within `limit`: 504.
    #[must_use]
    pub fn timed_out(limit: Duration) -> Self {
        let limit = clock::rounded(limit);
        let detail = format!("No answer within {limit}. Ask again with the same Idempotency-Key.");
        Self::new(StatusCode::GATEWAY_TIMEOUT, "timeout", "The request took too long", detail)
    }

    /// A defect of this process: 500. The text names none of it.
    #[must_use]
    pub fn internal() -> Self {
        Self::broken(StatusCode::INTERNAL_SERVER_ERROR, "internal")
    }

    /// The same with a response header.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.insert(name, value);
        self
    }

    /// The same with `Retry-After`: 1 to 3600 s, rounded up.
    #[must_use]
    pub fn with_retry_after(self, wait: Duration) -> Self {
        let seconds = wait.as_secs_f64().ceil().clamp(1.0, 3600.0);
        self.with_header(header::RETRY_AFTER, HeaderValue::from(seconds as u32))
    }

    /// The status of the response.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// The text about this problem.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    /// The errors of the body.
    #[must_use]
    pub fn errors(&self) -> &[FieldError] {
        &self.0.errors
    }

    fn broken(status: StatusCode, code: &'static str) -> Self {
        Self::new(status, code, "Internal error", "The trace id names the log lines with the reason.")
    }
}

#[derive(Serialize)]
struct Body<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<String>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [FieldError],
    #[serde(skip_serializing_if = "Option::is_none")]
    guard: Option<Guard>,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Parts { status, code, title, detail, errors, guard, headers } = *self.0;
        let body = Body {
            r#type: format!("/problems/{code}"),
            title,
            status: status.as_u16(),
            detail: &detail,
            trace_id: Context::current().trace.map(|trace| trace.trace_id()),
            errors: &errors,
            guard,
        };
        let mut response = (status, Json(body)).into_response();
        response.headers_mut().extend(headers);
        let problem = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, problem);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_limit_is_a_round_number() {
        let detail = |nanos| Problem::timed_out(Duration::from_nanos(nanos)).detail().to_owned();
        assert_eq!(detail(4_999_999_970), "No answer within 5 s. Ask again with the same Idempotency-Key.");
        assert_eq!(detail(249_999_900), "No answer within 250 ms. Ask again with the same Idempotency-Key.");
    }
}
