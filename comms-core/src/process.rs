//! One delivery, from the first try to its verdict: what every consumer does the same way.

use futures_util::FutureExt;
use std::{future::Future, panic::AssertUnwindSafe, time::Duration};

use tracing::Instrument;

use crate::{Backoff, BoxHandler, Clock, Context, Delivery, Error, ErrorKind, Outcome, telemetry};

/// How often and how long a delivery is tried.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Attempts {
    /// Waits between tries. Default 100 ms doubling to 30 s.
    pub backoff: Backoff,
    /// Tries in all before a retryable failure becomes a dead letter. Default 30: about a quarter of an
    /// hour. `Rejected` does not count, `Invalid` does not wait.
    pub limit: u32,
    /// The longest one try may take; then its effect is `Unknown`. Default 30 s.
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

/// Drives deliveries through a handler until there is a verdict.
#[derive(Debug, Clone)]
pub struct Processor {
    handler: BoxHandler,
    attempts: Attempts,
    clock: Clock,
    system: &'static str,
}

impl Processor {
    /// Runs `handler`; `system` is the `messaging.system` of metrics and spans (`kafka`, `outbox`).
    #[must_use]
    pub fn new(handler: BoxHandler, attempts: Attempts, clock: Clock, system: &'static str) -> Self {
        Self { handler, attempts, clock, system }
    }

    /// Tries `delivery` until it succeeds, is hopeless, or `cancelled` resolves. Each try runs in the
    /// message's [`Context`] under a span `process`, in its own time limit; a panic counts as a
    /// `Transient` failure. `cancelled` ends waits between tries and a running try alike: dropping a
    /// try rolls its transaction back.
    pub async fn process(&self, mut delivery: Delivery, cancelled: impl Future<Output = ()>) -> Verdict {
        let mut cancelled = std::pin::pin!(cancelled);
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
                ErrorKind::Rejected => {}
                _ if attempts >= self.attempts.limit => return Verdict::DeadLetter { error, attempts },
                _ => delivery.attempt += 1,
            }
            let delay = self.attempts.backoff.delay(attempts, &self.clock);
            let delay = error.retry_after.map_or(delay, |least| least.max(delay));
            tokio::select! {
                biased;
                () = &mut cancelled => return Verdict::Abandoned,
                () = tokio::time::sleep(delay) => {}
            }
        }
    }

    async fn attempt(&self, delivery: Delivery) -> Result<Outcome, Error> {
        let context = Context::of_message(&delivery.message, &self.clock);
        let destination = delivery.message.destination.clone();
        let group = delivery.group.clone();
        let span = tracing::info_span!(
            "process",
            messaging.destination.name = %destination,
            messaging.consumer.group.name = %group,
            message = %delivery.message.id,
            trace_id = context.trace.map(|t| t.trace_id()),
        );
        let started = self.clock.now();
        let work = AssertUnwindSafe(context.scope(self.handler.handle(delivery))).catch_unwind();
        let result = match tokio::time::timeout(self.attempts.timeout, work.instrument(span)).await {
            Ok(Ok(result)) => result,
            Ok(Err(panic)) => Err(Error::transient(format!("the handler panicked: {}", panic_text(&*panic)))),
            Err(_) => Err(Error::unknown(format!("no answer within {:?}", self.attempts.timeout))),
        };
        let label = result.as_ref().map_or_else(|e| e.kind.as_str(), |outcome| outcome.as_str());
        metrics::histogram!(
            telemetry::PROCESS_DURATION,
            "messaging.system" => self.system,
            "messaging.destination.name" => destination.to_string(),
            "messaging.consumer.group.name" => group.to_string(),
            "outcome" => label,
        )
        .record(self.clock.now().duration_since(started).as_secs_f64());
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
