//! One delivery, from the first try to its verdict: what every consumer does the same way.

mod meters;
mod structured;

use futures_util::FutureExt;
use std::{future::Future, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use tracing::Instrument;

use crate::{
    Backoff, BoxHandler, Clock, Context, Delivery, Error, ErrorKind, Outcome, TraceContext,
    telemetry as names,
};
use meters::{Meters, Place};

/// The longest wait that an error's `retry_after` is believed: it may be a peer's number, and a lane waits for it.
const RETRY_AFTER_LIMIT: Duration = Duration::from_secs(5 * 60);

/// How often and how long a delivery is tried.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Attempts {
    /// Waits between tries. Default 100 ms doubling to 30 s.
    pub backoff: Backoff,
    /// Tries in all before a retryable failure becomes a dead letter. Default 30: about 11 minutes of waits, and
    /// the tries themselves. `Rejected` does not count where a guard said so or a wait is named, `Invalid` does not wait.
    pub limit: u32,
    /// The longest one try may take; then its effect is `Indeterminate`. Default 30 s.
    pub timeout: Duration,
}

impl Default for Attempts {
    fn default() -> Self {
        let backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(30)).unwrap_or_default();
        Self { backoff, limit: 30, timeout: Duration::from_secs(30) }
    }
}

/// What becomes of a delivery.
#[derive(Debug)]
pub enum Verdict {
    /// Handled: acknowledge it.
    Done(Outcome),
    /// It will not be handled: carry it to the dead letters, with the reason, then acknowledge it.
    DeadLetter {
        /// The last failure.
        error: Error,
        /// How often it was tried.
        attempts: u32,
    },
    /// Shutting down, or the assignment is gone: leave it unacknowledged.
    Abandoned,
    /// This process must stop, leaving it unacknowledged.
    Stop(Error),
}

/// Drives deliveries through a handler until there is a verdict. Cheap to clone; clones share their metrics.
#[derive(Debug, Clone)]
pub struct Processor {
    handler: BoxHandler,
    attempts: Attempts,
    clock: Clock,
    meters: Arc<Meters>,
}

impl Processor {
    /// Runs `handler`; `system` is the `messaging.system` of metrics and spans (`kafka`, `outbox`).
    #[must_use]
    pub fn new(handler: BoxHandler, attempts: Attempts, clock: Clock, system: &'static str) -> Self {
        Self { handler, attempts, clock, meters: Arc::new(Meters::new(system)) }
    }

    /// Tries `delivery` until it succeeds, is hopeless, or is left. Each try runs in the message's
    /// [`Context`] under a span `process`, in its own time limit; a panic counts as a `NotExecuted` failure. A wait
    /// is at least what the error asks for, of which at most five minutes count.
    ///
    /// Two signals leave it, and either may come first or never ([`std::future::pending`]):
    /// - `stopping`, a hand-over or a shut-down that drains: no try begins any more, and a wait between tries
    ///   ends at once; a try that runs may finish.
    /// - `cancelled`, the end of the drain: a running try is dropped, which rolls its transaction back.
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
        let mut waits = delivery.attempt.saturating_sub(1);
        loop {
            let error = tokio::select! {
                biased;
                () = &mut cancelled => return Verdict::Abandoned,
                result = self.attempt(delivery.clone()) => match result {
                    Ok(outcome) => return Verdict::Done(outcome),
                    Err(error) => error,
                },
            };
            let attempts = delivery.attempt;
            tracing::warn!(origin = %delivery.origin, group = %delivery.group, attempts, %error, "delivery failed");
            match error.kind {
                ErrorKind::Fatal => return Verdict::Stop(error),
                ErrorKind::Invalid => return Verdict::DeadLetter { error, attempts },
                // A guard, or a wait that is named: not now. Neither: a peer that may say so for ever.
                ErrorKind::Rejected if error.retry_after.is_some() || error.rejection().is_some() => {}
                _ if attempts >= self.attempts.limit => return Verdict::DeadLetter { error, attempts },
                _ => delivery.attempt += 1,
            }
            // Such rejections are no attempts, but they grow the wait.
            waits = waits.saturating_add(1);
            let delay = self.attempts.backoff.delay(waits, &self.clock);
            let delay = error.retry_after.map_or(delay, |least| least.min(RETRY_AFTER_LIMIT).max(delay));
            tokio::select! {
                biased;
                () = &mut cancelled => return Verdict::Abandoned,
                () = &mut stopping => return Verdict::Abandoned,
                () = self.clock.sleep(delay) => {}
            }
        }
    }

    async fn attempt(&self, delivery: Delivery) -> Result<Outcome, Error> {
        let delivery = structured::open(delivery)?;
        let context = Context::of_message(&delivery.message, &self.clock);
        let place = Place::of(&delivery);
        let span = tracing::info_span!(
            names::PROCESS,
            { names::MESSAGING_DESTINATION_NAME } = %place.destination,
            { names::MESSAGING_CONSUMER_GROUP_NAME } = %place.group,
            { names::MESSAGING_MESSAGE_ID } = %delivery.message.id,
            { names::TRACE_ID } = context.trace.as_ref().map(TraceContext::trace_id),
        );
        let started = self.clock.now();
        let work = AssertUnwindSafe(context.scope(self.handler.handle(delivery))).catch_unwind();
        let result = tokio::select! {
            biased;
            ended = work.instrument(span) => ended.unwrap_or_else(|panic| {
                Err(Error::not_executed(format!("the handler panicked: {}", panic_text(&*panic))))
            }),
            () = self.clock.sleep(self.attempts.timeout) => {
                Err(Error::indeterminate(format!("no answer within {:?}", self.attempts.timeout)))
            }
        };
        self.meters.record(&place, &result, self.clock.now().duration_since(started).as_secs_f64());
        result
    }
}

/// What a caught panic says.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

#[cfg(test)]
mod tests;
