//! Errors as RFC 9457 problem details.

use std::time::Duration;

use axum::{
    Json,
    extract::rejection::JsonRejection,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use comms_core::{Context, Error, ErrorKind, resilience::Guard};
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

/// The codes by which a service of this system refuses its client's input. Any other refusal is not of its contract.
const CONTRACT: [tonic::Code; 3] =
    [tonic::Code::InvalidArgument, tonic::Code::NotFound, tonic::Code::Aborted];

/// The failure of a call, as a client may see it. A text is sent where this process wrote it for a client
/// ([`Error::public_text`]); a peer's never is, see [`Problem::of_service`].
impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Self::of(&error, error.public_text())
    }
}

impl Problem {
    /// The failure of a call to a service of this system, whose validation messages are written for the client: the
    /// message of INVALID_ARGUMENT, NOT_FOUND and ABORTED is sent. The message of every other code stays in the log.
    pub(super) fn of_service(error: Error) -> Self {
        let Some(status) = error.cause().downcast_ref::<tonic::Status>() else { return error.into() };
        match (error.kind, CONTRACT.contains(&status.code())) {
            (ErrorKind::Invalid | ErrorKind::NotFound | ErrorKind::Conflict, true) => {
                let text = Some(status.message().to_owned()).filter(|text| !text.is_empty());
                Self::of(&error, text)
            }
            (ErrorKind::Invalid | ErrorKind::NotFound | ErrorKind::Conflict, false) => {
                Self::of(&Error::misconfigured(error), None)
            }
            _ => Self::of(&error, None),
        }
    }

    /// The status is that of the table, or of the guard that refused. Only `NotExecuted` and `Rejected` prove that nothing
    /// happened; what an earlier attempt may have done stands in the kind, as `Indeterminate`.
    fn of(error: &Error, text: Option<String>) -> Self {
        let http = error.http_status();
        let wait = error.retry_after.unwrap_or(Duration::from_secs(1));
        let text = |fallback: &str| text.clone().unwrap_or_else(|| fallback.to_owned());
        let again = "Nothing happened; ask again.";
        let mut problem = match error.kind {
            ErrorKind::NotFound => Self::new(http, "not-found", "Not found", text("There is no such thing.")),
            ErrorKind::Invalid => {
                Self::new(http, "refused", "The request was refused", text("It cannot be accepted."))
            }
            ErrorKind::Unauthenticated => {
                Self::new(http, "unauthorized", "Who are you?", text("The credentials are refused."))
            }
            ErrorKind::PermissionDenied => {
                Self::new(http, "forbidden", "Not allowed", text("The credentials do not allow it."))
            }
            ErrorKind::Conflict => {
                let detail = text("Another request changed the same thing; read it again.");
                Self::new(http, "conflict", "Another request is in the way", detail).retry_after(wait)
            }
            ErrorKind::NotExecuted | ErrorKind::Rejected => match http {
                StatusCode::TOO_MANY_REQUESTS => {
                    Self::new(http, "rate-limit", "Too many requests", again).retry_after(wait)
                }
                StatusCode::GATEWAY_TIMEOUT => Self::new(http, "timeout", "The request took too long", again),
                _ => Self::new(http, "unavailable", "Not now", again).retry_after(wait),
            },
            ErrorKind::Indeterminate => {
                let detail = "It may have happened. Ask again with the same Idempotency-Key to learn it.";
                Self::new(http, "timeout", "The request took too long", detail)
            }
            ErrorKind::Misconfigured => Self::broken(http, "bad-gateway"),
            _ => Self::broken(http, "internal"),
        };
        log(error, http);
        problem.0.guard = error.rejection().map(|rejection| rejection.guard);
        problem
    }

    fn broken(status: StatusCode, code: &'static str) -> Self {
        Self::new(status, code, "Something is broken here", "The trace id names the logs that say why.")
    }
}

/// The log gets the whole chain; a refusal of the client's input is no event for an operator.
fn log(error: &Error, status: StatusCode) {
    let (kind, status, error) = (error.kind, status.as_u16(), error.chain());
    match kind {
        ErrorKind::Invalid
        | ErrorKind::NotFound
        | ErrorKind::Conflict
        | ErrorKind::Unauthenticated
        | ErrorKind::PermissionDenied => tracing::debug!(status, %error, "request refused"),
        ErrorKind::NotExecuted | ErrorKind::Rejected | ErrorKind::Indeterminate => {
            tracing::warn!(status, %error, "request not answered");
        }
        _ => tracing::error!(status, %error, "request failed"),
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
    Problem::broken(StatusCode::INTERNAL_SERVER_ERROR, "internal").into_response()
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
    use comms_grpc::from_status;

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

    fn answered(status: &tonic::Status) -> Parts {
        *Problem::of_service(from_status(status)).0
    }

    #[test]
    fn a_peers_answer_has_the_status_of_the_table_and_names_no_guard() {
        use tonic::Code;
        for code in (1..=16).map(Code::from_i32) {
            let (http, name) = match code {
                Code::InvalidArgument => (422, "refused"),
                Code::NotFound => (404, "not-found"),
                Code::Aborted => (409, "conflict"),
                Code::AlreadyExists
                | Code::FailedPrecondition
                | Code::OutOfRange
                | Code::Unauthenticated
                | Code::PermissionDenied
                | Code::Unimplemented => (502, "bad-gateway"),
                _ => (504, "timeout"),
            };
            let parts = answered(&tonic::Status::new(code, "secret"));
            assert_eq!((parts.status.as_u16(), parts.code, parts.guard), (http, name, None), "{code:?}");
            let own = matches!(code, Code::InvalidArgument | Code::NotFound | Code::Aborted);
            assert_eq!(parts.detail.contains("secret"), own, "{code:?}: {}", parts.detail);
            assert!(!parts.detail.is_empty(), "{code:?}");
        }
    }

    #[test]
    fn a_text_that_was_not_written_for_a_client_stays_in_the_log() {
        for kind in ErrorKind::ALL {
            for error in [
                Error::new(kind, std::io::Error::other("secret")).context("secret"),
                Error::new(kind, tonic::Status::new(tonic::Code::Unknown, "secret")),
                Error::new(kind, Error::invalid("secret")),
            ] {
                let parts = Problem::from(error).0;
                assert!(
                    !parts.detail.contains("secret") && !parts.detail.is_empty(),
                    "{kind}: {}",
                    parts.detail
                );
                assert_eq!(parts.status, kind.http_status(), "{kind}");
            }
        }
        let own = Problem::from(Error::invalid("the quantity must be positive")).0;
        assert_eq!(own.detail, "the quantity must be positive");
    }

    #[test]
    fn nothing_happened_is_said_only_with_proof() {
        for kind in ErrorKind::ALL {
            let parts = Problem::from(Error::new(kind, "why")).0;
            let proven = matches!(kind, ErrorKind::NotExecuted | ErrorKind::Rejected);
            assert_eq!(parts.detail.contains("Nothing happened"), proven, "{kind}");
            let open = parts.detail.contains("may have happened");
            assert_eq!(open, kind == ErrorKind::Indeterminate, "{kind}");
        }
    }
}
