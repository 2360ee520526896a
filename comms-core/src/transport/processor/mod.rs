//! Processes one delivery from its first attempt to its verdict, in the same way for every consumer.

mod config;
mod meters;
mod structured;

use futures_util::FutureExt;
use std::{future::Future, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use tracing::Instrument;

use crate::{
    Delivery, Error, ErrorKind, Outcome,
    clock::{Clock, rounded},
    context::{Context, TraceContext},
    panic::panic_text,
    telemetry as names,
    transport::{BoxHandler, Disposition, HoldGuard, Holds},
};
pub use config::AttemptConfig;
use meters::{Meters, Place};

/// The longest `retry_after` that is honoured: a peer may send any number, and a lane waits for it.
const RETRY_AFTER_LIMIT: Duration = Duration::from_secs(5 * 60);

/// The final result of [`Processor::process`], which the consumer carries out.
#[derive(Debug)]
pub enum Verdict {
    /// The handler succeeded: acknowledge the delivery.
    Done(Outcome),
    /// The attempts are used up, or another attempt cannot succeed: publish the delivery as a dead letter with the
    /// error, then acknowledge it.
    DeadLetter {
        /// The error of the last attempt.
        error: Error,
        /// The number of counted attempts.
        attempts: u32,
    },
    /// The hold would exceed [`AttemptConfig::hold_in_place`]: leave the delivery unacknowledged and process it again
    /// later, with `attempts` as its [`Delivery::attempt`].
    ///
    /// The consumer must not process later messages of the same key before this delivery. The delivery stays in the
    /// [`Holds`] until it is processed again, or until [`Holds::release`].
    Held {
        /// The error of the last attempt. Its `retry_after`, if any, is at most five minutes.
        error: Error,
        /// The number of the next attempt. The attempts during the hold are not counted.
        attempts: u32,
    },
    /// A signal of the consumer ended the work (shutdown, or a revoked partition): leave the delivery unacknowledged.
    Abandoned,
    /// The error is [`Fatal`](ErrorKind::Fatal): leave the delivery unacknowledged and stop the process.
    Stop(Error),
}

/// The next step of a hold after a failed attempt.
enum Holding {
    /// The processor waits and attempts the delivery again.
    Here,
    /// The processor returns the delivery to the consumer, which presents the delivery again.
    Elsewhere,
    /// The hold has reached its limit and ends.
    Over,
}

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
/// # let message = comms_core::Message { source: "shop".into(), id: "1".into(), topic: "orders".into(), key: None,
/// #     headers: comms_core::Headers::new(), payload: None };
/// let handler = handler_fn(|delivery: Delivery| async move {
///     if delivery.attempt < 3 { Err(Error::indeterminate("no answer")) } else { Ok(Outcome::Done) }
/// });
/// let processor =
///     Processor::new(BoxHandler::new(handler), AttemptConfig::default(), Clock::system(), "kafka");
/// let delivery = Delivery::new(message, "billing", "orders/3@512");
/// let verdict = processor.process(delivery, pending(), pending()).await;
/// assert!(matches!(verdict, Verdict::Done(Outcome::Done))); // the third attempt succeeded
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Processor {
    handler: BoxHandler,
    config: AttemptConfig,
    clock: Clock,
    meters: Arc<Meters>,
    holds: Holds,
}

impl Processor {
    /// Creates a processor that calls `handler`, with a [`Holds`] of its own. `system` is the value of the metric label
    /// `messaging.system` (`kafka`, `outbox`).
    #[must_use]
    pub fn new(handler: BoxHandler, config: AttemptConfig, clock: Clock, system: &'static str) -> Self {
        let holds = Holds::new(clock.clone());
        Self { handler, config, clock, meters: Arc::new(Meters::new(system)), holds }
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
    /// Each attempt runs in the message's [`Context`], in a span `process`, and within [`AttemptConfig::timeout`]. A
    /// panic of the handler is an [`Internal`](ErrorKind::Internal) error, and an exceeded timeout is an
    /// [`Indeterminate`](ErrorKind::Indeterminate) one. A `CloudEvents` envelope in structured mode is decoded before
    /// the handler is called; an envelope that cannot be decoded is an [`Invalid`](ErrorKind::Invalid) error.
    ///
    /// The kind of the error decides what follows a failed attempt ([`ErrorKind::disposition`]):
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
        let (mut stopping, mut cancelled) = (std::pin::pin!(stopping), std::pin::pin!(cancelled));
        if stopping.as_mut().now_or_never().is_some() {
            return Verdict::Abandoned;
        }
        let mut held = self.holds.resume(&delivery);
        let before = held.as_ref().map_or(0, |held| held.attempts);
        let mut failures = delivery.attempt.saturating_sub(1).saturating_add(before);
        loop {
            let mut error = tokio::select! {
                biased;
                () = &mut cancelled => return Verdict::Abandoned,
                result = self.attempt(delivery.clone()) => match result {
                    Ok(outcome) => return Verdict::Done(outcome),
                    Err(error) => error,
                },
            };
            failures = failures.saturating_add(1);
            let attempts = delivery.attempt;
            let delay = match error.kind.disposition() {
                Disposition::Hold => {
                    let hold = self.holds.register(&delivery, &error, held.take());
                    let delay = self.delay(failures, &error);
                    match self.holding(&hold, delay) {
                        Holding::Here => held = Some(hold),
                        Holding::Over => return Verdict::DeadLetter { error, attempts },
                        Holding::Elsewhere => {
                            hold.stay();
                            error.retry_after = error.retry_after.map(|wait| wait.min(RETRY_AFTER_LIMIT));
                            return Verdict::Held { error, attempts };
                        }
                    }
                    delay
                }
                disposition => {
                    held = None;
                    tracing::warn!(
                        origin = %delivery.origin(), group = %delivery.group, attempts, error = %error.chain(), "delivery attempt failed"
                    );
                    match disposition {
                        Disposition::Stop => return Verdict::Stop(error),
                        Disposition::Retry if attempts < self.config.max_attempts => {}
                        _ => return Verdict::DeadLetter { error, attempts },
                    }
                    delivery.attempt += 1;
                    let soon = error.kind == ErrorKind::Conflict;
                    self.delay(if soon { 1 } else { failures }, &error)
                }
            };
            tokio::select! {
                biased;
                () = &mut cancelled => return Verdict::Abandoned,
                () = &mut stopping => return Verdict::Abandoned,
                () = self.clock.sleep(delay) => {}
            }
        }
    }

    /// Returns the next step of `hold` if the wait before the next attempt is `delay`.
    fn holding(&self, hold: &HoldGuard, delay: Duration) -> Holding {
        let (now, AttemptConfig { hold_limit, hold_in_place, .. }) = (self.clock.now(), &self.config);
        if hold_limit.is_some_and(|limit| hold.lasted(now) >= limit) {
            return Holding::Over;
        }
        match hold_in_place.is_some_and(|limit| hold.waited(now).saturating_add(delay) > limit) {
            true => Holding::Elsewhere,
            false => Holding::Here,
        }
    }

    /// Returns the wait after the `failures`-th consecutive failure.
    fn delay(&self, failures: u32, error: &Error) -> Duration {
        let delay = self.config.backoff.delay(failures, &self.clock);
        error.retry_after.map_or(delay, |least| least.min(RETRY_AFTER_LIMIT).max(delay))
    }

    async fn attempt(&self, delivery: Delivery) -> Result<Outcome, Error> {
        let delivery = structured::open(delivery)?;
        let context = Context::of_message(&delivery.message, &self.clock);
        let place = Place::of(&delivery);
        let span = tracing::info_span!(
            names::PROCESS,
            { names::MESSAGING_DESTINATION_NAME } = %place.topic,
            { names::MESSAGING_CONSUMER_GROUP_NAME } = %place.group,
            { names::MESSAGING_MESSAGE_ID } = %delivery.message.id(),
            { names::TRACE_ID } = context.trace.as_ref().map(TraceContext::trace_id),
        );
        let started = self.clock.now();
        let work = AssertUnwindSafe(context.scope(self.handler.handle(delivery))).catch_unwind();
        let result = tokio::select! {
            biased;
            ended = work.instrument(span) => ended.unwrap_or_else(|panic| {
                Err(Error::internal(format!("the handler panicked: {}", panic_text(&*panic))))
            }),
            () = self.clock.sleep(self.config.timeout) => {
                Err(Error::indeterminate(format!("the handler did not finish within {}", rounded(self.config.timeout))))
            }
        };
        self.meters.record(&place, &result, self.clock.now().duration_since(started).as_secs_f64());
        result
    }
}

#[cfg(test)]
mod tests;
