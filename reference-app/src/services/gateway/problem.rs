//! Errors as RFC 9457 problem details.

use std::time::Duration;

use axum::{
    Json,
    extract::rejection::JsonRejection,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use comms_core::{Context, Error, ErrorKind, resilience::Guard};
use comms_grpc::from_status;
use serde::Serialize;

/// A refusal. Boxed, since it travels in every `Result` and is rare.
#[derive(Debug)]
pub(super) struct Problem(Box<Parts>);

/// `code` is the last part of the problem's type.
#[derive(Debug)]
struct Parts {
    status: StatusCode,
    code: &'static str,
    title: &'static str,
    detail: String,
    errors: Vec<FieldError>,
    guard: Option<Guard>,
    header: Option<(HeaderName, HeaderValue)>,
}

/// What is wrong with one field.
#[derive(Debug, Serialize)]
pub(super) struct FieldError {
    pub(super) field: String,
    pub(super) detail: String,
}

impl Problem {
    pub(super) fn new(
        status: StatusCode,
        code: &'static str,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        let detail = detail.into();
        let errors = Vec::new();
        Self(Box::new(Parts { status, code, title, detail, errors, guard: None, header: None }))
    }

    /// A body that is well-formed, with fields that are not.
    pub(super) fn fields(errors: Vec<FieldError>) -> Self {
        let title = "The request does not validate";
        let detail = "See errors for each field.";
        let mut problem = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "validation", title, detail);
        problem.0.errors = errors;
        problem
    }

    pub(super) fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.header = Some((name, value));
        self
    }

    /// The deadline passed while the request was being handled.
    pub(super) fn timed_out(limit: Duration) -> Self {
        let detail = format!("No answer within {limit:?}. Ask again with the same Idempotency-Key.");
        Self::new(StatusCode::GATEWAY_TIMEOUT, "timeout", "The request took too long", detail)
    }

    fn retry_after(self, wait: Duration) -> Self {
        let seconds = wait.as_secs_f64().ceil().clamp(1.0, 3600.0);
        self.with_header(header::RETRY_AFTER, HeaderValue::from(seconds as u32))
    }
}

impl From<JsonRejection> for Problem {
    fn from(rejection: JsonRejection) -> Self {
        let (code, title) = match rejection.status() {
            StatusCode::UNSUPPORTED_MEDIA_TYPE => ("media-type", "The body must be application/json"),
            StatusCode::PAYLOAD_TOO_LARGE => ("too-large", "The body is too large"),
            StatusCode::UNPROCESSABLE_ENTITY => ("validation", "The request does not validate"),
            _ => ("malformed-json", "The body is not JSON"),
        };
        Self::new(rejection.status(), code, title, rejection.body_text())
    }
}

/// What an internal service answered, as a client may see it.
impl From<tonic::Status> for Problem {
    fn from(status: tonic::Status) -> Self {
        from_status(&status).into()
    }
}

/// A call that failed, by its peer or by a guard of this side, as a client may see it. What an earlier attempt
/// may have done its policy has not unsaid: that is `Indeterminate`.
impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let status = error.cause().downcast_ref::<tonic::Status>();
        let text = || status.map_or_else(|| error.cause().to_string(), |status| status.message().to_owned());
        let http = match status.map(tonic::Status::code) {
            Some(tonic::Code::NotFound) => StatusCode::NOT_FOUND,
            Some(tonic::Code::Internal) => StatusCode::INTERNAL_SERVER_ERROR,
            _ => error.http_status(),
        };
        let wait = error.retry_after.unwrap_or(Duration::from_secs(1));
        let again = "Nothing happened; ask again.";
        let mut problem = match http {
            StatusCode::NOT_FOUND => Self::new(http, "not-found", "Not found", text()),
            StatusCode::UNPROCESSABLE_ENTITY => Self::new(http, "refused", "The request was refused", text()),
            StatusCode::CONFLICT => {
                Self::new(http, "conflict", "Another request is in the way", text()).retry_after(wait)
            }
            StatusCode::TOO_MANY_REQUESTS => {
                tracing::warn!(%error, "too many requests");
                Self::new(http, "rate-limit", "Too many requests", again).retry_after(wait)
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                tracing::warn!(%error, "an internal service is away, or has enough to do");
                Self::new(http, "unavailable", "Not now", again).retry_after(wait)
            }
            StatusCode::GATEWAY_TIMEOUT => {
                tracing::warn!(%error, "an internal service did not answer in time");
                let detail = match error.kind {
                    ErrorKind::Indeterminate => {
                        "It may have happened. Ask again with the same Idempotency-Key to learn it."
                    }
                    _ => again,
                };
                Self::new(http, "timeout", "The request took too long", detail)
            }
            _ => {
                tracing::error!(%error, "an internal service failed");
                let detail = "The trace id names the logs that say why.";
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Something is broken here", detail)
            }
        };
        problem.0.guard = error.rejection().map(|rejection| rejection.guard);
        problem
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
        let Parts { status, code, title, detail, errors, guard, header: extra } = *self.0;
        let body = Body {
            r#type: format!("/problems/{}", code),
            title,
            status: status.as_u16(),
            detail: &detail,
            trace_id: Context::current().trace.map(|trace| trace.trace_id()),
            errors: &errors,
            guard,
        };
        let mut response = (status, Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some((name, value)) = extra {
            headers.insert(name, value);
        }
        response
    }
}

