//! The retry decision: whether a failed attempt is retried, and after which wait. A pure function.

use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

use super::{
    Backoff, RetryBudget, RetryBudgetConfig,
    config::{bounded, duration, switch},
};
use crate::{Error, clock::Clock, resilience::Retry};

/// The retry settings of a [`Policy`](super::Policy).
///
/// Default: five attempts in all, a backoff of 1 s that doubles up to 30 s with a jitter of +-20 %, and a
/// [`RetryBudget`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct RetryConfig {
    /// Attempts in all, including the first. At least 1, default 5.
    pub max_attempts: u32,
    /// The wait between attempts, unless the peer requests another one (pushback).
    pub backoff: Backoff,
    /// The budget that retries are withdrawn from. `None`, or `false` in configuration, sets no limit: an outage is
    /// then multiplied by `max_attempts`.
    #[serde(with = "switch")]
    pub budget: Option<RetryBudgetConfig>,
    /// The longest wait that a peer may request (pushback). If the peer requests a longer one, the call ends with the
    /// peer's error. Default 5 min.
    #[serde(with = "duration")]
    pub max_pushback: Duration,
    /// Whether executing any call twice is harmless: each carries an idempotency key for this call, or has the same
    /// effect however often it is executed. Then an [`Indeterminate`](crate::ErrorKind::Indeterminate) failure is retried.
    /// Default `false`.
    ///
    /// One call can set this for itself: [`Policy::run_idempotent`](super::Policy::run_idempotent),
    /// [`Classify::is_idempotent`](super::Classify::is_idempotent).
    pub idempotent: bool,
    /// Whether a [`Conflict`](crate::ErrorKind::Conflict) is retried. Correct only if each attempt reads the changed state
    /// again. Default `false`.
    pub conflicts: bool,
}

impl Default for RetryConfig {
    fn default() -> Self {
        let (backoff, budget) = (Backoff::default(), Some(RetryBudgetConfig::default()));
        let max_pushback = Duration::from_secs(300);
        Self { max_attempts: 5, backoff, budget, max_pushback, idempotent: false, conflicts: false }
    }
}

impl RetryConfig {
    /// Checks the settings.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if `max_attempts` is 0, `max_pushback` is above 99,999,999 s, or
    /// [`RetryBudgetConfig::validate`] fails.
    pub fn validate(&self) -> Result<(), Error> {
        if self.max_attempts == 0 {
            return Err(Error::invalid(
                "retry: `max_attempts` includes the first attempt and must be at least 1",
            ));
        }
        bounded("max_pushback", self.max_pushback)?;
        self.budget.as_ref().map_or(Ok(()), RetryBudgetConfig::validate)
    }
}

/// Setters: each takes the configuration and returns it with one setting changed.
impl RetryConfig {
    /// Sets the number of attempts in all, including the first. Default 5.
    #[must_use]
    pub fn max_attempts(self, max_attempts: u32) -> Self {
        Self { max_attempts, ..self }
    }

    /// Sets the wait between attempts. Default 1 s, doubled up to 30 s, +-20 %.
    #[must_use]
    pub fn backoff(self, backoff: Backoff) -> Self {
        Self { backoff, ..self }
    }

    /// Sets the budget of retries; `None` sets no limit. Default [`RetryBudgetConfig::default`].
    #[must_use]
    pub fn budget(self, budget: impl Into<Option<RetryBudgetConfig>>) -> Self {
        Self { budget: budget.into(), ..self }
    }

    /// Sets the longest wait that a peer may request. Default 5 min.
    #[must_use]
    pub fn max_pushback(self, max_pushback: Duration) -> Self {
        Self { max_pushback, ..self }
    }

    /// Sets whether failures that may have been executed are retried. Default `false`.
    #[must_use]
    pub fn idempotent(self, idempotent: bool) -> Self {
        Self { idempotent, ..self }
    }

    /// Sets whether conflicts are retried. Default `false`.
    #[must_use]
    pub fn conflicts(self, conflicts: bool) -> Self {
        Self { conflicts, ..self }
    }
}

