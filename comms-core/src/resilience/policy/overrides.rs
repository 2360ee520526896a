//! The limits and retries that some calls have in place of those of their policy.

use std::time::Duration;

use super::PolicyConfig;
use crate::{
    Error,
    resilience::{Backoff, RetryBudget, config::bounded},
};

/// Limits and retries of some calls, for example those of one method of a peer, in place of the settings of their
/// [`Policy`](super::Policy).
///
/// The calls keep the guards of the policy: they share its breaker, bulkhead and rate limit with all other calls, and
/// follow [`Policy::configure`](super::Policy::configure). Overrides never turn on a guard, or retries, that the policy
/// does not have.
///
/// ```
/// use comms_core::{Error, resilience::{Backoff, Policy, PolicyOverrides}};
/// use std::time::Duration;
/// use tower::{Layer, ServiceExt, service_fn};
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Error> {
/// let policy = Policy::interactive("payments"); // 1 s for a call, five attempts
/// let backoff = Backoff::new(Duration::from_millis(10), Duration::from_millis(100))?;
/// let reports = PolicyOverrides::default().timeout(Duration::from_millis(400))?.attempts(2, backoff)?;
/// let report = service_fn(|()| std::future::ready(Err::<(), _>(Error::not_executed("away"))));
/// let service = policy.layer().overrides(reports).layer(report);
/// assert!(service.oneshot(()).await.is_err());
/// assert_eq!(policy.retry_budget().unwrap().available(), 99, "one retry, from the budget of the policy");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default)]
pub struct PolicyOverrides {
    timeout: Option<Duration>,
    attempt_timeout: Option<Duration>,
    attempts: Option<(u32, Backoff)>,
    budget: Option<RetryBudget>,
}

impl PolicyOverrides {
    /// Sets a time limit of the whole call. The shorter of this limit and that of the policy applies.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if `timeout` is zero or above 99,999,999 s.
    pub fn timeout(mut self, timeout: Duration) -> Result<Self, Error> {
        self.timeout = Some(above_zero("timeout", timeout)?);
        Ok(self)
    }

    /// Sets a time limit of each attempt. The shorter of this limit and that of the policy applies.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if `timeout` is zero or above 99,999,999 s.
    pub fn attempt_timeout(mut self, timeout: Duration) -> Result<Self, Error> {
        self.attempt_timeout = Some(above_zero("attempt_timeout", timeout)?);
        Ok(self)
    }

    /// Sets the number of attempts in all, including the first, and the wait between them. No effect if the policy has
    /// its retries off.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if `max_attempts` is 0.
    pub fn attempts(mut self, max_attempts: u32, backoff: Backoff) -> Result<Self, Error> {
        if max_attempts == 0 {
            return Err(Error::invalid("`max_attempts` includes the first attempt and must be at least 1"));
        }
        self.attempts = Some((max_attempts, backoff));
        Ok(self)
    }

    /// Sets the budget that retries are withdrawn from, in place of that of the policy.
    #[must_use]
    pub fn retry_budget(mut self, budget: RetryBudget) -> Self {
        self.budget = Some(budget);
        self
    }

    pub(in crate::resilience) const fn budget(&self) -> Option<&RetryBudget> {
        self.budget.as_ref()
    }

    /// Changes `config`, the settings of a policy.
    pub(super) fn apply(&self, config: &mut PolicyConfig) {
        let shorter = |one: Option<Duration>, other| one.into_iter().chain(other).min();
        config.timeout = shorter(config.timeout, self.timeout);
        config.attempt_timeout = shorter(config.attempt_timeout, self.attempt_timeout);
        if let Some((retry, (max_attempts, backoff))) = config.retry.as_mut().zip(self.attempts) {
            (retry.max_attempts, retry.backoff) = (max_attempts, backoff);
        }
    }
}

fn above_zero(setting: &str, duration: Duration) -> Result<Duration, Error> {
    bounded(setting, duration)?;
    if duration.is_zero() {
        return Err(Error::invalid(format!("`{setting}` must be above zero")));
    }
    Ok(duration)
}
