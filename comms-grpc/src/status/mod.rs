//! Status codes and error kinds, in both directions.
//!
//! The codes stand in the table of [`ErrorKind`]; a [`Guard`](comms_core::resilience::Guard) that refused a call has its
//! own. This module adds the text that a peer may read, the wait, and the proof that a call was not executed.
//!
//! | from a peer | kind |
//! |---|---|
//! | INVALID_ARGUMENT, OUT_OF_RANGE | `Invalid` |
//! | NOT_FOUND | `NotFound` |
//! | ALREADY_EXISTS, FAILED_PRECONDITION, ABORTED | `Conflict` |
//! | PERMISSION_DENIED, UNAUTHENTICATED, UNIMPLEMENTED | `Misconfigured` |
//! | any other code | `Indeterminate` |
//! | any code, with a proof that no handler ran | `NotExecuted`, `Rejected` |
//!
//! A status without such a proof never becomes `NotExecuted` or `Rejected`: the peer may have done the work before it
//! answered UNAVAILABLE. A [`Channel`](crate::Channel) attaches the proof to the statuses that it returns.

use std::{error::Error as StdError, fmt, sync::Arc, time::Duration};

use comms_core::{Error, ErrorKind, wire::GRPC_RETRY_PUSHBACK_MS as PUSHBACK};
use tonic::{Code, Status};

use crate::{
    bound::{TEXT, cut},
    evidence::Evidence,
};

/// The status that reports `error` to a peer: its code by the table of [`ErrorKind`], its wait as
/// `grpc-retry-pushback-ms` (-1 from about 25 days on), and its text.
///
/// The text is the error's [`Error::public_text`], cut to 4 KiB of UTF-8 and 6 KiB
/// percent-encoded. It is a fixed one for every other kind, and for an error made from a peer's status, whose text is
/// for this process only: then the error is logged here.
///
/// The status never proves that the call was not executed, not even for `NotExecuted` and `Rejected`: the handler that
/// returns it has run. A handler that has not begun its work uses [`refused`].
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
    let code = Code::from_i32(error.grpc_code());
    let mut status = match error.public_text() {
        Some(text) => Status::new(code, cut(&text)),
        None => {
            log(error);
            Status::new(code, fixed_text(error.kind))
        }
    };
    if let Some(wait) = error.retry_after {
        status.metadata_mut().insert(PUSHBACK, pushback(wait).into());
    }
    status
}

/// `wait` in milliseconds, rounded up: a wait that is a fraction too short is refused again. -1, no other attempt, for
/// what does not fit into the 32 bits that peers read.
fn pushback(wait: Duration) -> i32 {
    i32::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap_or(-1)
}

/// The wait that `status` asks for. A value that is negative, or no number, asks for no other attempt (gRFC A6).
fn asked(status: &Status) -> Option<Duration> {
    let value = status.metadata().get(PUSHBACK)?;
    let millis = value.to_str().ok().and_then(|text| text.parse().ok());
    Some(millis.map_or(Duration::MAX, Duration::from_millis))
}

/// The status that reports `error` and proves to the caller that the call was not executed, so that the caller may
/// repeat it. For the first lines of a handler, and for layers in front of it: nothing has happened yet that a second
/// call would repeat.
///
/// The server layer sends the proof as the header [`NOT_EXECUTED`](comms_core::wire::NOT_EXECUTED), and removes that
/// header from every other response. It has no effect in the middle of a response stream, and on an error of another
/// kind than `NotExecuted` and `Rejected`: those are sent as by [`to_status`].
///
/// ```
/// use comms_core::Error;
/// use std::time::Duration;
///
/// fn charge(queue_is_full: bool) -> Result<(), tonic::Status> {
///     if queue_is_full {
///         let error = Error::rejected("too many charges", Some(Duration::from_secs(1)));
///         return Err(comms_grpc::refused(&error));
///     }
///     Ok(())
/// }
/// # charge(true).unwrap_err();
/// ```
#[must_use]
pub fn refused(error: &Error) -> Status {
    let status = to_status(error);
    match error.kind {
        ErrorKind::NotExecuted | ErrorKind::Rejected => Refusal::attach(status, error.kind),
        _ => status,
    }
}

/// The error that a call ended with by `status`, which is the error's cause:
/// `error.cause().downcast_ref::<Status>()` has its code and details. Its text is cut to 4 KiB.
///
/// The kind follows from the code by the table of this [module](self), or from what the [`Channel`](crate::Channel)
/// found out about the call. The wait is the peer's `grpc-retry-pushback-ms`; a negative one, and one that is not a
/// number, is [`Duration::MAX`]: the peer asks for no other attempt (gRFC A6).
#[must_use]
pub fn from_status(status: &Status) -> Error {
    let evidence = Evidence::of(status).or_else(|| Refusal::of(status));
    let kind = evidence.unwrap_or_else(|| ErrorKind::from_grpc_code(status.code().into()));
    let mut error = Error::new(kind, bare(status, evidence.is_some()));
    error.retry_after = asked(status);
    error
}

/// `status` with a short text, and without the evidence that has become the error's kind.
fn bare(status: &Status, evidence: bool) -> Status {
    if !evidence && status.message().len() <= TEXT {
        return status.clone();
    }
    let (details, metadata) = (status.details().to_vec(), status.metadata().clone());
    Status::with_details_and_metadata(status.code(), cut(status.message()), details.into(), metadata)
}

/// Attached to a status by [`refused`]. Not the [`Evidence`] of a client: a forwarded status proves nothing.
#[derive(Debug)]
pub(crate) struct Refusal(ErrorKind);

impl Refusal {
    /// `status`, as the refusal of a call: `NotExecuted` or `Rejected`.
    pub(crate) fn attach(mut status: Status, kind: ErrorKind) -> Status {
        status.set_source(Arc::new(Self(kind)));
        status
    }

    /// The kind with which `status` refuses a call, if [`refused`] made it.
    pub(crate) fn of(status: &Status) -> Option<ErrorKind> {
        status.source()?.downcast_ref().map(|Self(kind)| *kind)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "refused as {}", self.0)
    }
}

impl StdError for Refusal {}

fn log(error: &Error) {
    let (kind, chain) = (error.kind.as_str(), error.chain());
    match error.kind {
        ErrorKind::Misconfigured | ErrorKind::Internal | ErrorKind::Fatal => {
            tracing::error!(error = %chain, error.type = kind, "a gRPC call fails");
        }
        _ => tracing::warn!(error = %chain, error.type = kind, "a gRPC call fails"),
    }
}

/// The text of an error whose own text stays in this process.
pub(crate) const fn fixed_text(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::NotExecuted => "unavailable",
        ErrorKind::Indeterminate => "the outcome is unknown",
        ErrorKind::Rejected => "rejected",
        ErrorKind::Invalid => "invalid argument",
        ErrorKind::NotFound => "not found",
        ErrorKind::Unauthenticated => "unauthenticated",
        ErrorKind::PermissionDenied => "permission denied",
        ErrorKind::Conflict => "conflict",
        _ => "internal error",
    }
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
mod tests;
