//! A keyed rate limit as a tower layer.

use pin_project_lite::pin_project;
use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use tower_layer::Layer;
use tower_service::Service;

use super::{KeyedRateLimiter, RateLimitKey};
use crate::resilience::Rejection;

/// A tower layer that limits requests by key, created by [`KeyedRateLimiter::layer`].
#[derive(Debug, Clone)]
pub struct RateLimitLayer<K: RateLimitKey, F> {
    limiter: KeyedRateLimiter<K>,
    key: F,
}

impl<K: RateLimitKey, F> RateLimitLayer<K, F> {
    pub(super) const fn new(limiter: KeyedRateLimiter<K>, key: F) -> Self {
        Self { limiter, key }
    }
}

impl<S, K: RateLimitKey, F: Clone> Layer<S> for RateLimitLayer<K, F> {
    type Service = RateLimit<S, K, F>;

    fn layer(&self, inner: S) -> Self::Service {
        RateLimit { inner, limiter: self.limiter.clone(), key: self.key.clone() }
    }
}

/// A service whose requests are limited by key, created by a [`RateLimitLayer`].
#[derive(Debug, Clone)]
pub struct RateLimit<S, K: RateLimitKey, F> {
    inner: S,
    limiter: KeyedRateLimiter<K>,
    key: F,
}

impl<S, R, K, F> Service<R> for RateLimit<S, K, F>
where
    S: Service<R, Error: From<Rejection>> + Clone,
    K: RateLimitKey,
    F: Fn(&R) -> K,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = RateLimitCall<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> Self::Future {
        match self.limiter.check(&(self.key)(&request)) {
            Ok(()) => RateLimitCall { stage: Stage::Call { call: self.inner.call(request) } },
            Err(rejection) => {
                // Replace the ready service, so that a permit which `poll_ready` acquired is released.
                self.inner = self.inner.clone();
                RateLimitCall { stage: Stage::Rejected { rejection: Some(rejection) } }
            }
        }
    }
}

pin_project! {
    /// The future of a [`RateLimit`].
    #[must_use = "a call does nothing unless it is polled"]
    pub struct RateLimitCall<F> { #[pin] stage: Stage<F> }
}

pin_project! {
    #[project = StageProj]
    enum Stage<F> {
        Call { #[pin] call: F },
        Rejected { rejection: Option<Rejection> },
    }
}

impl<F, T, E> Future for RateLimitCall<F>
where
    F: Future<Output = Result<T, E>>,
    E: From<Rejection>,
{
    type Output = Result<T, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().stage.project() {
            StageProj::Call { call } => call.poll(cx),
            StageProj::Rejected { rejection } => match rejection.take() {
                Some(rejection) => Poll::Ready(Err(rejection.into())),
                None => Poll::Pending,
            },
        }
    }
}