/// The input of [`decide`].
#[derive(Debug, Clone, Copy)]
pub(super) struct FailedAttempt {
    /// The number of the attempt, from 1.
    pub(super) attempt: u32,
    pub(super) retry: Retry,
    /// The wait that the peer requested.
    pub(super) retry_after: Option<Duration>,
    /// Whether executing this call twice is harmless.
    pub(super) idempotent: bool,
    pub(super) now: Instant,
    pub(super) deadline: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RetryDecision {
    /// Retry after this wait.
    RetryAfter(Duration),
    /// The failure is not retryable.
    NotRetryable,
    /// The failure is retryable, but a limit forbids the retry.
    Denied(DenialReason),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DenialReason {
    MaxAttempts,
    Pushback,
    Deadline,
    Budget,
}

impl DenialReason {
    /// Returns the value of the `reason` label.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::MaxAttempts => "attempts",
            Self::Pushback => "pushback",
            Self::Deadline => "deadline",
            Self::Budget => "budget",
        }
    }
}

/// Decides whether the attempt is retried. The budget is checked last, so that a retry which another limit denies
/// withdraws no token.
pub(super) fn decide(
    config: &RetryConfig,
    budget: Option<&RetryBudget>,
    failed: &FailedAttempt,
    clock: &Clock,
) -> RetryDecision {
    let retryable = match failed.retry {
        Retry::Yes => true,
        Retry::IfRepeatable => config.idempotent || failed.idempotent,
        Retry::IfReadAnew => config.conflicts,
        // The peer is overloaded: retry only after a wait that it requested.
        Retry::AfterWait => failed.retry_after.is_some(),
        Retry::No => false,
    };
    if !retryable {
        return RetryDecision::NotRetryable;
    }
    if failed.attempt >= config.max_attempts {
        return RetryDecision::Denied(DenialReason::MaxAttempts);
    }
    if failed.retry_after.is_some_and(|wait| wait > config.max_pushback) {
        return RetryDecision::Denied(DenialReason::Pushback);
    }
    let delay = failed.retry_after.unwrap_or_else(|| config.backoff.delay(failed.attempt, clock));
    if failed.deadline.is_some_and(|deadline| !ends_before(delay, failed.now, deadline)) {
        return RetryDecision::Denied(DenialReason::Deadline);
    }
    if budget.is_some_and(|budget| !budget.try_withdraw_at(failed.now)) {
        return RetryDecision::Denied(DenialReason::Budget);
    }
    RetryDecision::RetryAfter(delay)
}

