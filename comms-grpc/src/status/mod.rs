//! Conversion between gRPC statuses and [`Error`]s, in both directions.
//!
//! [`ErrorKind`] has the table of codes. A [`Guard`](comms_core::resilience::Guard) that refused a call has a code of
//! its own. This module adds the text that a peer may read, the wait before the next attempt, and the proof that a call
//! was not executed.

use std::{error::Error as StdError, fmt, sync::Arc, time::Duration};

use comms_core::{Error, ErrorKind, resilience::Guard, wire::GRPC_RETRY_PUSHBACK_MS as PUSHBACK};
use tonic::{Code, Status};

mod details;

pub use details::field_errors;

use crate::{
    evidence::{Evidence, error_chain},
    status_headers::{MAX_MESSAGE, truncate},
};

/// Converts `error` to the status that reports it to a peer.
///
/// The code follows from the table of [`ErrorKind`]. [`Error::retry_after`] becomes `grpc-retry-pushback-ms`, rounded
/// up to a millisecond; a wait of more than 24.8 days becomes -1, which allows no further attempt.
///
/// The message is [`Error::public_text`], truncated to 4 KiB of UTF-8 and 6 KiB percent-encoded. An error without a
/// public text, and an error made from the status of a peer, gets a fixed message, and its text is logged here.
///
/// The details (`google.rpc.Status`) are `ErrorInfo` with the kind as reason, such as `CONFLICT`, and the domain `comms`;
/// `RetryInfo` for the wait; and `BadRequest` for [`FieldErrors`](comms_core::command::FieldErrors), whose fields are
/// JSON pointers. Details that exceed 7 KiB together with the message are left out, `BadRequest` first.
///
/// The status is no proof that the call was not executed, not even for `NotExecuted` and `Rejected`, because the
/// handler that returns it has run. A handler that has not begun its work uses [`refused`].
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
    let text = error.public_text();
    let mut status = match &text {
        Some(text) => details::status(code, truncate(text), error),
        None => {
            log(error);
            details::status(code, fixed_text(error.kind), error)
        }
    };
    if let Some(wait) = error.retry_after {
        status.metadata_mut().insert(PUSHBACK, pushback_millis(wait).into());
    }
    status
}

/// Returns `wait` in milliseconds, rounded up, because a peer would refuse an attempt that comes a fraction too early.
/// Returns -1 (no further attempt) if the number exceeds the 32 bits that peers read.
fn pushback_millis(wait: Duration) -> i32 {
    i32::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap_or(-1)
}

/// Converts `error` to a status that also proves to the caller that the call was not executed, so that the caller may
/// repeat it.
///
/// For the first lines of a handler, before any effect, and for layers in front of handlers.
///
/// The server layer sends the proof as the header [`NOT_EXECUTED`](comms_core::wire::NOT_EXECUTED), and removes that
/// header from every other response. The proof is not sent in the middle of a response stream. An error of another kind
/// than `NotExecuted` and `Rejected` is converted as by [`to_status`], without a proof.
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
    let mut status = to_status(error);
    if let ErrorKind::NotExecuted | ErrorKind::Rejected = error.kind {
        let guard = error.rejection().map(|rejection| rejection.guard);
        status.set_source(Arc::new(Refusal { kind: error.kind, guard }));
    }
    status
}

/// Converts the `status` of a call to an error.
///
/// | status | kind |
/// |---|---|
/// | INVALID_ARGUMENT, OUT_OF_RANGE | `Invalid` |
/// | NOT_FOUND | `NotFound` |
/// | ALREADY_EXISTS, FAILED_PRECONDITION, ABORTED | `Conflict` |
/// | PERMISSION_DENIED, UNAUTHENTICATED, UNIMPLEMENTED | `Misconfigured` |
/// | any other code | `Indeterminate` |
/// | any code, with the proof of a [`Channel`](crate::Channel) or of [`refused`] | `NotExecuted`, `Rejected` |
///
/// A [`Channel`](crate::Channel) attaches the proof to the statuses that it returns. The proofs are: the deadline
/// passed before the request was sent, the connection could not be made or ended before it wrote a byte of the request,
/// RST_STREAM with REFUSED_STREAM before response headers, a GOAWAY whose last stream id is below that of the call, and
/// the header [`NOT_EXECUTED`](comms_core::wire::NOT_EXECUTED) of a comms-grpc server. The
/// channel also attaches a kind if the response was not gRPC, or if it forwards credentials
/// ([`ChannelBuilder::forwards_credentials`](crate::ChannelBuilder::forwards_credentials)). A status without a proof
/// never becomes `NotExecuted` or `Rejected`: the peer may have done the work before it sent UNAVAILABLE.
///
/// [`Error::retry_after`] is the `grpc-retry-pushback-ms` of the peer. A value that is negative, or is not a number, is
/// [`Duration::MAX`]: the peer allows no further attempt (gRFC A6). Without that metadata it is the delay of `RetryInfo`
/// in the details. For a call that a guard of this process refused, or that found no connection, it is the wait until the
/// guard, or the next connection attempt, can permit a call. [`Error::rejection`] is the guard of the
/// [`Channel`](crate::Channel) that refused the call. [`field_errors`] reads `BadRequest`.
///
/// A message that tonic did not decode because of its size (OUT_OF_RANGE with tonic's text) is `Indeterminate`: the
/// handler has run if the message was the response.
///
/// `status` becomes the cause of the error, with its message truncated to 4 KiB:
/// `error.cause().downcast_ref::<Status>()` has the code and the details.
#[must_use]
pub fn from_status(status: &Status) -> Error {
    let evidence = Evidence::of(status);
    let (kind, retry_after) = kind_and_wait(status, evidence.as_ref());
    let mut cause = without_evidence(status, evidence.is_some() || Refusal::of(status).is_some());
    if let Some(rejection) = evidence.and_then(|evidence| evidence.rejection) {
        cause.set_source(Arc::new(rejection));
    }
    let mut error = Error::new(kind, cause);
    error.retry_after = retry_after;
    error
}

