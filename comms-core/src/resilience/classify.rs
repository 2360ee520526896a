//! What a policy must know of requests and results: one answer for breaker, retry and budget.

use std::time::Duration;

use super::Rejection;
use crate::{Error, ErrorKind};

/// The meaning of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// It worked.
    Success,
    /// It failed.
    Failure {
        /// What the failure means; breaker and retry follow from it, see [`ErrorKind`].
        kind: ErrorKind,
        /// Pushback: the wait that the peer asked for. Honoured exactly, without jitter.
        retry_after: Option<Duration>,
    },
}

/// Knows a protocol: reads the results of a service, speaks its error type when a guard says no, and sends a request
/// again. Implement it where failures come as responses (gRPC over HTTP, an HTTP status), or where requests are not
/// `Clone`.
pub trait Classify<R, T, E>: Clone + Send + Sync + 'static {
    /// What `result` means.
    fn classify(&self, result: &Result<T, E>) -> Class;

    /// The error that stands for `rejection`.
    fn reject(&self, rejection: Rejection) -> E;

    /// The request once more, where it can be sent again; asked only where another attempt may follow.
    fn again(&self, request: &R) -> Option<R>;

    /// Whether this request may be made twice, though its answer was lost: it carries an idempotency key of its own, or
    /// its method is idempotent. Default: no, but where the policy says so of all its calls.
    fn is_idempotent(&self, request: &R) -> bool {
        let _ = request;
        false
    }
}

/// Classifies by [`Error::kind`]: for every service whose error is [`Error`] and whose requests are `Clone`.
#[derive(Debug, Clone, Copy, Default)]
pub struct ByKind {
    idempotent: bool,
}

impl ByKind {
    /// For requests that may all be made twice: each carries an idempotency key, or has the same effect however often
    /// it comes.
    #[must_use]
    pub const fn idempotent() -> Self {
        Self { idempotent: true }
    }
}

impl<R: Clone, T> Classify<R, T, Error> for ByKind {
    fn classify(&self, result: &Result<T, Error>) -> Class {
        match result {
            Ok(_) => Class::Success,
            // A guard further in said no: its wait is not pushback, and asking again is the outer caller's.
            Err(error) if error.rejection().is_some() => {
                Class::Failure { kind: error.kind, retry_after: None }
            }
            Err(error) => Class::Failure { kind: error.kind, retry_after: error.retry_after },
        }
    }

    fn reject(&self, rejection: Rejection) -> Error {
        rejection.into()
    }

    fn again(&self, request: &R) -> Option<R> {
        Some(request.clone())
    }

    fn is_idempotent(&self, _: &R) -> bool {
        self.idempotent
    }
}
