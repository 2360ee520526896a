//! A substitute response for a failed call (graceful degradation).

use pin_project_lite::pin_project;
use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tower_layer::Layer;
use tower_service::Service;

use super::name::intern;
use crate::{Error, telemetry};

/// A tower layer that calls a fallback function when the service fails.
///
/// The fallback receives the request and the error. Its result becomes the result of the call; it may fail in turn.
/// Place the layer outside of the [`Policy`](super::Policy): the fallback then runs once, after the last attempt, and
/// the breaker counts the failure of the service and not the success of the fallback.
///
/// ```
/// use comms_core::{Error, resilience::{FallbackLayer, Guard}};
/// use tower::{Layer, ServiceExt, service_fn};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Error> {
/// let prices = service_fn(|_: &'static str| async { Err::<u32, _>(Error::not_executed("away")) });
/// let cached = FallbackLayer::new("prices", |book: &'static str, cause: Error| async move {
///     if book == "atlas" { Ok(42) } else { Err(cause) }
/// });
/// assert_eq!(cached.layer(prices).oneshot("atlas").await?, 42);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct FallbackLayer<F> {
    name: &'static str,
    fallback: F,
}

impl<F> FallbackLayer<F> {
    /// Creates the layer. `name` is a label of the counter of calls that used the fallback.
    pub fn new(name: &str, fallback: F) -> Self {
        Self { name: intern(name), fallback }
    }
}

impl<S, F: Clone> Layer<S> for FallbackLayer<F> {
    type Service = Fallback<S, F>;

    fn layer(&self, inner: S) -> Self::Service {
        Fallback { inner, readiness_error: None, name: self.name, fallback: self.fallback.clone() }
    }
}

/// A service with a fallback, created by a [`FallbackLayer`].
#[derive(Debug)]
pub struct Fallback<S, F> {
    inner: S,
    /// The error of the inner `poll_ready`, for the fallback of the next call.
    readiness_error: Option<Error>,
    name: &'static str,
    fallback: F,
}

impl<S: Clone, F: Clone> Clone for Fallback<S, F> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            readiness_error: None,
            name: self.name,
            fallback: self.fallback.clone(),
        }
    }
}

impl<S, R, F, Fut> Service<R> for Fallback<S, F>
where
    S: Service<R, Error = Error>,
    R: Clone,
    F: Fn(R, Error) -> Fut + Clone,
    Fut: Future<Output = Result<S::Response, Error>>,
{
    type Response = S::Response;
    type Error = Error;
    type Future = FallbackCall<S::Future, R, F, Fut>;

    /// Always succeeds: an error of the inner service is passed to the fallback of the next call.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if self.readiness_error.is_none() {
            self.readiness_error = ready!(self.inner.poll_ready(cx)).err();
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: R) -> Self::Future {
        let (name, fallback) = (self.name, self.fallback.clone());
        let stage = match self.readiness_error.take() {
            Some(cause) => Stage::Fallback { answer: fall_back(name, &fallback, request, cause) },
            None => {
                Stage::Call { call: self.inner.call(request.clone()), request: Some(request), name, fallback }
            }
        };
        FallbackCall { stage }
    }
}

fn fall_back<R, Fut>(
    name: &'static str,
    fallback: &impl Fn(R, Error) -> Fut,
    request: R,
    cause: Error,
) -> Fut {
    tracing::debug!(name, cause = %cause.chain(), "call failed, using the fallback");
    metrics::counter!(telemetry::CALL_FALLBACKS, "name" => name).increment(1);
    fallback(request, cause)
}

pin_project! {
    /// The future of a [`Fallback`].
    #[must_use = "a call does nothing unless it is polled"]
    pub struct FallbackCall<C, R, F, Fut> { #[pin] stage: Stage<C, R, F, Fut> }
}

pin_project! {
    #[project = StageProj]
    enum Stage<C, R, F, Fut> {
        Call { #[pin] call: C, request: Option<R>, name: &'static str, fallback: F },
        Fallback { #[pin] answer: Fut },
    }
}

impl<T, C, R, F, Fut> Future for FallbackCall<C, R, F, Fut>
where
    C: Future<Output = Result<T, Error>>,
    F: Fn(R, Error) -> Fut,
    Fut: Future<Output = Result<T, Error>>,
{
    type Output = Result<T, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match this.stage.as_mut().project() {
                StageProj::Call { call, request, name, fallback } => {
                    let cause = match ready!(call.poll(cx)) {
                        Ok(answer) => return Poll::Ready(Ok(answer)),
                        Err(cause) => cause,
                    };
                    // Always present: this stage ends here.
                    let Some(request) = request.take() else { return Poll::Ready(Err(cause)) };
                    let answer = fall_back(name, fallback, request, cause);
                    this.stage.set(Stage::Fallback { answer });
                }
                StageProj::Fallback { answer } => return answer.poll(cx),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tower::{ServiceExt, service_fn};

    #[tokio::test]
    async fn the_fallback_answers_for_a_service_that_fails_or_is_not_ready() {
        let layer = FallbackLayer::new("f", |n: u32, cause: Error| async move {
            if n == 0 { Err(cause.context("no fallback for 0")) } else { Ok(n * 10) }
        });
        let service = layer.layer(service_fn(|n: u32| async move {
            if n == 1 { Ok(1) } else { Err(Error::not_executed("away")) }
        }));
        assert_eq!(service.clone().oneshot(1).await.unwrap(), 1);
        assert_eq!(service.clone().oneshot(2).await.unwrap(), 20);
        let error = service.oneshot(0).await.unwrap_err();
        assert_eq!(error.chain().to_string(), "not_executed: no fallback for 0: away");

        #[derive(Clone)]
        struct Unready;
        impl Service<u32> for Unready {
            type Response = u32;
            type Error = Error;
            type Future = std::future::Ready<Result<u32, Error>>;
            fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
                Poll::Ready(Err(Error::not_executed("no connection")))
            }
            fn call(&mut self, _: u32) -> Self::Future {
                unreachable!("it was never ready")
            }
        }
        assert_eq!(layer.layer(Unready).oneshot(3).await.unwrap(), 30);
    }
}
