//! Whether a failed attempt is made again, and when: a pure decision.

use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

use super::{
    Backoff, RetryBudget, RetryBudgetConfig,
    config::{bounded, duration, switch},
};
use crate::{Error, ErrorKind, clock::Clock, resilience::Retry};

/// How often and under which conditions an attempt is made again. Default: five attempts in all, 1 s doubling to 30 s, +-20%, within a [`RetryBudget`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct RetryConfig {
    /// AttemptConfig in all, the first among them. Default 5.
    pub max_attempts: u32,
    /// Waits between attempts, where the peer asks for no other.
    pub backoff: Backoff,
    /// What retries may cost; `false` for no limit, which lets an outage be multiplied by `max_attempts`.
    #[serde(with = "switch")]
    pub budget: Option<RetryBudgetConfig>,
    /// The longest wait that a peer may ask for; where it asks for more, the call ends with its error, which says so.
    /// Default 5 min.
    #[serde(with = "duration")]
    pub max_pushback: Duration,
    /// All calls may be made twice: each carries an idempotency key of its own, or has the same effect however often it
    /// is made. So an `Indeterminate` failure may be tried again. Default false: then only where the call says so itself
    /// ([`Policy::run_idempotent`](super::Policy::run_idempotent), [`Classify::is_idempotent`](super::Classify)).
    pub idempotent: bool,
    /// A `Conflict` is tried again: right where each attempt reads anew what it changes. Default false.
    pub conflicts: bool,
}

impl Default for RetryConfig {
    fn default() -> Self {
        let (backoff, budget) = (Backoff::default(), Some(RetryBudgetConfig::default()));
        let max_pushback = Duration::from_secs(300);
        Self { max_attempts: 5, backoff, budget, max_pushback, idempotent: false, conflicts: false }
    }
}

/// Setters: each takes the configuration and returns it with one setting changed.
impl RetryConfig {
    /// Sets `max_attempts`.
    #[must_use]
    pub fn max_attempts(self, max_attempts: u32) -> Self {
        Self { max_attempts, ..self }
    }

    /// Sets `backoff`.
    #[must_use]
    pub fn backoff(self, backoff: Backoff) -> Self {
        Self { backoff, ..self }
    }

    /// Sets `budget`; `None` turns it off.
    #[must_use]
    pub fn budget(self, budget: impl Into<Option<RetryBudgetConfig>>) -> Self {
        Self { budget: budget.into(), ..self }
    }

    /// Sets `max_pushback`.
    #[must_use]
    pub fn max_pushback(self, max_pushback: Duration) -> Self {
        Self { max_pushback, ..self }
    }

    /// Sets `idempotent`.
    #[must_use]
    pub fn idempotent(self, idempotent: bool) -> Self {
        Self { idempotent, ..self }
    }

    /// Sets `conflicts`.
    #[must_use]
    pub fn conflicts(self, conflicts: bool) -> Self {
        Self { conflicts, ..self }
    }
}

impl RetryConfig {
    /// Whether these settings make sense.
    ///
    /// # Errors
    /// `Invalid` for no attempt at all, or a budget that makes no sense.
    pub fn validate(&self) -> Result<(), Error> {
        if self.max_attempts == 0 {
            return Err(Error::invalid("retry: `max_attempts` counts the first one and is at least 1"));
        }
        bounded("max_pushback", self.max_pushback)?;
        self.budget.as_ref().map_or(Ok(()), RetryBudgetConfig::validate)
    }
}

/// A failed attempt, and what is known around it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Failed {
    /// 1 for the first.
    pub(super) attempt: u32,
    pub(super) kind: ErrorKind,
    /// The wait the peer asked for.
    pub(super) retry_after: Option<Duration>,
    /// The call itself may be made twice.
    pub(super) idempotent: bool,
    pub(super) now: Instant,
    pub(super) deadline: Option<Instant>,
}

/// What to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    /// Again, after this wait.
    Again(Duration),
    /// Not again: asking again would be wrong.
    Final,
    /// It would be right, but this stands against it.
    Denied(Denied),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Denied {
    AttemptConfig,
    Pushback,
    Deadline,
    RetryBudget,
}

impl Denied {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::AttemptConfig => "attempts",
            Self::Pushback => "pushback",
            Self::Deadline => "deadline",
            Self::RetryBudget => "budget",
        }
    }
}

