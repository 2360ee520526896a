//! Attempts a delivery until its result is final.

use std::{future::Future, pin::Pin, time::Duration};

use futures_util::FutureExt;

use super::{Processor, Rules, Verdict};
use crate::{
    Delivery, Error, ErrorKind,
    transport::{Disposition, FailurePolicy, HoldGuard},
};

/// The longest `retry_after` that is honoured: a peer may send any number, and a lane waits for it.
pub(super) const RETRY_AFTER_LIMIT: Duration = Duration::from_secs(5 * 60);

impl Processor {
    /// Attempts `delivery` until the result is final, within the limits of `rules`. `failed` is the error of an attempt
    /// that was made before. When `stopping` resolves, no further attempt begins, and a wait ends at once; an attempt
    /// that runs may finish.
    pub(in crate::transport) async fn run<S: Future<Output = ()>>(
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
                    match if self.is_over(&hold) {
                        rules.failure_policy.decide(&error, delivery)
                    } else {
                        FailurePolicy::Hold
                    } {
                        FailurePolicy::DeadLetter => return Verdict::DeadLetter { error, attempts },
                        FailurePolicy::Stop => return Verdict::Stop(error),
                        FailurePolicy::Hold => held = Some(hold),
                    }
                    delay
                }
                _ => match rules.failure_policy.decide(&error, delivery) {
                    FailurePolicy::DeadLetter => return Verdict::DeadLetter { error, attempts },
                    FailurePolicy::Stop => return Verdict::Stop(error),
                    FailurePolicy::Hold => {
                        held = Some(self.holds.register(delivery, &error, held.take()));
                        self.delay(failures, &error)
                    }
                },
            };
            if let Some(hold) = held.take_if(|hold| self.is_elsewhere(hold, delay)) {
                hold.stay();
                error.retry_after = error.retry_after.map(|wait| wait.min(RETRY_AFTER_LIMIT));
                return Verdict::Held { error, attempts };
            }
            tokio::select! {
                biased;
                () = &mut stopping => return Verdict::Abandoned,
                () = self.clock.sleep(delay) => {}
            }
        }
    }

    /// Returns whether `hold` has reached its limit.
    pub(in crate::transport) fn is_over(&self, hold: &HoldGuard) -> bool {
        self.config.hold_limit.is_some_and(|limit| hold.lasted(self.clock.now()) >= limit)
    }

    /// Returns whether the delivery of `hold` is returned to the consumer, also if its hold has no limit: the wait before
    /// the next attempt is `delay`.
    pub(in crate::transport) fn is_elsewhere(&self, hold: &HoldGuard, delay: Duration) -> bool {
        let waited = hold.waited(self.clock.now()).saturating_add(delay);
        self.config.hold_in_place.is_some_and(|limit| waited > limit)
    }

    /// Returns the wait after the `failures`-th consecutive failure.
    pub(in crate::transport) fn delay(&self, failures: u32, error: &Error) -> Duration {
        let delay = self.config.backoff.delay(failures, &self.clock);
        error.retry_after.map_or(delay, |least| least.min(RETRY_AFTER_LIMIT).max(delay))
    }
}
