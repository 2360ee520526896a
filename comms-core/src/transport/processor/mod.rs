//! One delivery, from the first attempt to its verdict: what every consumer does the same way.

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
    resilience::Backoff,
    telemetry as names,
    transport::{BoxHandler, Disposition, HoldGuard, Holds},
};
use meters::{Meters, Place};

/// The longest `retry_after` that is honoured: a peer may send any number, and a lane waits for it.
const RETRY_AFTER_LIMIT: Duration = Duration::from_secs(5 * 60);

/// How often and for how long a delivery is attempted.
///
/// What an error means for the delivery is the kind's [`Disposition`]: an attempt that counts, a hold, a dead letter at
/// once, or the end of the process.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct AttemptConfig {
    /// Waits between attempts. Default 100 ms, doubled up to 30 s. A `Conflict` is retried after the first of these waits.
    pub backoff: Backoff,
    /// Counted attempts before a failure becomes a dead letter. Default 30, which is about 11 minutes of waits, and
    /// the attempts themselves. A hold counts no attempt.
    pub max_attempts: u32,
    /// The longest time of one attempt; then the error is `Indeterminate`. Default 30 s.
    pub timeout: Duration,
    /// The longest time that a delivery is held; then it becomes a dead letter with its last error. Default `None`: until
    /// the cause is gone. Checked after each attempt.
    pub hold_limit: Option<Duration>,
    /// How long a processor itself waits with a delivery that is held. Rather than wait longer, it hands the delivery back
    /// as [`Verdict::Held`]. Default `None`: it waits for as long as the hold lasts.
    pub hold_in_place: Option<Duration>,
}

impl Default for AttemptConfig {
    fn default() -> Self {
        let backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(30)).unwrap_or_default();
        let timeout = Duration::from_secs(30);
        Self { backoff, max_attempts: 30, timeout, hold_limit: None, hold_in_place: None }
    }
}

/// Setters: each takes the configuration and returns it with one setting changed.
impl AttemptConfig {
    /// Sets `backoff`.
    #[must_use]
    pub fn backoff(self, backoff: Backoff) -> Self {
        Self { backoff, ..self }
    }

    /// Sets `max_attempts`.
    #[must_use]
    pub fn max_attempts(self, max_attempts: u32) -> Self {
        Self { max_attempts, ..self }
    }

    /// Sets `timeout`.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Sets `hold_limit`; `None` turns it off.
    #[must_use]
    pub fn hold_limit(self, hold_limit: impl Into<Option<Duration>>) -> Self {
        Self { hold_limit: hold_limit.into(), ..self }
    }

    /// Sets `hold_in_place`; `None` turns it off.
    #[must_use]
    pub fn hold_in_place(self, hold_in_place: impl Into<Option<Duration>>) -> Self {
        Self { hold_in_place: hold_in_place.into(), ..self }
    }
}

/// What a runtime does with a delivery.
#[derive(Debug)]
pub enum Verdict {
    /// The delivery was handled: acknowledge it.
    Done(Outcome),
    /// The delivery will not be handled: publish it as a dead letter with the reason, then acknowledge it.
    DeadLetter {
        /// The last error.
        error: Error,
        /// The counted attempts.
        attempts: u32,
    },
    /// The hold would last longer than [`AttemptConfig::hold_in_place`]: keep it unacknowledged and present it again later,
    /// with `attempts` as [`Delivery::attempt`]. Later messages of its key wait behind it. It stays in the [`Holds`] until it
    /// comes again, or until [`Holds::release`].
    Held {
        /// The last error; its `retry_after` is the wait that was asked for, at most five minutes.
        error: Error,
        /// The number of the attempt that is made next: no attempt of a hold was counted.
        attempts: u32,
    },
    /// The runtime is stopping or the assignment is gone: leave the delivery unacknowledged.
    Abandoned,
    /// The process must stop: leave the delivery unacknowledged.
    Stop(Error),
}

/// Where a hold goes on.
enum Holding {
    /// In the processor.
    Here,
    /// In the runtime, which presents the delivery again.
    Elsewhere,
    /// Nowhere: its limit has passed.
    Over,
}

/// Drives deliveries through a handler until there is a verdict. Cheap to clone; clones share their metrics and holds.
#[derive(Debug, Clone)]
pub struct Processor {
    handler: BoxHandler,
    config: AttemptConfig,
    clock: Clock,
    meters: Arc<Meters>,
    holds: Holds,
}

impl Processor {
    /// Runs `handler`; `system` is the `messaging.system` of metrics and spans (`kafka`, `outbox`).
    #[must_use]
    pub fn new(handler: BoxHandler, config: AttemptConfig, clock: Clock, system: &'static str) -> Self {
        let holds = Holds::new(clock.clone());
        Self { handler, config, clock, meters: Arc::new(Meters::new(system)), holds }
    }

    /// The same with deliveries registered in `holds`: one list for all processors of a consumer.
    #[must_use]
    pub fn with_holds(self, holds: Holds) -> Self {
        Self { holds, ..self }
    }

    /// The deliveries that are being held.
    #[must_use]
    pub const fn holds(&self) -> &Holds {
        &self.holds
    }

    /// Attempts `delivery` until there is a verdict. Each attempt runs in the message's [`Context`] under a span
    /// `process`, within the time limit of an attempt. A panic is an `Internal` error, and a time limit that passes
    /// `Indeterminate`.
    ///
    /// The kind of the error decides ([`ErrorKind::disposition`]):
    /// - `Hold`: the delivery is held (see [`Holds`]) and attempted again with growing waits. No attempt counts.
    /// - `Retry`: the attempt counts. After a wait the delivery is attempted again, up to [`AttemptConfig::max_attempts`].
    /// - `DeadLetter` and `Stop`: the verdict, at once.
    ///
    /// A wait is at least the error's `retry_after`, of which at most five minutes count.
    ///
    /// Two signals end the work, and either may come first or never ([`std::future::pending`]):
    /// - `stopping`, a hand-over or a shutdown that drains: no further attempt begins, and a wait between attempts
    ///   ends at once; an attempt that is under way may finish.
    /// - `cancelled`, the end of the drain: an attempt that is under way is dropped, which rolls its transaction back.
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
                        origin = %delivery.origin, group = %delivery.group, attempts, error = %error.chain(), "delivery failed"
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

    /// Where a hold goes on that has to wait for `delay`.
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

    /// The wait after the `failures`-th failure in a row.
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
            { names::MESSAGING_MESSAGE_ID } = %delivery.message.id,
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
                Err(Error::indeterminate(format!("no answer within {}", rounded(self.config.timeout))))
            }
        };
        self.meters.record(&place, &result, self.clock.now().duration_since(started).as_secs_f64());
        result
    }
}

#[cfg(test)]
mod tests;
