//! Hedged calls as a tower layer.

use std::task::{Context, Poll};

use tower_layer::Layer;
use tower_service::Service;

use super::{Hedge, HedgeCall};
use crate::resilience::Classify;

/// A tower layer that hedges calls, created by [`Hedge::layer`].
#[derive(Debug, Clone)]
pub struct HedgeLayer<C> {
    hedge: Hedge,
    classify: C,
}

impl<C> HedgeLayer<C> {
    pub(super) const fn new(hedge: Hedge, classify: C) -> Self {
        Self { hedge, classify }
    }
}

impl<S, C: Clone> Layer<S> for HedgeLayer<C> {
    type Service = HedgeService<S, C>;

    fn layer(&self, inner: S) -> Self::Service {
        HedgeService { inner, hedge: self.hedge.clone(), classify: self.classify.clone() }
    }
}

/// A service whose calls are hedged, created by a [`HedgeLayer`].
///
/// The service is always ready. Each attempt waits for the readiness of a clone of the inner service.
#[derive(Debug, Clone)]
pub struct HedgeService<S, C> {
    inner: S,
    hedge: Hedge,
    classify: C,
}

impl<S, R, C> Service<R> for HedgeService<S, C>
where
    S: Service<R> + Clone,
    C: Classify<R, S::Response, S::Error>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = HedgeCall<S, R, C>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: R) -> Self::Future {
        HedgeCall::new(self.hedge.clone(), self.inner.clone(), request, self.classify.clone())
    }
}
