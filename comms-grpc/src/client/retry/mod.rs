//! How a policy sees the calls of a channel. `hedged.rs`: the attempts of hedged calls.

mod hedged;

use std::sync::Arc;

use comms_core::{
    ErrorKind,
    resilience::{Class, Classify, Rejection, Retry},
};

pub(super) use hedged::{HedgedAttempts, hedged};

use super::{failure::Failure, request::CallRequest, service_config::StatusCodes};

/// Classifies attempts by the evidence about them.
///
/// An attempt has succeeded when response headers have arrived: a failure in the middle of a response is not retried
/// (gRFC A6). A request whose body cannot be sent again is not retried.
#[derive(Debug, Clone)]
pub(super) struct ByEvidence {
    pub(super) peer: Arc<str>,
    /// The status codes that a service config permits to retry. `None`: the kind decides alone.
    pub(super) retryable: Option<StatusCodes>,
}

impl<T> Classify<CallRequest, T, Failure> for ByEvidence {
    fn classify(&self, result: &Result<T, Failure>) -> Class {
        result.as_ref().map_or_else(Failure::class, |_| Class::Success)
    }

    fn reject(&self, rejection: Rejection) -> Failure {
        Failure::rejected(&self.peer, rejection)
    }

    fn clone_request(&self, request: &CallRequest) -> Option<CallRequest> {
        request.next_attempt()
    }

    fn is_idempotent(&self, request: &CallRequest) -> bool {
        request.head.idempotent
    }

    /// A listed code permits a retry, and the evidence decides whether the retry is safe.
    fn retry(&self, result: &Result<T, Failure>, kind: ErrorKind) -> Retry {
        let listed =
            |codes: StatusCodes| result.as_ref().is_err_and(|failure| codes.contains(failure.listed_as()));
        match (self.retryable.map(listed), kind) {
            (None, kind) => kind.retry(),
            (Some(false), _) => Retry::No,
            (Some(true), ErrorKind::NotExecuted | ErrorKind::Rejected) => Retry::Yes,
            (Some(true), _) => Retry::IfRepeatable,
        }
    }

    fn is_local_refusal(&self, result: &Result<T, Failure>) -> bool {
        result.as_ref().err().is_some_and(Failure::is_local_refusal)
    }
}
