//! A policy as a tower layer.

use std::{
    future::Future,
    sync::Arc,
    task::{Context, Poll},
};

use tower_layer::Layer;
use tower_service::Service;

use super::{Call, Policy, parts::Parts};
use crate::resilience::Classify;

/// The tower layer of a [`Policy`], made by [`Policy::layer`].
#[derive(Debug, Clone)]
pub struct PolicyLayer<C> {
    policy: Policy,
    classify: C,
}

impl<C> PolicyLayer<C> {
    pub(super) const fn new(policy: Policy, classify: C) -> Self {
        Self { policy, classify }
    }
}

impl<S, C: Clone> Layer<S> for PolicyLayer<C> {
    type Service = PolicyService<S, C>;

    fn layer(&self, inner: S) -> Self::Service {
        let (policy, classify) = (self.policy.clone(), self.classify.clone());
        let (version, parts) = (policy.version(), policy.parts());
        PolicyService { inner, policy, classify, version, parts }
    }
}

/// A service under a [`Policy`]. It is always ready: each attempt readies a clone of the inner service, within its time
/// limit and after it has a seat. So readiness takes nothing, and a service that is readied and dropped, or cloned, leaks
/// nothing.
#[derive(Clone)]
pub struct PolicyService<S, C> {
    inner: S,
    policy: Policy,
    classify: C,
    /// The version that `parts` is of: a call reads one shared word to see that it is the newest.
    version: u64,
    parts: Arc<Parts>,
}

impl<S, R, C> Service<R> for PolicyService<S, C>
where
    S: Service<R> + Clone,
    C: Classify<R, S::Response, S::Error>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Call<S, R, C>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: R) -> Self::Future {
        let version = self.policy.version();
        if version != self.version {
            (self.version, self.parts) = (version, self.policy.parts());
        }
        Call::new(self.parts.clone(), self.inner.clone(), request, self.classify.clone())
    }
}

impl<S, C> std::fmt::Debug for PolicyService<S, C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PolicyService").field("policy", &self.policy).finish_non_exhaustive()
    }
}

/// A function as a service: always ready, and called once for each attempt.
pub(super) struct Function<F>(pub(super) F);

impl<F, Fut, T, E> Service<()> for Function<F>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    type Response = T;
    type Error = E;
    type Future = Fut;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), E>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, (): ()) -> Fut {
        (self.0)()
    }
}
