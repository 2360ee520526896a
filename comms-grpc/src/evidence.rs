//! What is known about a failed call beyond its status code: in particular, whether a handler can have run.
//!
//! A status code does not say that. Servers send UNAVAILABLE for a call that they refused and for a call that failed
//! in its middle, and proxies make up codes of their own. The channel therefore attaches [`Evidence`] to the statuses
//! that it returns. Evidence is the source of the status: it never goes on the wire, so a handler that forwards a
//! peer's status does not forward the proof.
//!
//! `NotExecuted` and `Rejected` are claimed for a call only with one of these proofs:
//!
//! | proof | why it is one |
//! |---|---|
//! | the connection could not be made | nothing was sent |
//! | hyper cancelled the request | the request was still queued in this process when its connection ended |
//! | RST_STREAM with REFUSED_STREAM, before response headers | RFC 9113, section 8.7 |
//! | GOAWAY with a last stream id below the call's | RFC 9113, section 6.8. h2 gives a peer's GOAWAY as the error of a stream only to streams above that id; the others go on, and fail with an I/O error if the connection is cut |
//! | the header [`NOT_EXECUTED`](comms_core::wire::NOT_EXECUTED) in a response without a body | comms-grpc's server sets it on what it refuses before a handler runs |
//!
//! One case is weaker: if a GOAWAY arrives in the instant in which hyper opens the stream, the peer may have received
//! the request's headers. It has not received a message then, so only the handler of a client-streaming method can
//! have started, and it was cancelled before its first message.

use std::{error::Error as StdError, fmt, iter, sync::Arc};

use comms_core::ErrorKind;
use h2::Reason;
use tonic::{ConnectError, Status};

/// The kind of a failed call, where it does not follow from the status code.
pub(crate) struct Evidence(ErrorKind);

impl Evidence {
    /// `status`, as a failure of `kind`.
    pub(crate) fn attach(mut status: Status, kind: ErrorKind) -> Status {
        status.set_source(Arc::new(Self(kind)));
        status
    }

    /// The kind attached to `status`, if there is one.
    pub(crate) fn of(status: &Status) -> Option<ErrorKind> {
        chain(status).find_map(|error| error.downcast_ref().map(|Self(kind)| *kind))
    }
}

impl fmt::Debug for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "known as {}", self.0)
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl StdError for Evidence {}

/// Whether `error`, a failure of the transport before response headers, proves that no handler ran.
pub(crate) fn proves_unexecuted(error: &(dyn StdError + 'static)) -> bool {
    chain(error).any(|error| {
        error.is::<ConnectError>()
            || error.downcast_ref().is_some_and(hyper::Error::is_canceled)
            || error.downcast_ref().is_some_and(refused)
    })
}

fn refused(error: &h2::Error) -> bool {
    error.is_remote() && (error.is_go_away() || error.reason() == Some(Reason::REFUSED_STREAM))
}

/// `error` and its sources.
pub(crate) fn chain<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    iter::successors(Some(error), |&error| error.source())
}
