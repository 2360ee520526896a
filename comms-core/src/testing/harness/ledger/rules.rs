//! The rules by which a consumer goes on after a failed attempt, as the ledger needs them.

use std::time::{Duration, Instant};

use crate::{
    Delivery, Error, ErrorKind,
    clock::Clock,
    testing::harness::state::DeliveryState,
    transport::{AttemptConfig, Disposition, FailureDecision, FailurePolicy, Ordering},
};

/// The longest `retry_after` that a consumer honours.
const RETRY_AFTER_LIMIT: Duration = Duration::from_secs(5 * 60);

/// The next event that the consumer owes a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::testing::harness) enum Step {
    /// The first attempt.
    Begin,
    /// The end of the running attempt.
    Finish,
    /// The next attempt, at this time of the clock.
    Attempt { at: Instant, held: bool },
    /// The next attempt of the batch whose first delivery waits until this time of the clock.
    Batch { at: Instant },
    /// The acknowledgement of the dead letter. If the publisher refused it: at this time of the clock.
    DeadLetter { at: Option<Instant> },
    /// Nothing: the delivery has ended.
    End(DeliveryState),
}

impl Step {
    /// Returns the time of the clock for which the consumer waits.
    pub(super) const fn waits_until(self) -> Option<Instant> {
        match self {
            Self::Attempt { at, .. } | Self::DeadLetter { at: Some(at) } => Some(at),
            _ => None,
        }
    }
}

/// The settings of a consumer that decide what follows a failure.
#[derive(Debug, Clone)]
pub(in crate::testing::harness) struct Rules {
    pub(in crate::testing::harness) attempts: AttemptConfig,
    pub(in crate::testing::harness) ordering: Ordering,
    pub(in crate::testing::harness) failure_policy: FailureDecision,
}

impl Rules {
    /// Returns the step after an attempt of `delivery` failed with `error`. It is the `failures`-th failure of the
    /// delivery, and `held` is how long the delivery has been held. The worker has the same rules.
    pub(super) fn after(
        &self,
        error: &Error,
        (delivery, failures): (&Delivery, u32),
        held: Option<Duration>,
        clock: &Clock,
    ) -> Step {
        let at = |failures| clock.now() + self.delay(error, failures, clock);
        match error.kind.disposition() {
            Disposition::Stop => Step::End(DeliveryState::Stopped(error.kind)),
            Disposition::Hold if self.may_hold(held) => Step::Attempt { at: at(failures), held: true },
            Disposition::Retry if delivery.attempt < self.attempts.max_attempts => {
                let soon = error.kind == ErrorKind::Conflict;
                Step::Attempt { at: at(if soon { 1 } else { failures }), held: false }
            }
            _ => match self.failure_policy.decide(error, delivery) {
                FailurePolicy::DeadLetter => Step::DeadLetter { at: None },
                FailurePolicy::Hold => Step::Attempt { at: at(failures), held: true },
                FailurePolicy::Stop => Step::End(DeliveryState::Stopped(error.kind)),
            },
        }
    }

    /// Returns whether a delivery that has been held for `held` stays held.
    pub(super) fn may_hold(&self, held: Option<Duration>) -> bool {
        self.attempts.hold_limit.is_none_or(|limit| held.unwrap_or_default() < limit)
    }

    fn delay(&self, error: &Error, failures: u32, clock: &Clock) -> Duration {
        let delay = self.attempts.backoff.delay(failures, clock);
        error.retry_after.map_or(delay, |least| least.min(RETRY_AFTER_LIMIT).max(delay))
    }
}