/// Returns whether a wait of `delay` from `now` on ends before `deadline`. Timers fire at whole milliseconds, so a wait that
/// ends just before the deadline may end after it.
pub(super) fn ends_before(delay: Duration, now: Instant, deadline: Instant) -> bool {
    let millis = u64::try_from(delay.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
    Duration::from_millis(millis) < deadline.saturating_duration_since(now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    const fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    fn failed(clock: &Clock, kind: ErrorKind) -> FailedAttempt {
        let now = clock.now();
        FailedAttempt {
            attempt: 1,
            retry: kind.retry(),
            retry_after: None,
            idempotent: false,
            now,
            deadline: None,
        }
    }

    #[test]
    fn only_retryable_kinds_are_retried() {
        let (clock, config) = (Clock::manual(Duration::ZERO), RetryConfig::default());
        let idempotent = RetryConfig { idempotent: true, ..config.clone() };
        let conflicts = RetryConfig { conflicts: true, ..config.clone() };
        let is_retried = |config: &RetryConfig, failed: FailedAttempt| {
            matches!(decide(config, None, &failed, &clock), RetryDecision::RetryAfter(_))
        };
        let plain = |kind| failed(&clock, kind);
        assert!(is_retried(&config, plain(ErrorKind::NotExecuted)));
        assert!(!is_retried(&config, plain(ErrorKind::Indeterminate)));
        assert!(is_retried(&config, FailedAttempt { idempotent: true, ..plain(ErrorKind::Indeterminate) }));
        assert!(is_retried(&idempotent, plain(ErrorKind::Indeterminate)));
        assert!(!is_retried(&config, plain(ErrorKind::Conflict)));
        assert!(is_retried(&conflicts, plain(ErrorKind::Conflict)));
        assert!(!is_retried(&config, plain(ErrorKind::Rejected)));
        assert!(is_retried(
            &config,
            FailedAttempt { retry_after: Some(secs(1)), ..plain(ErrorKind::Rejected) }
        ));
        for kind in [ErrorKind::Invalid, ErrorKind::Fatal] {
            let pushback = FailedAttempt { idempotent: true, retry_after: Some(secs(1)), ..plain(kind) };
            assert_eq!(decide(&idempotent, None, &pushback, &clock), RetryDecision::NotRetryable, "{kind}");
        }
    }

    #[test]
    fn pushback_replaces_the_backoff_exactly() {
        let (clock, config) = (Clock::manual(Duration::ZERO), RetryConfig::default());
        for wait in [Duration::ZERO, Duration::from_millis(1), secs(120)] {
            let failed = FailedAttempt { retry_after: Some(wait), ..failed(&clock, ErrorKind::NotExecuted) };
            assert_eq!(decide(&config, None, &failed, &clock), RetryDecision::RetryAfter(wait));
        }
        let too_long =
            FailedAttempt { retry_after: Some(Duration::MAX), ..failed(&clock, ErrorKind::NotExecuted) };
        assert_eq!(decide(&config, None, &too_long, &clock), RetryDecision::Denied(DenialReason::Pushback));
    }

    #[test]
    fn max_attempts_includes_the_first() {
        let (clock, config) =
            (Clock::manual(Duration::ZERO), RetryConfig { max_attempts: 3, ..Default::default() });
        let nth = |attempt| {
            let failed = FailedAttempt { attempt, ..failed(&clock, ErrorKind::NotExecuted) };
            matches!(decide(&config, None, &failed, &clock), RetryDecision::RetryAfter(_))
        };
        assert_eq!([1, 2, 3, 4].map(nth), [true, true, false, false]);
    }

    #[test]
    fn a_wait_that_reaches_the_deadline_is_denied() {
        let (clock, config) = (Clock::manual(Duration::ZERO), RetryConfig::default());
        let within = |left: Duration| {
            let failed = failed(&clock, ErrorKind::NotExecuted);
            let failed =
                FailedAttempt { retry_after: Some(secs(2)), deadline: Some(failed.now + left), ..failed };
            decide(&config, None, &failed, &clock)
        };
        assert_eq!(within(secs(2)), RetryDecision::Denied(DenialReason::Deadline));
        assert_eq!(within(Duration::from_millis(2_001)), RetryDecision::RetryAfter(secs(2)));
        assert_eq!(within(Duration::ZERO), RetryDecision::Denied(DenialReason::Deadline));
    }

    #[test]
    fn a_denied_retry_withdraws_no_token() {
        let (clock, config) =
            (Clock::manual(Duration::ZERO), RetryConfig { max_attempts: 2, ..Default::default() });
        let one_token = RetryBudgetConfig::default().min_per_second(1).window(secs(1));
        let budget = RetryBudget::new(&one_token, clock.clone()).unwrap();
        let first = failed(&clock, ErrorKind::NotExecuted);
        let too_late = FailedAttempt { deadline: Some(first.now), ..first };
        decide(&config, Some(&budget), &too_late, &clock);
        decide(&config, Some(&budget), &FailedAttempt { attempt: 2, ..first }, &clock);
        decide(&config, Some(&budget), &failed(&clock, ErrorKind::Invalid), &clock);
        assert_eq!(budget.available(), 1);
        assert!(matches!(decide(&config, Some(&budget), &first, &clock), RetryDecision::RetryAfter(_)));
        assert_eq!(
            decide(&config, Some(&budget), &first, &clock),
            RetryDecision::Denied(DenialReason::Budget)
        );
    }
}
