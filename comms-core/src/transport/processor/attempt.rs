//! One attempt of a delivery, with its time limits.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    task::Poll,
};

use tokio::{runtime::Handle, task::JoinHandle};

use super::{Processor, meters::Place, structured};
use crate::{
    Delivery, Error, Outcome,
    clock::rounded,
    handler::Limited,
    transport::{Attempt, BoxBatchHandler},
};

impl Processor {
    /// Begins an attempt with `delivery`. An envelope is decoded first.
    #[inline]
    pub(in crate::transport) fn begin(&self, delivery: Delivery) -> Attempt {
        let opened = structured::open(&delivery);
        self.handler.attempt(delivery, opened, &self.clock)
    }

    /// Returns the batch handler, if the processor has one.
    pub(in crate::transport) const fn batch_handler(&self) -> Option<&BoxBatchHandler> {
        self.batch.as_ref()
    }

    /// Returns the delivery that the handler gets for `delivery`: with its event, if it has an envelope.
    ///
    /// # Errors
    /// Returns the error of an envelope that cannot be decoded.
    #[inline]
    pub(in crate::transport) fn opened(delivery: &Delivery) -> Result<Delivery, Error> {
        match structured::open(delivery) {
            Some(opened) => *opened,
            None => Ok(delivery.clone()),
        }
    }

    pub(super) async fn attempt(&self, delivery: &Delivery, in_task: bool) -> Result<Outcome, Error> {
        let place = Place::of(delivery);
        let started = self.clock.now();
        let mut attempt = self.begin(delivery.clone());
        let result = match Handle::try_current() {
            Ok(runtime) if in_task => {
                let processor = self.clone();
                let mut task = AbortOnDrop(runtime.spawn(async move { processor.timed(&mut attempt).await }));
                let lost = |_| Err(Error::not_executed("the runtime shuts down"));
                (&mut task.0).await.unwrap_or_else(lost)
            }
            _ => self.timed(&mut attempt).await,
        };
        self.meters.record(&place, &result, self.clock.now().duration_since(started).as_secs_f64());
        result
    }

    /// Runs `attempt` with its two time limits: of the wait for readiness, and of the call.
    pub(in crate::transport) async fn timed<A, T>(&self, attempt: &mut A) -> Result<T, Error>
    where
        A: Limited<Output = Result<T, Error>>,
    {
        let mut limit = std::pin::pin!(self.clock.sleep(self.config.timeout));
        let mut called = false;
        poll_fn(|cx| {
            // The attempt first: a result that is ready at the time limit is returned.
            if let Poll::Ready(result) = Pin::new(&mut *attempt).poll(cx) {
                return Poll::Ready(result);
            }
            if !called && attempt.is_called() {
                called = true;
                limit.as_mut().reset(self.config.timeout);
            }
            limit.as_mut().poll(cx).map(|()| Err(self.expired(attempt)))
        })
        .await
    }

    /// Returns the error of an attempt that has reached its time limit.
    pub(in crate::transport) fn expired(&self, attempt: &impl Limited) -> Error {
        let limit = rounded(self.config.timeout);
        match attempt.is_called() {
            true => Error::indeterminate(format!("the handler did not finish within {limit}")),
            false => Error::not_executed(format!("the handler was not ready within {limit}")),
        }
    }
}

/// A task that is cancelled, at its next await, when this handle is dropped.
pub(in crate::transport) struct AbortOnDrop<T>(pub(in crate::transport) JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
