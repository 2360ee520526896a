//! Processes one delivery from its first attempt to its verdict, in the same way for every consumer.

mod attempt;
mod config;
mod meters;
mod rules;
mod run;
mod structured;
mod verdict;

use std::sync::Arc;

use crate::{
    clock::Clock,
    transport::{BoxBatchHandler, BoxHandler, Holds, TopicHandler},
};
pub(super) use attempt::AbortOnDrop;
pub use config::AttemptConfig;
pub(super) use meters::Meters;
pub(super) use rules::Rules;
pub(super) use verdict::Verdict;

/// How the deliveries of a topic are attempted: the handler, the limits of its attempts, and the list of the deliveries
/// that are held. A [`Worker`](crate::transport::Worker) runs deliveries with it.
///
/// Each attempt runs in the message's [`Context`](crate::context::Context), in a span `process`, and within
/// [`AttemptConfig::timeout`]. A panic of the handler is an [`Internal`](crate::ErrorKind::Internal) error, and an
/// exceeded timeout is an [`Indeterminate`](crate::ErrorKind::Indeterminate) one. A `CloudEvents` envelope in structured
/// mode is decoded before the handler is called; an envelope that cannot be decoded is an
/// [`Invalid`](crate::ErrorKind::Invalid) error.
///
/// The kind of the error decides what follows a failed attempt
/// ([`ErrorKind::disposition`](crate::ErrorKind::disposition)):
/// - `Hold`: the delivery is held (see [`Holds`]) and attempted again with growing waits. The attempt does not count.
///   The hold ends when an attempt succeeds or fails with another disposition, or at [`AttemptConfig::hold_limit`] as a
///   final failure. At [`AttemptConfig::hold_in_place`] the worker returns the delivery.
/// - `Retry`: the attempt counts. The delivery is attempted again after a wait, up to [`AttemptConfig::max_attempts`]
///   attempts; then the failure is final.
/// - `DeadLetter`: the failure is final at once. `Stop`: the worker stops.
///
/// A wait is at least the error's `retry_after`, but a `retry_after` above five minutes counts as five minutes.
///
/// Clones share the metrics and the holds.
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
    /// A [`Worker`](crate::transport::Worker) calls a batch handler with batches.
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
}

#[cfg(test)]
mod tests;
