//! The settings of a rate limit.

use governor::Quota;
use serde::{Deserialize, Serialize};
use std::{num::NonZeroU32, time::Duration};

use crate::{
    Error,
    resilience::config::{bounded, duration},
};

/// The settings of a rate limit. Default: 100 calls per second, with bursts of up to 100 calls.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct RateLimitConfig {
    /// Calls per `period`. At least 1, default 100.
    pub limit: u32,
    /// The time that `limit` refers to. Above zero and at most 99,999,999 s. Default 1 s.
    #[serde(with = "duration")]
    pub period: Duration,
    /// Calls that may come at once after a pause. At least 1. Default none: `limit`.
    pub burst: Option<u32>,
}

impl Default for RateLimitConfig {
    fn default() -> Self {
        Self { limit: 100, period: Duration::from_secs(1), burst: None }
    }
}

impl RateLimitConfig {
    /// Returns settings for `limit` calls per `period`, with bursts of up to `limit` calls.
    #[must_use]
    pub const fn new(limit: u32, period: Duration) -> Self {
        Self { limit, period, burst: None }
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if
    /// - `limit`, `period` or `burst` is zero;
    /// - `period / limit`, the spacing of calls, is below 1 ns;
    /// - `period`, or the time in which a whole burst is refilled (`period / limit` times `burst`), is above
    ///   99,999,999 s.
    pub fn validate(&self) -> Result<(), Error> {
        let at_least_one = [self.limit, self.burst.unwrap_or(self.limit)].iter().all(|calls| *calls > 0);
        let spacing = self.period / self.limit.max(1);
        if !at_least_one || spacing.is_zero() {
            return Err(Error::invalid(
                "rate limit: `limit`, `period` and `burst` must be above zero, and `period` / `limit` at least 1 ns",
            ));
        }
        bounded("period", self.period)?;
        bounded("period / limit x burst", spacing.saturating_mul(self.burst.unwrap_or(self.limit)))
    }

    /// Returns governor's form of validated settings.
    pub(super) fn quota(&self) -> Quota {
        let limit = NonZeroU32::new(self.limit).unwrap_or(NonZeroU32::MIN);
        let burst = self.burst.and_then(NonZeroU32::new).unwrap_or(limit);
        let quota = Quota::with_period(self.period / limit.get()).unwrap_or(Quota::per_second(limit));
        quota.allow_burst(burst)
    }
}

/// Setters: each takes the configuration and returns it with one setting changed.
impl RateLimitConfig {
    /// Sets the number of calls per period. Default 100.
    #[must_use]
    pub fn limit(self, limit: u32) -> Self {
        Self { limit, ..self }
    }

    /// Sets the time that the limit refers to. Default 1 s.
    #[must_use]
    pub fn period(self, period: Duration) -> Self {
        Self { period, ..self }
    }

    /// Sets the number of calls that may come at once after a pause; `None` for `limit`. Default none.
    #[must_use]
    pub fn burst(self, burst: impl Into<Option<u32>>) -> Self {
        Self { burst: burst.into(), ..self }
    }
}
