//! Processes one delivery from its first attempt to its verdict, in the same way for every consumer.

mod attempt;
mod config;
mod meters;
mod rules;
mod run;
mod structured;
mod verdict;

use std::{future::Future, sync::Arc};

use crate::{
    Delivery,
    clock::Clock,
    transport::{BoxBatchHandler, BoxHandler, FailureDecision, Holds, TopicHandler},
};
pub(super) use attempt::AbortOnDrop;
pub use config::AttemptConfig;
pub(super) use meters::Meters;
pub(super) use rules::Rules;
pub(super) use run::Holding;
pub use verdict::Verdict;

/// Calls a handler with a delivery, and retries or holds the delivery until the result is final.
///
/// [`process`](Self::process) returns the result as a [`Verdict`]. Clones share the metrics and the holds.
///
/// ```
/// use comms_core::{Delivery, Error, Outcome, clock::Clock, handler_fn};
/// use comms_core::transport::{AttemptConfig, BoxHandler, Processor, Verdict};
/// use std::future::pending;
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() {
/// # let message = comms_core::Message::new(comms_core::MessageParts { topic: "orders", ..Default::default() });
/// let handler = handler_fn(|delivery: Delivery| async move {
///     if delivery.attempt < 3 { Err(Error::indeterminate("no answer")) } else { Ok(Outcome::Done) }
/// });
/// let processor =
///     Processor::new(BoxHandler::new(handler), AttemptConfig::default(), Clock::system(), "kafka");
/// let delivery = Delivery::new(message, "billing");
/// let verdict = processor.process(delivery, pending(), pending()).await;
/// assert!(matches!(verdict, Verdict::Done(Outcome::Done))); // the third attempt succeeded
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Processor {
    handler: BoxHandler,
    batch: Option<BoxBatchHandler>,
    pub(super) config: AttemptConfig,
    pub(super) clock: Clock,
    pub(super) meters: Arc<Meters>,
    holds: Holds,
}

impl Processor {
    /// Creates a processor that calls `handler`, with a [`Holds`] of its own. `system` is the value of the metric label
    /// `messaging.system` (`kafka`, `outbox`).
    ///
    /// A [`Worker`](crate::transport::Worker) calls a batch handler with batches, and [`process`](Self::process) calls
    /// it with one delivery.
    ///
    /// ```
    /// use comms_core::{Delivery, Outcome, batch_fn, clock::Clock};
    /// use comms_core::transport::{AttemptConfig, BatchConfig, BoxBatchHandler, Processor, Worker, WorkerConfig};
    /// let handler = batch_fn(|batch: Vec<Delivery>| async move {
    ///     Ok(batch.iter().map(|_| Ok(Outcome::Done)).collect())
    /// });
    /// let processor =
    ///     Processor::new(BoxBatchHandler::new(handler), AttemptConfig::default(), Clock::system(), "kafka");
    /// let worker = Worker::new(processor, WorkerConfig::default().batch(BatchConfig::default().max_records(100)));
    /// assert!(worker.is_empty());
    /// ```
    #[must_use]
    pub fn new(
        handler: impl Into<TopicHandler>,
        config: AttemptConfig,
        clock: Clock,
        system: &'static str,
    ) -> Self {
        let (handler, batch) = match handler.into() {
            TopicHandler::Single(handler) => (handler, None),
            TopicHandler::Batch(handler) => (handler.alone(), Some(handler)),
        };
        let holds = Holds::new(clock.clone());
        Self { handler, batch, config, clock, meters: Arc::new(Meters::new(system)), holds }
    }

    /// Registers held deliveries in `holds`, so that all processors of a consumer can share one list.
    #[must_use]
    pub fn with_holds(self, holds: Holds) -> Self {
        Self { holds, ..self }
    }

    /// Returns the list of the held deliveries.
    #[must_use]
    pub const fn holds(&self) -> &Holds {
        &self.holds
    }

    /// Attempts `delivery` until the result is final, and returns the result.
    ///
    /// Each attempt runs in the message's [`Context`](crate::context::Context), in a span `process`, and within
    /// [`AttemptConfig::timeout`]. A panic of the handler is an [`Internal`](crate::ErrorKind::Internal) error, and an exceeded
    /// timeout is an [`Indeterminate`](crate::ErrorKind::Indeterminate) one. A `CloudEvents` envelope in structured mode is
    /// decoded before the handler is called; an envelope that cannot be decoded is an [`Invalid`](crate::ErrorKind::Invalid)
    /// error.
    ///
    /// The kind of the error decides what follows a failed attempt ([`ErrorKind::disposition`](crate::ErrorKind::disposition)):
    /// - `Hold`: the delivery is held (see [`Holds`]) and attempted again with growing waits. The attempt does not
    ///   count. The hold ends when an attempt succeeds or fails with another disposition, or at
    ///   [`AttemptConfig::hold_limit`] with [`Verdict::DeadLetter`]. At [`AttemptConfig::hold_in_place`] the method
    ///   returns [`Verdict::Held`].
    /// - `Retry`: the attempt counts. The delivery is attempted again after a wait, up to
    ///   [`AttemptConfig::max_attempts`] attempts; then it becomes a dead letter.
    /// - `DeadLetter`, `Stop`: the method returns [`Verdict::DeadLetter`] or [`Verdict::Stop`] at once.
    ///
    /// A wait is at least the error's `retry_after`, but a `retry_after` above five minutes counts as five minutes.
    ///
    /// Two futures end the work early with [`Verdict::Abandoned`]. Pass [`std::future::pending`] for a signal that
    /// never fires.
    /// - `stopping` (a rebalance, or a shutdown that drains): no further attempt begins, and a wait between attempts
    ///   ends at once. An attempt in flight may finish.
    /// - `cancelled` (the end of the drain): an attempt in flight is dropped, which rolls its transaction back.
    pub async fn process(
        &self,
        mut delivery: Delivery,
        stopping: impl Future<Output = ()>,
        cancelled: impl Future<Output = ()>,
    ) -> Verdict {
        let failure_policy = &FailureDecision::default();
        let rules = Rules { budget: None, failure_policy, blocks: None };
        let (stopping, cancelled) = (std::pin::pin!(stopping), std::pin::pin!(cancelled));
        tokio::select! {
            biased;
            () = cancelled => Verdict::Abandoned,
            verdict = self.run(&mut delivery, None, rules, stopping) => verdict,
        }
    }
}

#[cfg(test)]
mod tests;
