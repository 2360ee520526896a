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
/// `overrides`. `classify` decides about the call.
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
    let attempts = HedgedAttempts { inner: layer.layer(attempts.clone()), classify: classify.clone() };
    hedge.layer(classify.clone()).layer(attempts)
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
pub(in crate::client) struct HedgedAttempts {
    inner: PolicyService<Attempts, Once>,
    classify: ByEvidence,
}

impl Service<CallRequest> for HedgedAttempts {
    type Response = Answer;
    type Error = Failure;
    type Future = BoxFuture<'static, Result<Answer, Failure>>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    /// The hedge observes the deadline of the call. The policy observes the deadline that it does not know, as for a call
    /// without hedges, so that a peer that does not answer is a failure for the breaker.
    ///
    /// The attempt that decides the call marks it before the hedge drops the others, which then know that they have lost.
    fn call(&mut self, request: CallRequest) -> Self::Future {
        let (head, number) = (request.head.clone(), request.number());
        let deadline = head.hedged.as_ref().and_then(|hedged| hedged.policy_deadline);
        let context =
            deadline.map_or_else(Context::default, |deadline| Context::default().with_deadline(deadline));
        let (attempt, classify) = (context.scope(self.inner.call(request)), self.classify.clone());
        Box::pin(async move {
            let result = attempt.await;
            if decides(&classify, &result)
                && let Some(hedged) = &head.hedged
            {
                hedged.decide(number);
            }
            result
        })
    }
}

/// Returns whether the result of an attempt is that of the call, as the hedge decides.
fn decides(classify: &ByEvidence, result: &Result<Answer, Failure>) -> bool {
    let Err(failure) = result else { return true };
    let kind = failure.kind();
    !failure.is_local_refusal()
        && Classify::<CallRequest, Answer, Failure>::is_conclusive(classify, result, kind)
}