/// The budget is asked last, so that a retry which is ruled out is not paid for.
pub(super) fn decide(
    config: &RetryConfig,
    budget: Option<&RetryBudget>,
    failed: &Failed,
    clock: &Clock,
) -> Decision {
    let right = match failed.kind.retry() {
        Retry::Yes => true,
        Retry::IfRepeatable => config.idempotent || failed.idempotent,
        Retry::IfReadAnew => config.conflicts,
        // The peer is overloaded: retry only after the wait that it named.
        Retry::AfterWait => failed.retry_after.is_some(),
        Retry::No => false,
    };
    if !right {
        return Decision::Final;
    }
    if failed.attempt >= config.max_attempts {
        return Decision::Denied(Denied::AttemptConfig);
    }
    if failed.retry_after.is_some_and(|wait| wait > config.max_pushback) {
        return Decision::Denied(Denied::Pushback);
    }
    let delay = failed.retry_after.unwrap_or_else(|| config.backoff.delay(failed.attempt, clock));
    // Timers fire at whole milliseconds: a wait that ends just before the deadline may wake up after it.
    let wakes =
        Duration::from_millis(u64::try_from(delay.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX));
    if failed.deadline.is_some_and(|deadline| wakes >= deadline.saturating_duration_since(failed.now)) {
        return Decision::Denied(Denied::Deadline);
    }
    if budget.is_some_and(|budget| !budget.withdraw_at(failed.now)) {
        return Decision::Denied(Denied::RetryBudget);
    }
    Decision::Again(delay)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    fn failed(clock: &Clock, kind: ErrorKind) -> Failed {
        let now = clock.now();
        Failed { attempt: 1, kind, retry_after: None, idempotent: false, now, deadline: None }
    }

    #[test]
    fn only_what_may_be_sent_again_is_sent_again() {
        let (clock, config) = (Clock::manual(Duration::ZERO), RetryConfig::default());
        let idempotent = RetryConfig { idempotent: true, ..config.clone() };
        let conflicts = RetryConfig { conflicts: true, ..config.clone() };
        let again = |config: &RetryConfig, failed: Failed| {
            matches!(decide(config, None, &failed, &clock), Decision::Again(_))
        };
        let plain = |kind| failed(&clock, kind);
        assert!(again(&config, plain(ErrorKind::NotExecuted)));
        assert!(!again(&config, plain(ErrorKind::Indeterminate)));
        assert!(again(&config, Failed { idempotent: true, ..plain(ErrorKind::Indeterminate) }));
        assert!(again(&idempotent, plain(ErrorKind::Indeterminate)));
        assert!(!again(&config, plain(ErrorKind::Conflict)));
        assert!(again(&conflicts, plain(ErrorKind::Conflict)));
        assert!(!again(&config, plain(ErrorKind::Rejected)));
        assert!(again(&config, Failed { retry_after: Some(secs(1)), ..plain(ErrorKind::Rejected) }));
        for kind in [ErrorKind::Invalid, ErrorKind::Fatal] {
            let asked = Failed { idempotent: true, retry_after: Some(secs(1)), ..plain(kind) };
            assert_eq!(decide(&idempotent, None, &asked, &clock), Decision::Final, "{kind}");
        }
    }

    #[test]
    fn pushback_is_honoured_exactly() {
        let (clock, config) = (Clock::manual(Duration::ZERO), RetryConfig::default());
        for wait in [Duration::ZERO, Duration::from_millis(1), secs(120)] {
            let failed = Failed { retry_after: Some(wait), ..failed(&clock, ErrorKind::NotExecuted) };
            assert_eq!(decide(&config, None, &failed, &clock), Decision::Again(wait));
        }
        let too_long = Failed { retry_after: Some(Duration::MAX), ..failed(&clock, ErrorKind::NotExecuted) };
        assert_eq!(decide(&config, None, &too_long, &clock), Decision::Denied(Denied::Pushback));
    }

    #[test]
    fn attempts_are_counted_with_the_first() {
        let (clock, config) =
            (Clock::manual(Duration::ZERO), RetryConfig { max_attempts: 3, ..Default::default() });
        let nth = |attempt| {
            let failed = Failed { attempt, ..failed(&clock, ErrorKind::NotExecuted) };
            matches!(decide(&config, None, &failed, &clock), Decision::Again(_))
        };
        assert_eq!([1, 2, 3, 4].map(nth), [true, true, false, false]);
    }

    #[test]
    fn a_wait_that_would_reach_the_deadline_is_not_begun() {
        let (clock, config) = (Clock::manual(Duration::ZERO), RetryConfig::default());
        let within = |left: Duration| {
            let failed = failed(&clock, ErrorKind::NotExecuted);
            let failed = Failed { retry_after: Some(secs(2)), deadline: Some(failed.now + left), ..failed };
            decide(&config, None, &failed, &clock)
        };
        assert_eq!(within(secs(2)), Decision::Denied(Denied::Deadline));
        assert_eq!(within(Duration::from_millis(2_001)), Decision::Again(secs(2)));
        assert_eq!(within(Duration::ZERO), Decision::Denied(Denied::Deadline));
    }

    #[test]
    fn a_retry_that_is_not_made_is_not_paid_for() {
        let (clock, config) =
            (Clock::manual(Duration::ZERO), RetryConfig { max_attempts: 2, ..Default::default() });
        let mut prices = RetryBudgetConfig::default();
        (prices.min_per_second, prices.window) = (1, secs(1));
        let budget = RetryBudget::new(&prices, clock.clone()).unwrap();
        let first = failed(&clock, ErrorKind::NotExecuted);
        let too_late = Failed { deadline: Some(first.now), ..first };
        decide(&config, Some(&budget), &too_late, &clock);
        decide(&config, Some(&budget), &Failed { attempt: 2, ..first }, &clock);
        decide(&config, Some(&budget), &failed(&clock, ErrorKind::Invalid), &clock);
        assert_eq!(budget.available(), 1);
        assert!(matches!(decide(&config, Some(&budget), &first, &clock), Decision::Again(_)));
        assert_eq!(decide(&config, Some(&budget), &first, &clock), Decision::Denied(Denied::RetryBudget));
    }
}
