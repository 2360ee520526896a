//! A time limit around a future.

use pin_project_lite::pin_project;
use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use super::{Sleep, rounded};

pin_project! {
    /// A future with a time limit, created by [`Clock::timeout`](super::Clock::timeout).
    #[derive(Debug)]
    #[must_use = "a future does nothing unless it is polled"]
    pub struct Timeout<F> {
        #[pin]
        future: F,
        #[pin]
        sleep: Sleep,
        limit: Duration,
    }
}

impl<F> Timeout<F> {
    pub(super) const fn new(future: F, sleep: Sleep, limit: Duration) -> Self {
        Self { future, sleep, limit }
    }
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        // The future first: a result that is ready at the time limit is returned.
        if let Poll::Ready(output) = this.future.poll(cx) {
            return Poll::Ready(Ok(output));
        }
        this.sleep.poll(cx).map(|()| Err(Elapsed { limit: *this.limit }))
    }
}

/// The error of [`Clock::timeout`](super::Clock::timeout): the time limit passed before the future completed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not completed within {}", rounded(*.limit))]
pub struct Elapsed {
    limit: Duration,
}

impl Elapsed {
    /// Returns the time limit.
    #[must_use]
    pub const fn limit(&self) -> Duration {
        self.limit
    }
}
