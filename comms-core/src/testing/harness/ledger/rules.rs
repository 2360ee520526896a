//! The rules by which a consumer goes on after a failed attempt, as the ledger needs them.

use std::time::{Duration, Instant};

use crate::{
    ErrorKind,
    clock::Clock,
    testing::harness::state::{DeliveryState, Failure},
    transport::{AttemptConfig, Disposition, FailurePolicy, Ordering},
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
    pub(in crate::testing::harness) failure_policy: FailurePolicy,
}

impl Rules {
    /// Returns the step after the attempt number `attempt` failed. It is the `failures`-th failure of the delivery, and
    /// `held` is how long the delivery has been held. The worker has the same rules.
    pub(super) fn after(
        &self,
        failure: &Failure,
        (attempt, failures): (u32, u32),
        held: Option<Duration>,
        clock: &Clock,
    ) -> Step {
        let at = |failures| clock.now() + self.delay(failure, failures, clock);
        let limit = self.attempts.hold_limit;
        match failure.kind.disposition() {
            Disposition::Stop => Step::End(DeliveryState::Stopped(failure.kind)),
            Disposition::Hold if limit.is_none_or(|limit| held.unwrap_or_default() < limit) => {
                Step::Attempt { at: at(failures), held: true }
            }
            Disposition::Retry if attempt < self.attempts.max_attempts => {
                let soon = failure.kind == ErrorKind::Conflict;
                Step::Attempt { at: at(if soon { 1 } else { failures }), held: false }
            }
            _ => match self.failure_policy {
                FailurePolicy::DeadLetter => Step::DeadLetter { at: None },
                FailurePolicy::Hold => Step::Attempt { at: at(failures), held: true },
                FailurePolicy::Stop => Step::End(DeliveryState::Stopped(failure.kind)),
            },
        }
    }

    fn delay(&self, failure: &Failure, failures: u32, clock: &Clock) -> Duration {
        let delay = self.attempts.backoff.delay(failures, clock);
        failure.retry_after.map_or(delay, |least| least.min(RETRY_AFTER_LIMIT).max(delay))
    }
}
