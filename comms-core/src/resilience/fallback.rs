//! A lesser answer in place of an error: the graceful form of degradation.

use pin_project_lite::pin_project;
use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tower_layer::Layer;
use tower_service::Service;

use crate::{Error, telemetry};

/// Answers with `fallback` where the service fails. The fallback gets the cause, and may fail in turn. It stands
/// outside the [`Policy`](super::Policy), so that it is asked once, at the end, and no guard counts it.
///
/// ```
/// use comms_core::{Error, resilience::{FallbackLayer, Guard}};
/// use tower::{Layer, ServiceExt, service_fn};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Error> {
/// let prices = service_fn(|_: &str| async { Err::<u32, _>(Error::transient("away")) });
/// let cached = FallbackLayer::new("prices", |cause: Error| async move {
///     if cause.kind.is_retryable() { Ok(42) } else { Err(cause) }
/// });
/// assert_eq!(cached.layer(prices).oneshot("book").await?, 42);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct FallbackLayer<F> {
    name: Arc<str>,
    fallback: F,
}

impl<F> FallbackLayer<F> {
    /// `name` stands in the counter of calls that fell back.
    pub fn new(name: &str, fallback: F) -> Self {
        Self { name: name.into(), fallback }
    }
}

impl<S, F: Clone> Layer<S> for FallbackLayer<F> {
    type Service = Fallback<S, F>;

    fn layer(&self, inner: S) -> Self::Service {
        Fallback { inner, name: self.name.clone(), fallback: self.fallback.clone() }
    }
}

/// A service with a fallback, made by a [`FallbackLayer`].
#[derive(Debug, Clone)]
pub struct Fallback<S, F> {
    inner: S,
    name: Arc<str>,
    fallback: F,
}

impl<S, R, F, Fut> Service<R> for Fallback<S, F>
where
    S: Service<R, Error = Error>,
    F: Fn(Error) -> Fut + Clone,
    Fut: Future<Output = Result<S::Response, Error>>,
{
    type Response = S::Response;
    type Error = Error;
    type Future = FallbackCall<S::Future, F, Fut>;

    /// A service that is not well is ready to fall back.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let (name, fallback) = (self.name.clone(), self.fallback.clone());
        FallbackCall { stage: Stage::Call { call: self.inner.call(request), name, fallback } }
    }
}

pin_project! {
    /// The future of a [`Fallback`].
    #[must_use = "a call does nothing unless it is polled"]
    pub struct FallbackCall<C, F, Fut> { #[pin] stage: Stage<C, F, Fut> }
}

pin_project! {
    #[project = StageProj]
    enum Stage<C, F, Fut> {
        Call { #[pin] call: C, name: Arc<str>, fallback: F },
        Fallback { #[pin] answer: Fut },
    }
}

impl<T, C, F, Fut> Future for FallbackCall<C, F, Fut>
where
    C: Future<Output = Result<T, Error>>,
    F: Fn(Error) -> Fut,
    Fut: Future<Output = Result<T, Error>>,
{
    type Output = Result<T, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match this.stage.as_mut().project() {
                StageProj::Call { call, name, fallback } => {
                    let cause = match ready!(call.poll(cx)) {
                        Ok(answer) => return Poll::Ready(Ok(answer)),
                        Err(cause) => cause,
                    };
                    tracing::debug!(name = &**name, %cause, "falling back");
                    metrics::counter!(telemetry::CALL_FALLBACKS, "name" => name.to_string()).increment(1);
                    let answer = fallback(cause);
                    this.stage.set(Stage::Fallback { answer });
                }
                StageProj::Fallback { answer } => return answer.poll(cx),
            }
        }
    }
}
