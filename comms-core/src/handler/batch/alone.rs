//! A batch handler that is called with one delivery at a time.

use std::{
    pin::Pin,
    task::{Context as Cx, Poll, ready},
};

use pin_project_lite::pin_project;
use tower_service::Service;

use super::{BatchHandler, BatchResults, attempt::counted};
use crate::{Delivery, Error, Outcome};

/// The handler that calls a batch handler with each delivery alone.
#[derive(Clone)]
pub(super) struct Alone<H>(pub(super) H);

impl<H: BatchHandler> Service<Delivery> for Alone<H> {
    type Response = Outcome;
    type Error = Error;
    type Future = AloneFuture<H::Future>;

    fn poll_ready(&mut self, cx: &mut Cx<'_>) -> Poll<Result<(), Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, delivery: Delivery) -> Self::Future {
        AloneFuture { results: self.0.call(vec![delivery]) }
    }
}

pin_project! {
    pub(super) struct AloneFuture<F> {
        #[pin]
        results: F,
    }
}

impl<F: Future<Output = Result<BatchResults, Error>>> Future for AloneFuture<F> {
    type Output = Result<Outcome, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Cx<'_>) -> Poll<Self::Output> {
        let results = ready!(self.project().results.poll(cx))?;
        let result = counted(results, 1)?.pop();
        Poll::Ready(result.unwrap_or_else(|| Err(Error::internal("the batch handler returned no result"))))
    }
}
