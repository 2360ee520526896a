//! The classification of results, on which breaker, retry and budget depend.

use std::time::Duration;

use super::Rejection;
use crate::{Error, ErrorKind, resilience::Retry};

/// The class of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// The call succeeded.
    Success,
    /// The call failed.
    Failure {
        /// The kind of the failure, which determines whether the policy retries and whether the breaker counts a
        /// failure: see the table of [`ErrorKind`].
        kind: ErrorKind,
        /// The wait that the peer requested (pushback). The policy waits exactly this long, without jitter.
        retry_after: Option<Duration>,
    },
}

/// Adapts a [`Policy`](super::Policy) to a protocol: classifies results, builds the error of a rejected call, and
/// clones requests for retries.
///
/// Implement the trait if failures are responses (a gRPC status over HTTP, an HTTP status), if the error type is not
/// [`Error`], or if requests are not `Clone`. [`Policy::layer`](super::Policy::layer) uses [`ByKind`] for all other
/// services; [`Policy::layer_with`](super::Policy::layer_with) takes another implementation.
///
/// ```
/// use comms_core::{Error, ErrorKind, http::{Method, Request, Response}};
/// use comms_core::resilience::{Class, Classify, Policy, Rejection};
///
/// /// Counts each 5xx status as a failure that may have been executed.
/// #[derive(Clone)]
/// struct ByStatus;
/// impl Classify<Request<String>, Response<String>, Error> for ByStatus {
///     fn classify(&self, result: &Result<Response<String>, Error>) -> Class {
///         match result {
///             Ok(response) if response.status().is_server_error() => {
///                 Class::Failure { kind: ErrorKind::Indeterminate, retry_after: None }
///             }
///             Ok(_) => Class::Success,
///             Err(error) => Class::Failure { kind: error.kind, retry_after: error.retry_after },
///         }
///     }
///     fn reject(&self, rejection: Rejection) -> Error { rejection.into() }
///     fn clone_request(&self, request: &Request<String>) -> Option<Request<String>> { Some(request.clone()) }
///     fn is_idempotent(&self, request: &Request<String>) -> bool { request.method() == Method::GET }
/// }
/// let layer = Policy::interactive("payments").layer_with(ByStatus);
/// ```
pub trait Classify<R, T, E>: Clone + Send + Sync + 'static {
    /// Returns the class of `result`.
    fn classify(&self, result: &Result<T, E>) -> Class;

    /// Returns the error of a call that a guard rejected.
    fn reject(&self, rejection: Rejection) -> E;

    /// Clones the request for an attempt after which another one may follow. `None`: the request can be sent only once,
    /// and the call is not retried.
    fn clone_request(&self, request: &R) -> Option<R>;

    /// Returns whether executing this request twice is harmless: it carries an idempotency key for this call, or its
    /// method is idempotent. Then the policy retries a call whose answer was lost. Default `false`;
    /// [`RetryConfig::idempotent`](super::RetryConfig::idempotent) sets it for all calls of a policy.
    fn is_idempotent(&self, request: &R) -> bool {
        let _ = request;
        false
    }

    /// Returns when the policy retries an attempt that ended with `result`, a failure of the kind `kind`, or when a
    /// [`Hedge`](super::Hedge) sends another attempt because of it. Default: as the table of [`ErrorKind`] determines.
    ///
    /// Implement it for a protocol whose settings name the failures to retry, such as the retryable status codes of gRPC.
    fn retry(&self, result: &Result<T, E>, kind: ErrorKind) -> Retry {
        let _ = result;
        kind.retry()
    }

    /// Returns whether `result`, a failure of the kind `kind`, is the result of a [hedged](super::Hedge) call, which then
    /// ends although other attempts are in flight. Default: [`ErrorKind::is_conclusive`].
    ///
    /// Implement it, together with [`retry`](Self::retry), for a protocol whose settings name these failures, such as the
    /// non-fatal status codes of gRPC.
    fn is_conclusive(&self, result: &Result<T, E>, kind: ErrorKind) -> bool {
        let _ = result;
        kind.is_conclusive()
    }

    /// Returns whether a guard of this process refused the attempt, so that nothing was sent. A
    /// [`Hedge`](super::Hedge) then takes the token of the attempt back. Default `false`.
    fn is_local_refusal(&self, result: &Result<T, E>) -> bool {
        let _ = result;
        false
    }
}

/// Classifies results by [`Error::kind`], for services whose error is [`Error`] and whose requests are `Clone`.
#[derive(Debug, Clone, Copy, Default)]
pub struct ByKind {
    idempotent: bool,
}

impl ByKind {
    /// Returns a classifier for requests that are all idempotent: each carries an idempotency key for this call,
    /// or has the same effect however often it is executed.
    #[must_use]
    pub const fn idempotent() -> Self {
        Self { idempotent: true }
    }
}

impl<R: Clone, T> Classify<R, T, Error> for ByKind {
    fn classify(&self, result: &Result<T, Error>) -> Class {
        match result {
            Ok(_) => Class::Success,
            // A guard inside of the service rejected the call: its wait is not a pushback of the peer, so this policy
            // must not wait and retry.
            Err(error) if error.rejection().is_some() => {
                Class::Failure { kind: error.kind, retry_after: None }
            }
            Err(error) => Class::Failure { kind: error.kind, retry_after: error.retry_after },
        }
    }

    fn reject(&self, rejection: Rejection) -> Error {
        rejection.into()
    }

    fn clone_request(&self, request: &R) -> Option<R> {
        Some(request.clone())
    }

    fn is_idempotent(&self, _: &R) -> bool {
        self.idempotent
    }

    fn is_local_refusal(&self, result: &Result<T, Error>) -> bool {
        let rejection = result.as_ref().err().and_then(Error::rejection);
        rejection.is_some_and(|rejection| rejection.guard.kind() == ErrorKind::Rejected)
    }
}
