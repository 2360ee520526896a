//! Proof that a failed call was not executed, attached to the [`Status`] of the call.
//!
//! A status code is no proof. Servers send UNAVAILABLE for a call that they refused and for a call that failed while
//! the handler ran, and proxies create codes as well. The channel therefore attaches [`Evidence`] to the statuses that
//! it returns, as the source of the status. A source is never sent, so a handler that forwards the status of a peer
//! does not forward the proof.
//!
//! A call is `NotExecuted` or `Rejected` only with one of these proofs:
//!
//! | proof | reason |
//! |---|---|
//! | the deadline passed before the request was sent | nothing was sent |
//! | the connection could not be made | nothing was sent |
//! | the connection ended before it wrote a byte of the headers of the request | nothing was sent |
//! | no stream was free before the deadline | nothing was sent |
//! | RST_STREAM with REFUSED_STREAM, before response headers | RFC 9113, section 8.7 |
//! | GOAWAY with a last stream id below the id of the call's stream | RFC 9113, section 6.8. h2 reports a peer's GOAWAY as the error of a stream only to streams above that id. Other streams continue, and fail with an I/O error if the connection is cut |
//! | the header [`NOT_EXECUTED`](comms_core::wire::NOT_EXECUTED) in a response without a body | the server of comms-grpc sets it on a call that it refuses before a handler runs |

use std::{error::Error as StdError, fmt, iter, sync::Arc, time::Duration};

use comms_core::{ErrorKind, resilience::Rejection};
use h2::Reason;
use tonic::Status;

/// What is known about a failed call and does not follow from its status.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Evidence {
    pub(crate) kind: ErrorKind,
    /// The wait until another attempt can succeed, if this process determined it.
    pub(crate) retry_after: Option<Duration>,
    /// The guard of this process that refused the call or ended it.
    pub(crate) rejection: Option<Rejection>,
}

impl From<ErrorKind> for Evidence {
    fn from(kind: ErrorKind) -> Self {
        Self { kind, retry_after: None, rejection: None }
    }
}

impl From<Rejection> for Evidence {
    fn from(rejection: Rejection) -> Self {
        let retry_after = rejection.retry_after;
        Self { kind: rejection.guard.kind(), retry_after, rejection: Some(rejection) }
    }
}

impl Evidence {
    /// Attaches `evidence` to `status`.
    pub(crate) fn attach(mut status: Status, evidence: impl Into<Self>) -> Status {
        status.set_source(Arc::new(evidence.into()));
        status
    }

    /// Returns the evidence that is attached to `status`, if there is any.
    pub(crate) fn of(status: &Status) -> Option<Self> {
        error_chain(status).find_map(|error| error.downcast_ref().copied())
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "evidence for {}", self.kind)
    }
}

impl StdError for Evidence {}

/// Returns whether `error`, a failure of the transport before response headers, proves that no handler ran.
pub(crate) fn proves_not_executed(error: &(dyn StdError + 'static)) -> bool {
    error_chain(error).any(|error| error.downcast_ref().is_some_and(is_refused_stream))
}

fn is_refused_stream(error: &h2::Error) -> bool {
    error.is_remote() && (error.is_go_away() || error.reason() == Some(Reason::REFUSED_STREAM))
}

/// Iterates over `error` and its sources.
pub(crate) fn error_chain<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    iter::successors(Some(error), |&error| error.source())
}
