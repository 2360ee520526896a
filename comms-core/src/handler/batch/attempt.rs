//! One call of a batch handler with a batch, in one allocation.

use std::{
    future::Future,
    pin::Pin,
    task::{Context as Cx, Poll, ready},
};

use tracing::Span;

use super::{BatchHandler, BatchResults};
use crate::{
    Delivery, Error,
    context::Source,
    handler::attempt::{Cell, Input, Limited, Running},
};

/// One call of a batch handler: the wait until the handler is ready, the call, and its future.
///
/// The call runs in the context of no message. Panics are errors, as in [`Attempt`](crate::transport::Attempt).
pub(crate) struct BatchAttempt {
    running: Pin<Box<dyn Running<BatchResults>>>,
    sent: usize,
}

impl BatchAttempt {
    pub(super) fn new<S: BatchHandler>(handler: &S, deliveries: Vec<Delivery>, span: Span) -> Self {
        let sent = deliveries.len();
        let input = Many(Ok(deliveries));
        Self { running: Box::pin(Cell::new(handler, input, Source::None, span)), sent }
    }
}

impl Future for BatchAttempt {
    type Output = Result<BatchResults, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Cx<'_>) -> Poll<Self::Output> {
        let results = ready!(self.running.as_mut().poll_end(cx))?;
        Poll::Ready(counted(results, self.sent))
    }
}

impl Limited for BatchAttempt {
    fn is_called(&self) -> bool {
        self.running.is_called()
    }
}

/// Returns `results` if there is one for each of the `sent` deliveries.
pub(super) fn counted(results: BatchResults, sent: usize) -> Result<BatchResults, Error> {
    match results.len() == sent {
        true => Ok(results),
        false => Err(Error::internal(format!(
            "the batch handler returned {} results for {sent} deliveries",
            results.len()
        ))),
    }
}

struct Many(Result<Vec<Delivery>, Error>);

impl Input for Many {
    type Request = Vec<Delivery>;

    fn fail(&mut self, error: Error) {
        self.0 = Err(error);
    }

    fn failed(&mut self) -> Option<Error> {
        match &mut self.0 {
            Ok(_) => None,
            failed => std::mem::replace(failed, Ok(Vec::new())).err(),
        }
    }

    fn request(&mut self) -> Result<Vec<Delivery>, Error> {
        std::mem::replace(&mut self.0, Ok(Vec::new()))
    }
}