/// A bug of ours: the client gets an answer, the logs get the reason.
pub(super) fn panicked(panic: Box<dyn std::any::Any + Send>) -> Response {
    let text =
        panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    tracing::error!(panic = text.unwrap_or("no message"), "a request handler panicked");
    Problem::from(tonic::Status::internal("panicked")).into_response()
}

pub(super) async fn not_found() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "not-found", "Not found", "There is nothing at this path.")
}

pub(super) async fn method_not_allowed() -> Problem {
    let title = "Method not allowed";
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", title, "This path has other methods.")
}

#[cfg(test)]
mod tests {
    use comms_core::{Clock, Deadline, Policy, PolicyConfig, resilience::BulkheadConfig};

    use super::*;

    /// What a client gets of a call to a peer that never answers.
    async fn asked(policy: &Policy) -> (u16, &'static str, Option<Guard>, bool) {
        let error = policy.run(std::future::pending::<Result<(), Error>>).await.unwrap_err();
        let parts = Problem::from(error).0;
        let waits = parts.header.is_some_and(|(name, _)| name == header::RETRY_AFTER);
        (parts.status.as_u16(), parts.code, parts.guard, waits)
    }

    #[tokio::test(start_paused = true)]
    async fn every_guard_has_its_answer() {
        let mut config = PolicyConfig::background();
        (config.timeout, config.retry) = (Some(Duration::from_secs(1)), None);
        config.bulkhead = Some(BulkheadConfig::seats(1));
        let policy = Policy::new("order", config).unwrap();
        assert_eq!(asked(&policy).await, (504, "timeout", Some(Guard::Timeout), false));

        let passed = Deadline::after(Duration::ZERO, &Clock::system());
        let late = Context::default().with_deadline(passed).scope(asked(&policy)).await;
        assert_eq!(late, (504, "timeout", Some(Guard::Deadline), false));

        let bulkhead = policy.bulkhead().unwrap();
        let seat = bulkhead.try_acquire().unwrap();
        assert_eq!(asked(&policy).await, (503, "unavailable", Some(Guard::Bulkhead), true));
        drop(seat);

        policy.breaker().unwrap().force_open();
        assert_eq!(asked(&policy).await, (503, "unavailable", Some(Guard::Breaker), true));
    }

    #[test]
    fn what_a_peer_says_names_no_guard() {
        let table = [
            (tonic::Status::not_found("no such order"), 404, "not-found"),
            (tonic::Status::invalid_argument("no"), 422, "refused"),
            (tonic::Status::aborted("lost"), 409, "conflict"),
            (tonic::Status::resource_exhausted("slower"), 429, "rate-limit"),
            (tonic::Status::unavailable("away"), 503, "unavailable"),
            (tonic::Status::deadline_exceeded("late"), 504, "timeout"),
            (tonic::Status::internal("panicked"), 500, "internal"),
        ];
        for (status, http, code) in table {
            let parts = Problem::from(status.clone()).0;
            assert_eq!((parts.status.as_u16(), parts.code, parts.guard), (http, code, None), "{status}");
        }
    }
}
