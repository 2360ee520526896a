//! The settings of a policy.

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

/// The settings of a [`Policy`](super::Policy).
///
/// A guard or limit that is `None`, or `false` in a configuration file, is off. An absent key has the default value,
/// which is that of [`background`](Self::background). An unknown key is an error. A duration is text with units, such
/// as `250ms` or `1m 30s`.
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
#[cfg_attr(
    not(feature = "rate-limit"),
    allow(
        clippy::manual_non_exhaustive,
        reason = "the private field is a configuration key that is refused"
    )
)]
pub struct PolicyConfig {
    /// The time limit of the whole call: its attempts, and the waits for permits and between attempts. The deadline of
    /// the current [`Context`](crate::context::Context) applies as well: the earlier of the two ends the call. Above
    /// zero and at most 99,999,999 s. Default none.
    #[serde(with = "duration::optional")]
    pub timeout: Option<Duration>,
    /// The time limit of each attempt. Above zero and at most 99,999,999 s. Default 10 s.
    #[serde(with = "duration::optional")]
    pub attempt_timeout: Option<Duration>,
    /// When and how often a failed attempt is retried. Default [`RetryConfig::default`]: five attempts in all.
    #[serde(with = "switch")]
    pub retry: Option<RetryConfig>,
    /// The circuit breaker, which admits or rejects each attempt. Default [`BreakerConfig::default`].
    #[serde(with = "switch")]
    pub breaker: Option<BreakerConfig>,
    /// The bound on concurrent attempts. An attempt holds a permit; the wait between attempts holds none. Default
    /// [`BulkheadConfig::default`]: 30 permits.
    #[serde(with = "switch")]
    pub bulkhead: Option<BulkheadConfig>,
    /// The limit on the rate of calls. A retry is not counted; it is withdrawn from the retry budget. Default off.
    #[cfg(feature = "rate-limit")]
    #[serde(with = "switch")]
    pub rate_limit: Option<RateLimitConfig>,
    // Without the feature, `false` is accepted all the same, and another value is refused with the reason.
    #[cfg(not(feature = "rate-limit"))]
    #[serde(skip_serializing, deserialize_with = "needs_rate_limit")]
    rate_limit: (),
    /// Whether the policy records metrics: a histogram of call durations, and counters of retries and rejections.
    /// Default `true`.
    pub metrics: bool,
}

#[cfg(not(feature = "rate-limit"))]
fn needs_rate_limit<'de, D: serde::Deserializer<'de>>(from: D) -> Result<(), D::Error> {
    match switch::deserialize::<serde::de::IgnoredAny, D>(from)? {
        None => Ok(()),
        Some(_) => Err(serde::de::Error::custom(
            "not available: this program is built without the feature `rate-limit` of comms-core",
        )),
    }
}

impl Default for PolicyConfig {
    fn default() -> Self {
        Self::background()
    }
}

impl PolicyConfig {
    /// Returns settings for background work without a waiting caller.
    ///
    /// 10 s per attempt, five attempts with a backoff of 1 s to 30 s, the default breaker, a bulkhead of 30 permits,
    /// and no time limit of the whole call.
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

    /// Returns settings for calls with a waiting caller.
    ///
    /// 1 s for the whole call, five attempts with a backoff of 50 ms to 1 s (so that a retry fits into the time limit),
    /// the default breaker, and a bulkhead of 30 permits.
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

    /// Returns settings without any guard, limit or metric, as a start for a policy with a single guard.
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
            #[cfg(not(feature = "rate-limit"))]
            rate_limit: (),
            metrics: false,
        }
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](crate::ErrorKind::Invalid), naming the setting, if `timeout` or `attempt_timeout`
    /// is zero or above 99,999,999 s, or if [`RetryConfig::validate`], [`BreakerConfig::validate`],
    /// [`BulkheadConfig::validate`] or `RateLimitConfig::validate` fails.
    pub fn validate(&self) -> Result<(), Error> {
        bounded("timeout", self.timeout.unwrap_or_default())?;
        bounded("attempt_timeout", self.attempt_timeout.unwrap_or_default())?;
        if [self.timeout, self.attempt_timeout].contains(&Some(Duration::ZERO)) {
            return Err(Error::invalid(
                "`timeout` and `attempt_timeout` must be above zero; `false` turns one off",
            ));
        }
        self.retry.as_ref().map_or(Ok(()), RetryConfig::validate)?;
        self.breaker.as_ref().map_or(Ok(()), BreakerConfig::validate)?;
        #[cfg(feature = "rate-limit")]
        self.rate_limit.as_ref().map_or(Ok(()), RateLimitConfig::validate)?;
        self.bulkhead.as_ref().map_or(Ok(()), BulkheadConfig::validate)
    }
}

/// Setters: each takes the configuration and returns it with one setting changed.
impl PolicyConfig {
    /// Sets the time limit of the whole call. Default none.
    #[must_use]
    pub fn timeout(self, timeout: impl Into<Option<Duration>>) -> Self {
        Self { timeout: timeout.into(), ..self }
    }

    /// Sets the time limit of each attempt; `None` turns it off. Default 10 s.
    #[must_use]
    pub fn attempt_timeout(self, attempt_timeout: impl Into<Option<Duration>>) -> Self {
        Self { attempt_timeout: attempt_timeout.into(), ..self }
    }

    /// Sets when and how often a call is retried; `None` for one attempt. Default five attempts in all.
    #[must_use]
    pub fn retry(self, retry: impl Into<Option<RetryConfig>>) -> Self {
        Self { retry: retry.into(), ..self }
    }

    /// Sets the circuit breaker; `None` turns it off. Default [`BreakerConfig::default`].
    #[must_use]
    pub fn breaker(self, breaker: impl Into<Option<BreakerConfig>>) -> Self {
        Self { breaker: breaker.into(), ..self }
    }

    /// Sets the bound on concurrent attempts; `None` turns it off. Default 30 permits.
    #[must_use]
    pub fn bulkhead(self, bulkhead: impl Into<Option<BulkheadConfig>>) -> Self {
        Self { bulkhead: bulkhead.into(), ..self }
    }

    /// Sets the limit on the rate of calls. Default none.
    #[cfg(feature = "rate-limit")]
    #[must_use]
    pub fn rate_limit(self, rate_limit: impl Into<Option<RateLimitConfig>>) -> Self {
        Self { rate_limit: rate_limit.into(), ..self }
    }

    /// Sets whether the policy records metrics. Default `true`.
    #[must_use]
    pub fn metrics(self, metrics: bool) -> Self {
        Self { metrics, ..self }
    }
}