/// Returns the kind of the error that `status` with `evidence` stands for, and the wait before another attempt.
pub(crate) fn kind_and_wait(status: &Status, evidence: Option<&Evidence>) -> (ErrorKind, Option<Duration>) {
    let kind = evidence.map(|evidence| evidence.kind).or_else(|| Refusal::of(status));
    let kind = kind.unwrap_or_else(|| match status.code() {
        Code::OutOfRange if status.message().starts_with(TOO_LARGE) => ErrorKind::Indeterminate,
        code => ErrorKind::from_grpc_code(code.into()),
    });
    (kind, evidence.and_then(|evidence| evidence.retry_after).or_else(|| pushback_of(status)))
}

/// The text of tonic for a message over its limit.
const TOO_LARGE: &str = "Error, decoded message length too large";

/// Returns `status` with a truncated message, and without the evidence, which is now the kind of the error.
fn without_evidence(status: &Status, has_evidence: bool) -> Status {
    if !has_evidence && status.message().len() <= MAX_MESSAGE {
        return status.clone();
    }
    let (details, metadata) = (status.details().to_vec(), status.metadata().clone());
    let message = truncate(status.message());
    Status::with_details_and_metadata(status.code(), message, details.into(), metadata)
}

/// Returns the wait that `status` requests. A value that is negative or not a number allows no further attempt (gRFC
/// A6).
fn pushback_of(status: &Status) -> Option<Duration> {
    let Some(value) = status.metadata().get(PUSHBACK) else { return details::retry_delay(status) };
    let millis = value.to_str().ok().and_then(|text| text.parse().ok());
    Some(millis.map_or(Duration::MAX, Duration::from_millis))
}

/// The proof that [`refused`] and [`Access`](crate::Access) attach to a status of this process.
///
/// It is another type than the [`Evidence`] of a channel, so that a forwarded status of a peer proves nothing.
#[derive(Debug)]
pub(crate) struct Refusal {
    kind: ErrorKind,
    /// The guard of this process that refused the call, if it was one.
    guard: Option<Guard>,
}

impl Refusal {
    /// Attaches `kind` to `status`. A receiver takes `NotExecuted` and `Rejected` for a reason to repeat the call; with
    /// another kind the code of the status decides.
    #[cfg(feature = "server")]
    pub(crate) fn attach(mut status: Status, kind: ErrorKind) -> Status {
        status.set_source(Arc::new(Self { kind, guard: None }));
        status
    }

    /// Returns the kind that [`refused`] attached to `status`, if there is one.
    pub(crate) fn of(status: &Status) -> Option<ErrorKind> {
        Some(Self::find(status)?.kind)
    }

    /// Returns whether `status` is the refusal of a guard that limits the load of this process.
    #[cfg(feature = "server")]
    pub(crate) fn is_overload(status: &Status) -> bool {
        let guard = Self::find(status).and_then(|refusal| refusal.guard);
        matches!(guard, Some(Guard::Bulkhead | Guard::Shed))
    }

    /// The routes of tonic wrap the error of a request body, so the refusal of a request can be further down the chain.
    fn find(status: &Status) -> Option<&Self> {
        error_chain(status).find_map(|error| error.downcast_ref())
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.guard {
            Some(guard) => write!(f, "refused as {} by the guard `{}`", self.kind, guard.as_str()),
            None => write!(f, "refused as {}", self.kind),
        }
    }
}

impl StdError for Refusal {}

fn log(error: &Error) {
    let (kind, chain) = (error.kind.as_str(), error.chain());
    match error.kind {
        ErrorKind::Misconfigured | ErrorKind::Internal | ErrorKind::Fatal => {
            tracing::error!(error = %chain, error.type = kind, "gRPC call failed; the caller gets a fixed message");
        }
        _ => {
            tracing::warn!(error = %chain, error.type = kind, "gRPC call failed; the caller gets a fixed message")
        }
    }
}

/// Returns the message that a peer gets for an error of `kind` without a public text.
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

/// Returns the name of `code` in the spelling of the gRPC specification and of the metrics.
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
