//! A policy as plain configuration.

use serde::{Deserialize, Serialize};
use std::time::Duration;

#[cfg(feature = "rate-limit")]
use crate::resilience::rate_limit::RateLimitConfig;
use crate::{
    Error,
    resilience::{
        Backoff, BreakerConfig, BulkheadConfig, RetryConfig,
        config::{bounded, duration, switch},
    },
};

/// The settings of a [`Policy`](super::Policy). A guard or limit that is `None`, or `false` in a configuration
/// file, is off; a key that is not there has the default, that of [`background`](Self::background); a key that is unknown
/// is refused.
///
/// ```
/// use comms_core::resilience::PolicyConfig;
/// let config: PolicyConfig = serde_json::from_str(r#"{
///     "timeout": "2s",
///     "retry": { "max_attempts": 3, "backoff": { "base": "20ms", "cap": "1s" } },
///     "breaker": { "window": { "kind": { "calls": 100 }, "slow_call_duration": "500ms" } },
///     "bulkhead": false
/// }"#)?;
/// assert_eq!(config.retry.unwrap().max_attempts, 3);
/// assert!(config.bulkhead.is_none());
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct PolicyConfig {
    /// For the whole call, its attempts and waits among them. The deadline of the current
    /// [`Context`](crate::context::Context) holds, too: the earlier ends the call. Default none.
    #[serde(with = "duration::optional")]
    pub timeout: Option<Duration>,
    /// For each attempt. Default 10 s.
    #[serde(with = "duration::optional")]
    pub attempt_timeout: Option<Duration>,
    /// AttemptConfig after the first.
    #[serde(with = "switch")]
    pub retry: Option<RetryConfig>,
    /// The breaker of the destination; asked at each attempt.
    #[serde(with = "switch")]
    pub breaker: Option<BreakerConfig>,
    /// The compartment; a seat is taken for each attempt, not for the waits between them.
    #[serde(with = "switch")]
    pub bulkhead: Option<BulkheadConfig>,
    /// How often calls may begin; retries are paid from the budget instead. Default off.
    #[cfg(feature = "rate-limit")]
    #[serde(with = "switch")]
    pub rate_limit: Option<RateLimitConfig>,
    /// Whether calls are measured: a histogram, and counters of what the guards did. Default true.
    pub metrics: bool,
}

impl Default for PolicyConfig {
    fn default() -> Self {
        Self::background()
    }
}

/// Setters: each takes the configuration and returns it with one setting changed.
impl PolicyConfig {
    /// Sets `timeout`; `None` turns it off.
    #[must_use]
    pub fn timeout(self, timeout: impl Into<Option<Duration>>) -> Self {
        Self { timeout: timeout.into(), ..self }
    }

    /// Sets `attempt_timeout`; `None` turns it off.
    #[must_use]
    pub fn attempt_timeout(self, attempt_timeout: impl Into<Option<Duration>>) -> Self {
        Self { attempt_timeout: attempt_timeout.into(), ..self }
    }

    /// Sets `retry`; `None` turns it off.
    #[must_use]
    pub fn retry(self, retry: impl Into<Option<RetryConfig>>) -> Self {
        Self { retry: retry.into(), ..self }
    }

    /// Sets `breaker`; `None` turns it off.
    #[must_use]
    pub fn breaker(self, breaker: impl Into<Option<BreakerConfig>>) -> Self {
        Self { breaker: breaker.into(), ..self }
    }

    /// Sets `bulkhead`; `None` turns it off.
    #[must_use]
    pub fn bulkhead(self, bulkhead: impl Into<Option<BulkheadConfig>>) -> Self {
        Self { bulkhead: bulkhead.into(), ..self }
    }

    /// Sets `rate_limit`; `None` turns it off.
    #[cfg(feature = "rate-limit")]
    #[must_use]
    pub fn rate_limit(self, rate_limit: impl Into<Option<RateLimitConfig>>) -> Self {
        Self { rate_limit: rate_limit.into(), ..self }
    }

    /// Sets `metrics`.
    #[must_use]
    pub fn metrics(self, metrics: bool) -> Self {
        Self { metrics, ..self }
    }
}

impl PolicyConfig {
    /// For work nobody waits for: 10 s an attempt, five attempts from 1 s on, the standard breaker, 30 seats.
    #[must_use]
    pub fn background() -> Self {
        Self {
            attempt_timeout: Some(Duration::from_secs(10)),
            retry: Some(RetryConfig::default()),
            breaker: Some(BreakerConfig::default()),
            bulkhead: Some(BulkheadConfig::default()),
            metrics: true,
            ..Self::none()
        }
    }

    /// For a call that somebody waits for: 1 s in all, and retries from 50 ms on, or none would ever fit.
    #[must_use]
    pub fn interactive() -> Self {
        let backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(1)).unwrap_or_default();
        Self {
            timeout: Some(Duration::from_secs(1)),
            attempt_timeout: None,
            retry: Some(RetryConfig { backoff, ..RetryConfig::default() }),
            ..Self::background()
        }
    }

    /// No guard, no limit, nothing measured: a start for a policy of one guard.
    #[must_use]
    pub const fn none() -> Self {
        Self {
            timeout: None,
            attempt_timeout: None,
            retry: None,
            breaker: None,
            bulkhead: None,
            #[cfg(feature = "rate-limit")]
            rate_limit: None,
            metrics: false,
        }
    }

    /// Whether these settings make sense.
    ///
    /// # Errors
    /// `Invalid`, naming the setting.
    pub fn validate(&self) -> Result<(), Error> {
        bounded("timeout", self.timeout.unwrap_or_default())?;
        bounded("attempt_timeout", self.attempt_timeout.unwrap_or_default())?;
        if [self.timeout, self.attempt_timeout].contains(&Some(Duration::ZERO)) {
            return Err(Error::invalid("a timeout must not be zero; `false` is none"));
        }
        self.retry.as_ref().map_or(Ok(()), RetryConfig::validate)?;
        self.breaker.as_ref().map_or(Ok(()), BreakerConfig::validate)?;
        #[cfg(feature = "rate-limit")]
        self.rate_limit.as_ref().map_or(Ok(()), RateLimitConfig::validate)?;
        self.bulkhead.as_ref().map_or(Ok(()), BulkheadConfig::validate)
    }
}
