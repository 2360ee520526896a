//! A shedder as a tower layer.

use pin_project_lite::pin_project;
use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tower_layer::Layer;
use tower_service::Service;

use super::{ShedPermit, Shedder};
use crate::{Error, context::Context as CallContext, resilience::Rejection};

/// A tower layer that sheds requests by priority, created by [`Shedder::layer`].
#[derive(Debug, Clone)]
pub struct ShedLayer {
    shedder: Shedder,
}

impl ShedLayer {
    pub(super) const fn new(shedder: Shedder) -> Self {
        Self { shedder }
    }
}

impl<S> Layer<S> for ShedLayer {
    type Service = Shed<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Shed { inner, shedder: self.shedder.clone() }
    }
}

/// A service whose requests are shed by priority, created by a [`ShedLayer`].
#[derive(Debug, Clone)]
pub struct Shed<S> {
    inner: S,
    shedder: Shedder,
}

impl<S, R> Service<R> for Shed<S>
where
    S: Service<R, Error = Error> + Clone,
{
    type Response = S::Response;
    type Error = Error;
    type Future = ShedCall<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> Self::Future {
        match self.shedder.try_acquire(CallContext::current().priority) {
            Ok(permit) => {
                ShedCall { stage: Stage::Call { call: self.inner.call(request), permit: Some(permit) } }
            }
            Err(rejection) => {
                // Replace the ready service, so that a permit which `poll_ready` acquired is released.
                self.inner = self.inner.clone();
                ShedCall { stage: Stage::Rejected { rejection: Some(rejection) } }
            }
        }
    }
}

pin_project! {
    /// The future of a [`Shed`]. Dropping it releases the permit.
    #[must_use = "a call does nothing unless it is polled"]
    pub struct ShedCall<F> { #[pin] stage: Stage<F> }
}

pin_project! {
    #[project = StageProj]
    enum Stage<F> {
        Call { #[pin] call: F, permit: Option<ShedPermit> },
        Rejected { rejection: Option<Rejection> },
    }
}

impl<F, T> Future for ShedCall<F>
where
    F: Future<Output = Result<T, Error>>,
{
    type Output = Result<T, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().stage.project() {
            StageProj::Call { call, permit } => {
                let result = ready!(call.poll(cx));
                if let Some(permit) = permit.take() {
                    permit.result(&result);
                }
                Poll::Ready(result)
            }
            StageProj::Rejected { rejection } => match rejection.take() {
                Some(rejection) => Poll::Ready(Err(rejection.into())),
                None => Poll::Pending,
            },
        }
    }
}
