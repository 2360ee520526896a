//! How a policy sees the calls of a channel. `hedged.rs`: the attempts of hedged calls.

mod hedged;

use std::sync::Arc;

use comms_core::resilience::{Class, Classify, Rejection};

pub(super) use hedged::{HedgedAttempts, hedged};

use super::{failure::Failure, request::CallRequest};

/// Classifies attempts by the evidence about them.
///
/// An attempt has succeeded when response headers have arrived: a failure in the middle of a response is not retried
/// (gRFC A6). A request whose body cannot be sent again is not retried.
#[derive(Debug, Clone)]
pub(super) struct ByEvidence {
    pub(super) peer: Arc<str>,
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

    fn is_local_refusal(&self, result: &Result<T, Failure>) -> bool {
        result.as_ref().err().is_some_and(Failure::is_local_refusal)
    }
}
