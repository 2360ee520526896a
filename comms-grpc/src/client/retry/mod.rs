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
    /// The status codes of a service config after which another attempt may follow: those to retry, or the non-fatal ones of
    /// a hedged call. `None`: the kind decides alone.
    pub(super) retryable: Option<StatusCodes>,
}

impl ByEvidence {
    /// Returns whether a service config lists the code of `result`. `None`: the kind decides alone.
    fn is_listed<T>(&self, result: &Result<T, Failure>) -> Option<bool> {
        let codes = self.retryable?;
        let failure = result.as_ref().err()?;
        Some(codes.contains(failure.listed_as()?))
    }
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
        match (self.is_listed(result), kind) {
            (None, kind) => kind.retry(),
            (Some(false), _) => Retry::No,
            (Some(true), ErrorKind::NotExecuted | ErrorKind::Rejected) => Retry::Yes,
            (Some(true), _) => Retry::IfRepeatable,
        }
    }

    /// A code that is not listed is fatal (gRFC A6), unless the attempt was provably not executed: such a failure would
    /// hide that another attempt may have been executed.
    fn is_conclusive(&self, result: &Result<T, Failure>, kind: ErrorKind) -> bool {
        match self.is_listed(result) {
            Some(listed) => !listed && !matches!(kind, ErrorKind::NotExecuted | ErrorKind::Rejected),
            None => kind.is_conclusive(),
        }
    }

    fn is_local_refusal(&self, result: &Result<T, Failure>) -> bool {
        result.as_ref().err().is_some_and(Failure::is_local_refusal)
    }
}
