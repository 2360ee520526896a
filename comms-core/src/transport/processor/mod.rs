//! Processes one delivery from its first attempt to its verdict, in the same way for every consumer.

mod config;
mod meters;
mod structured;

use futures_util::FutureExt;
use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::Duration,
};
use tokio::{runtime::Handle, sync::OwnedSemaphorePermit, task::JoinHandle};

use crate::{
    Delivery, Error, ErrorKind, Outcome,
    clock::{Clock, rounded},
    panic::caught,
    transport::{Attempt, BoxHandler, Budget, Disposition, FailurePolicy, HoldGuard, Holds},
};
pub use config::AttemptConfig;
pub(super) use meters::Meters;
use meters::Place;

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
    pub(super) config: AttemptConfig,
    pub(super) clock: Clock,
    pub(super) meters: Arc<Meters>,
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
    /// Each attempt runs in the message's [`Context`](crate::context::Context), in a span `process`, and within
    /// [`AttemptConfig::timeout`]. A panic of the handler is an [`Internal`](ErrorKind::Internal) error, and an exceeded
    /// timeout is an [`Indeterminate`](ErrorKind::Indeterminate) one. A `CloudEvents` envelope in structured mode is
    /// decoded before the handler is called; an envelope that cannot be decoded is an [`Invalid`](ErrorKind::Invalid)
    /// error.
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
        let on_failure = &|_: &Error, _: &Delivery| FailurePolicy::DeadLetter;
        let rules = Rules { budget: None, on_failure, blocks: None };
        let (stopping, cancelled) = (std::pin::pin!(stopping), std::pin::pin!(cancelled));
        tokio::select! {
            biased;
            () = cancelled => Verdict::Abandoned,
            verdict = self.run(&mut delivery, None, rules, stopping) => verdict,
        }
    }

    /// Attempts `delivery` as [`process`](Self::process) does, within the limits of `rules`. `failed` is the error of
    /// an attempt that was made before.
    pub(super) async fn run<S: Future<Output = ()>>(
        &self,
        delivery: &mut Delivery,
        mut failed: Option<Error>,
        rules: Rules<'_>,
        mut stopping: Pin<&mut S>,
    ) -> Verdict {
        if failed.is_none() && stopping.as_mut().now_or_never().is_some() {
            return Verdict::Abandoned;
        }
        let mut held = self.holds.resume(delivery);
        let before = held.as_ref().map_or(0, |held| held.attempts);
        let mut failures = delivery.attempt.saturating_sub(1).saturating_add(before);
        loop {
            let mut error = match failed.take() {
                Some(error) => error,
                None => {
                    let Some(permit) = rules.permit(stopping.as_mut()).await else {
                        return Verdict::Abandoned;
                    };
                    let result = self.attempt(delivery, rules.blocks_thread()).await;
                    drop(permit);
                    match result {
                        Ok(outcome) => return Verdict::Done(outcome),
                        Err(error) => error,
                    }
                }
            };
            failures = failures.saturating_add(1);
            let attempts = delivery.attempt;
            let disposition = error.kind.disposition();
            if disposition != Disposition::Hold {
                tracing::warn!(
                    origin = %delivery.origin(), group = %delivery.group, attempts, error = %error.chain(), "delivery attempt failed"
                );
            }
            let delay = match disposition {
                Disposition::Stop => return Verdict::Stop(error),
                Disposition::Retry if attempts < self.config.max_attempts => {
                    held = None;
                    delivery.attempt += 1;
                    let soon = error.kind == ErrorKind::Conflict;
                    self.delay(if soon { 1 } else { failures }, &error)
                }
                Disposition::Hold => {
                    let hold = self.holds.register(delivery, &error, held.take());
                    let delay = self.delay(failures, &error);
                    match self.holding(&hold, delay) {
                        Holding::Here => {}
                        Holding::Over => match rules.policy(&error, delivery) {
                            FailurePolicy::DeadLetter => return Verdict::DeadLetter { error, attempts },
                            FailurePolicy::Stop => return Verdict::Stop(error),
                            FailurePolicy::Hold => {}
                        },
                        Holding::Elsewhere => {
                            hold.stay();
                            error.retry_after = error.retry_after.map(|wait| wait.min(RETRY_AFTER_LIMIT));
                            return Verdict::Held { error, attempts };
                        }
                    }
                    held = Some(hold);
                    delay
                }
                _ => match rules.policy(&error, delivery) {
                    FailurePolicy::DeadLetter => return Verdict::DeadLetter { error, attempts },
                    FailurePolicy::Stop => return Verdict::Stop(error),
                    FailurePolicy::Hold => {
                        held = Some(self.holds.register(delivery, &error, held.take()));
                        self.delay(failures, &error)
                    }
                },
            };
            tokio::select! {
                biased;
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

    /// Begins an attempt with `delivery`. An envelope is decoded first.
    #[inline]
    pub(super) fn begin(&self, delivery: Delivery) -> Attempt {
        let opened = structured::open(&delivery);
        self.handler.attempt(delivery, opened, &self.clock)
    }

    async fn attempt(&self, delivery: &Delivery, in_task: bool) -> Result<Outcome, Error> {
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
    pub(super) async fn timed(&self, attempt: &mut Attempt) -> Result<Outcome, Error> {
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
    pub(super) fn expired(&self, attempt: &Attempt) -> Error {
        let limit = rounded(self.config.timeout);
        match attempt.is_called() {
            true => Error::indeterminate(format!("the handler did not finish within {limit}")),
            false => Error::not_executed(format!("the handler was not ready within {limit}")),
        }
    }
}

/// The limits of [`Processor::run`].
#[derive(Clone, Copy)]
pub(super) struct Rules<'a> {
    /// Limits the running handlers.
    pub(super) budget: Option<&'a Budget>,
    /// Decides what becomes of a delivery that failed for good.
    pub(super) on_failure: &'a (dyn Fn(&Error, &Delivery) -> FailurePolicy + Send + Sync),
    /// Whether the handler blocks its thread: its attempts get tasks of their own then.
    pub(super) blocks: Option<&'a AtomicBool>,
}

/// A task that is cancelled, at its next await, when this handle is dropped.
pub(super) struct AbortOnDrop<T>(pub(super) JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Rules<'_> {
    fn blocks_thread(&self) -> bool {
        self.blocks.is_some_and(|blocks| blocks.load(Ordering::Relaxed))
    }

    /// Waits for a permit of the budget. Returns `None` if `stopping` resolves first.
    async fn permit<S: Future<Output = ()>>(
        &self,
        stopping: Pin<&mut S>,
    ) -> Option<Option<OwnedSemaphorePermit>> {
        let Some(budget) = self.budget else { return Some(None) };
        tokio::select! {
            biased;
            () = stopping => None,
            permit = budget.permit() => Some(permit),
        }
    }

    /// Returns the decision of the policy. A policy that panics holds the delivery, which loses nothing.
    fn policy(&self, error: &Error, delivery: &Delivery) -> FailurePolicy {
        caught("the failure policy", || (self.on_failure)(error, delivery)).unwrap_or_else(|panic| {
            tracing::error!(error = %panic.chain(), "the delivery is held, because the failure policy has no answer");
            FailurePolicy::Hold
        })
    }
}

#[cfg(test)]
mod tests;
