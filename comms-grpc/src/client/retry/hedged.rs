//! The attempts of a hedged call. The hedge of comms-core stands around the policy, which makes each attempt once.

use std::task::{Context as TaskContext, Poll};

use comms_core::{
    context::Context,
    resilience::{Class, Classify, Hedge, HedgeService, Policy, PolicyOverrides, PolicyService, Rejection},
};
use futures::future::BoxFuture;
use tower_layer::Layer;
use tower_service::Service;

use super::ByEvidence;
use crate::client::{
    attempt::{Answer, Attempts},
    failure::Failure,
    request::CallRequest,
};

/// Returns the service of the calls that `hedge` hedges. Each attempt passes the guards of `policy`, with the limits of
/// `overrides`.
pub(in crate::client) fn hedged(
    hedge: &Hedge,
    policy: &Policy,
    overrides: Option<PolicyOverrides>,
    attempts: &Attempts,
    classify: &ByEvidence,
) -> HedgeService<HedgedAttempts, ByEvidence> {
    let layer = policy.layer_with(Once(classify.clone()));
    let layer = match overrides {
        Some(overrides) => layer.overrides(overrides),
        None => layer,
    };
    hedge.layer(classify.clone()).layer(HedgedAttempts(layer.layer(attempts.clone())))
}

/// Classifies as [`ByEvidence`] does. The policy retries nothing, because it cannot send a request again.
#[derive(Debug, Clone)]
struct Once(ByEvidence);

impl<T> Classify<CallRequest, T, Failure> for Once {
    fn classify(&self, result: &Result<T, Failure>) -> Class {
        self.0.classify(result)
    }

    fn reject(&self, rejection: Rejection) -> Failure {
        Classify::<CallRequest, T, Failure>::reject(&self.0, rejection)
    }

    fn clone_request(&self, _: &CallRequest) -> Option<CallRequest> {
        None
    }
}

/// Makes the attempts of hedged calls.
#[derive(Debug, Clone)]
pub(in crate::client) struct HedgedAttempts(PolicyService<Attempts, Once>);

impl Service<CallRequest> for HedgedAttempts {
    type Response = Answer;
    type Error = Failure;
    type Future = BoxFuture<'static, Result<Answer, Failure>>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    /// The hedge observes the deadline of the call. The policy observes the deadline that it does not know, as for a call
    /// without hedges, so that a peer that does not answer is a failure for the breaker.
    fn call(&mut self, request: CallRequest) -> Self::Future {
        let deadline = request.head.hedged.as_ref().and_then(|hedged| hedged.policy_deadline);
        let context =
            deadline.map_or_else(Context::default, |deadline| Context::default().with_deadline(deadline));
        Box::pin(context.scope(self.0.call(request)))
    }
}
