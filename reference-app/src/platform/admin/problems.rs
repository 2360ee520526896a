//! The refusals of the admin listener, as problems (RFC 9457). They contain the whole error chain, because only
//! operators use this listener.

use axum::http::{HeaderValue, StatusCode, header};
use comms_core::{Error, ErrorKind};

use crate::platform::http::Problem;

pub(super) fn refused(status: StatusCode, detail: impl Into<String>) -> Problem {
    Problem::new(status, "admin", "The operation is refused", detail)
}

pub(super) fn unauthenticated(detail: &str, challenge: &'static str) -> Problem {
    refused(StatusCode::UNAUTHORIZED, detail)
        .with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge))
}

pub(super) fn of_error(error: Error) -> Problem {
    let status = match error.kind {
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::Conflict => StatusCode::CONFLICT,
        ErrorKind::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    refused(status, error.chain().to_string())
}

pub(super) fn bad_path() -> Problem {
    refused(StatusCode::BAD_REQUEST, "a segment of the path is not valid UTF-8")
}
