//! A policy as a tower layer.

use std::{
    future::Future,
    sync::Arc,
    task::{Context, Poll},
};

use tower_layer::Layer;
use tower_service::Service;

use super::{Call, Policy, PolicyOverrides, version::PolicyVersion};
use crate::resilience::Classify;

/// The tower layer of a [`Policy`], created by [`Policy::layer`].
#[derive(Debug, Clone)]
pub struct PolicyLayer<C> {
    source: VersionSource,
    classify: C,
}

/// Where a service gets the version of a call.
#[derive(Debug, Clone)]
struct VersionSource {
    policy: Policy,
    overrides: Option<Arc<PolicyOverrides>>,
}

impl VersionSource {
    /// Returns the current version, with its number.
    fn current(&self) -> (u64, Arc<PolicyVersion>) {
        let (number, version) = (self.policy.version_number(), self.policy.version());
        match &self.overrides {
            Some(overrides) => (number, Arc::new(version.overridden(overrides))),
            None => (number, version),
        }
    }
}

impl<C> PolicyLayer<C> {
    pub(super) const fn new(policy: Policy, classify: C) -> Self {
        Self { source: VersionSource { policy, overrides: None }, classify }
    }

    /// Sets other limits and retries for the calls of this layer. The calls keep the guards of the policy.
    #[must_use]
    pub fn overrides(mut self, overrides: PolicyOverrides) -> Self {
        self.source.overrides = Some(Arc::new(overrides));
        self
    }
}

impl<S, C: Clone> Layer<S> for PolicyLayer<C> {
    type Service = PolicyService<S, C>;

    fn layer(&self, inner: S) -> Self::Service {
        let (version_number, version) = self.source.current();
        PolicyService {
            inner,
            source: self.source.clone(),
            classify: self.classify.clone(),
            version_number,
            version,
        }
    }
}

/// A service under a [`Policy`].
///
/// The service is always ready. Each attempt waits for the readiness of a clone of the inner service, within its time
/// limit and after it has acquired a permit. So readiness reserves nothing, and a service that is dropped or cloned
/// after `poll_ready` leaks no permit.
#[derive(Clone)]
pub struct PolicyService<S, C> {
    inner: S,
    source: VersionSource,
    classify: C,
    /// The number of `version`. A call compares it with the policy's current number: one atomic read, no lock.
    version_number: u64,
    version: Arc<PolicyVersion>,
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
        if self.source.policy.version_number() != self.version_number {
            (self.version_number, self.version) = self.source.current();
        }
        Call::new(self.version.clone(), self.inner.clone(), request, self.classify.clone())
    }
}

impl<S, C> std::fmt::Debug for PolicyService<S, C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PolicyService").field("policy", &self.source.policy).finish_non_exhaustive()
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
