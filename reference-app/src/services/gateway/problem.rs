//! Errors as RFC 9457 problem details.

use std::time::Duration;

use axum::{
    Json,
    extract::rejection::JsonRejection,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use comms_core::{Context, ErrorKind};
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
        Self(Box::new(Parts { status, code, title, detail, errors: Vec::new(), header: None }))
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
        let error = from_status(&status);
        let text = status.message().to_owned();
        let wait = error.retry_after.unwrap_or(Duration::from_secs(1));
        let http = error.kind.http_status();
        match (status.code(), error.kind) {
            (tonic::Code::NotFound, _) => Self::new(StatusCode::NOT_FOUND, "not-found", "Not found", text),
            (tonic::Code::Internal, _) | (_, ErrorKind::Fatal) => {
                tracing::error!(%status, "an internal service failed");
                let detail = "The trace id names the logs that say why.";
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Something is broken here", detail)
            }
            (_, ErrorKind::Invalid) => Self::new(http, "refused", "The request was refused", text),
            (_, ErrorKind::Conflict) => {
                Self::new(http, "conflict", "Another request is in the way", text).retry_after(wait)
            }
            (_, ErrorKind::Transient | ErrorKind::Rejected) => {
                tracing::warn!(%status, "an internal service is away, or has enough to do");
                let detail = "Nothing happened; ask again.";
                Self::new(http, "unavailable", "Not now", detail).retry_after(wait)
            }
            (_, ErrorKind::Unknown) => {
                tracing::warn!(%status, "an internal service did not answer in time");
                let detail = "It may have happened. Ask again with the same Idempotency-Key to learn it.";
                Self::new(http, "timeout", "The request took too long", detail)
            }
        }
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
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Parts { status, code, title, detail, errors, header: extra } = *self.0;
        let body = Body {
            r#type: format!("/problems/{}", code),
            title,
            status: status.as_u16(),
            detail: &detail,
            trace_id: Context::current().trace.map(|trace| trace.trace_id()),
            errors: &errors,
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
