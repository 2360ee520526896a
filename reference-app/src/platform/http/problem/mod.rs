//! Error responses: problem details (RFC 9457).

mod of_error;

use std::time::Duration;

use axum::{
    Json,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use comms_core::{clock, context::Context, resilience::Guard};
use serde::Serialize;

/// The maximum number of errors in one problem.
pub(super) const MAX_ERRORS: usize = 32;

/// A refusal of an HTTP request: an `application/problem+json` body with the trace id of the current [`Context`].
///
/// Create a problem with [`Problem::new`] or [`Problem::fields`] for a refusal of the service itself, or convert an
/// [`Error`](comms_core::Error): its kind determines the status, and its text is sent only if clients may read it.
// Boxed, because every handler's `Result` contains it and a refusal is rare.
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

/// An error in a body, and the place of the error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// The JSON pointer (RFC 6901) of the value in the body, empty for the whole body. For a query parameter: `/` and
    /// the parameter's name.
    pub pointer: String,
    /// The description of the error, for a person.
    pub detail: String,
}

impl FieldError {
    /// Creates the error `detail` of the value at `pointer`.
    #[must_use]
    pub fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), detail: detail.into() }
    }
}

impl Problem {
    /// Creates a problem of the type `/problems/<code>`. `title` is the same for every problem of a type. `detail`
    /// describes this problem, for a person.
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

    /// Creates the problem for a request with invalid values: 422. The body lists at most the first 32 errors, so
    /// that the response is not many times larger than the request.
    #[must_use]
    pub fn fields(mut errors: Vec<FieldError>) -> Self {
        errors.truncate(MAX_ERRORS);
        let title = "The request does not validate";
        let detail = "See errors for each field.";
        let mut problem = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "validation", title, detail);
        problem.0.errors = errors;
        problem
    }

    /// Creates the problem for a handler that did not respond within `limit`: 504.
    #[must_use]
    pub fn timed_out(limit: Duration) -> Self {
        let limit = clock::rounded(limit);
        let detail = format!("No answer within {limit}. Retry with the same Idempotency-Key.");
        Self::new(StatusCode::GATEWAY_TIMEOUT, "timeout", "The request took too long", detail)
    }

    /// Creates the problem for a defect of this process: 500. The text reveals nothing about the defect.
    #[must_use]
    pub fn internal() -> Self {
        Self::broken(StatusCode::INTERNAL_SERVER_ERROR, "internal")
    }

    /// Adds a response header.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.insert(name, value);
        self
    }

    /// Adds `Retry-After` with `wait`, rounded up to seconds and limited to 1 to 3600 s.
    #[must_use]
    pub fn with_retry_after(self, wait: Duration) -> Self {
        let seconds = wait.as_secs_f64().ceil().clamp(1.0, 3600.0);
        self.with_header(header::RETRY_AFTER, HeaderValue::from(seconds as u32))
    }

    /// Returns the status of the response.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// Returns the description of this problem.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    /// Returns the errors in the body.
    #[must_use]
    pub fn errors(&self) -> &[FieldError] {
        &self.0.errors
    }

    fn broken(status: StatusCode, code: &'static str) -> Self {
        Self::new(status, code, "Internal error", "The log lines with this trace id contain the reason.")
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
    fn the_time_limit_in_a_text_is_rounded() {
        let detail = |nanos| Problem::timed_out(Duration::from_nanos(nanos)).detail().to_owned();
        assert_eq!(detail(4_999_999_970), "No answer within 5 s. Retry with the same Idempotency-Key.");
        assert_eq!(detail(249_999_900), "No answer within 250 ms. Retry with the same Idempotency-Key.");
    }
}
