//! The one table between status codes and error kinds, both ways.
//!
//! The codes of a kind, and of a guard that said no, stand in [`ErrorKind`]; this module carries message and
//! pushback with them. What a peer *says* is UNAVAILABLE is `NotExecuted`; a connection that breaks in the middle
//! of a call is not: the call may have been done, so the channel reports UNKNOWN and the kind is `Indeterminate`.

use std::time::Duration;

use comms_core::{Error, ErrorKind, wire::GRPC_RETRY_PUSHBACK_MS as PUSHBACK};
use tonic::{Code, Status};

/// The status that tells a peer of `error`, with its [`Error::public_text`]. Every other text stays in this process: log it.
///
/// ```
/// use comms_core::{Error, ErrorKind};
/// use comms_grpc::{from_status, to_status};
/// let status = to_status(&Error::conflict("order 7 has changed"));
/// assert_eq!((status.code(), status.message()), (tonic::Code::Aborted, "order 7 has changed"));
/// assert_eq!(from_status(&status).kind, ErrorKind::Conflict);
/// ```
#[must_use]
pub fn to_status(error: &Error) -> Status {
    let message = error.public_text().unwrap_or_else(|| "internal error".to_owned());
    let mut status = Status::new(Code::from_i32(error.grpc_code()), message);
    if let Some(wait) = error.retry_after {
        // Rounded up: a wait that is a fraction too short is refused again.
        let millis = wait.as_nanos().div_ceil(1_000_000);
        status.metadata_mut().insert(PUSHBACK, u64::try_from(millis).unwrap_or(u64::MAX).into());
    }
    status
}

/// The error a peer's `status` stands for. The status is the error's source, so that its code and details
/// can still be had by `error.cause().downcast_ref::<Status>()`. A pushback that is negative or
/// not a number is left out. RESOURCE_EXHAUSTED without one may be a message that is too large or a quota that is used up:
/// a policy does not try it again, and a consumer only so often.
#[must_use]
pub fn from_status(status: &Status) -> Error {
    let pushback = status.metadata().get(PUSHBACK).and_then(|v| v.to_str().ok()?.parse().ok());
    let mut error = Error::new(ErrorKind::from_grpc_code(status.code().into()), status.clone());
    error.retry_after = pushback.map(Duration::from_millis);
    error
}

/// The name of a code as the specification and the metrics write it.
pub(crate) const fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use comms_core::{
        Clock,
        resilience::{Breaker, BreakerConfig},
    };

    #[test]
    fn every_kind_goes_out_and_comes_back() {
        use ErrorKind::{Conflict, Fatal, Indeterminate, Invalid, NotExecuted, Rejected};
        for kind in [NotExecuted, Indeterminate, Rejected, Invalid, Conflict] {
            assert_eq!(from_status(&to_status(&Error::new(kind, "why"))).kind, kind);
        }
        let fatal = to_status(&Error::new(Fatal, "password is hunter2"));
        assert_eq!((fatal.code(), fatal.message()), (Code::Internal, "internal error"));
        // A peer's INTERNAL is not this process's end: whether it did the work is unknown.
        assert_eq!(from_status(&fatal).kind, Indeterminate);
    }

    #[test]
    fn an_open_breaker_is_unavailable_with_its_wait() {
        let breaker = Breaker::new("payments", BreakerConfig::default(), Clock::system()).unwrap();
        (0..5).for_each(|_| breaker.acquire().unwrap().failure());
        let error = Error::from(breaker.acquire().unwrap_err()).context("ask");
        let status = to_status(&error);
        assert_eq!(status.code(), Code::Unavailable);
        let told = from_status(&status);
        assert_eq!(told.kind, ErrorKind::NotExecuted, "nothing happened, and the caller did nothing wrong");
        assert!(told.retry_after >= error.retry_after && told.retry_after.is_some());
    }

    #[test]
    fn the_wait_goes_along_rounded_up() {
        let status = to_status(&Error::rejected("busy", Some(Duration::from_micros(1_200))));
        assert_eq!(from_status(&status).retry_after, Some(Duration::from_millis(2)));
        for text in ["-1", "soon", ""] {
            let mut status = Status::resource_exhausted("busy");
            status.metadata_mut().insert(PUSHBACK, text.parse().unwrap());
            assert_eq!(from_status(&status).retry_after, None, "{text:?}");
        }
    }

    #[test]
    fn the_peers_own_code_can_still_be_had() {
        let error = from_status(&Status::not_found("no such order"));
        assert_eq!(error.kind, ErrorKind::Invalid);
        assert_eq!(error.cause().downcast_ref::<Status>().unwrap().code(), Code::NotFound);
    }
}
