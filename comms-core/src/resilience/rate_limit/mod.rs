//! So many calls in so much time, for all or for each key: the generic cell rate algorithm (ITU-T I.371), which
//! spaces calls evenly beyond a burst and keeps one number per key.
//!
//! The algorithm is governor's. What is added: keys are bounded in number, the clock is injected, and a refusal
//! is a [`Rejection`] that says when to come again.

mod layer;
mod store;

pub use layer::{RateLimit, RateLimitCall, RateLimitLayer};

use governor::{
    Quota,
    clock::{Clock as _, QuantaClock, QuantaInstant, Reference},
    middleware::NoOpMiddleware,
    nanos::Nanos,
    state::{InMemoryState, StateStore},
};
use serde::{Deserialize, Serialize};
use std::{
    fmt,
    hash::Hash,
    num::NonZeroU32,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Guard, Rejection,
    config::{bounded, duration},
    name::intern,
};
use crate::{Error, clock::Clock};
use store::Recent;

/// How often. Default: 100 in 1 s, all of which may come at once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct RateLimitConfig {
    /// Calls in `period`. Default 100.
    pub limit: u32,
    /// Default 1 s.
    #[serde(with = "duration")]
    pub period: Duration,
    /// Calls that may come at once after a pause. Default none: `limit`.
    pub burst: Option<u32>,
}

impl Default for RateLimitConfig {
    fn default() -> Self {
        Self { limit: 100, period: Duration::from_secs(1), burst: None }
    }
}

/// Setters: each takes the configuration and returns it with one setting changed.
impl RateLimitConfig {
    /// Sets `limit`.
    #[must_use]
    pub fn limit(self, limit: u32) -> Self {
        Self { limit, ..self }
    }

    /// Sets `period`.
    #[must_use]
    pub fn period(self, period: Duration) -> Self {
        Self { period, ..self }
    }

    /// Sets `burst`; `None` turns it off.
    #[must_use]
    pub fn burst(self, burst: impl Into<Option<u32>>) -> Self {
        Self { burst: burst.into(), ..self }
    }
}

impl RateLimitConfig {
    /// `limit` calls in `period`, all of which may come at once.
    #[must_use]
    pub const fn new(limit: u32, period: Duration) -> Self {
        Self { limit, period, burst: None }
    }

    /// Whether these settings make sense.
    ///
    /// # Errors
    /// `Invalid` where nothing would ever pass, calls would come closer together than a nanosecond, or a burst would
    /// be worth more than three years.
    pub fn validate(&self) -> Result<(), Error> {
        let at_least_one = [self.limit, self.burst.unwrap_or(self.limit)].iter().all(|calls| *calls > 0);
        let spacing = self.period / self.limit.max(1);
        if !at_least_one || spacing.is_zero() {
            return Err(Error::invalid(
                "rate limit: `limit`, `period` and `burst` are above zero, and calls are at least 1 ns apart",
            ));
        }
        bounded("period", self.period)?;
        bounded("period / limit x burst", spacing.saturating_mul(self.burst.unwrap_or(self.limit)))
    }

    /// The quota of valid settings.
    fn quota(&self) -> Quota {
        let limit = NonZeroU32::new(self.limit).unwrap_or(NonZeroU32::MIN);
        let burst = self.burst.and_then(NonZeroU32::new).unwrap_or(limit);
        let quota = Quota::with_period(self.period / limit.get()).unwrap_or(Quota::per_second(limit));
        quota.allow_burst(burst)
    }
}

/// One limit for all. Clones share it.
///
/// ```
/// use comms_core::{clock::Clock, resilience::{RateLimitConfig, RateLimiter}};
/// use std::time::Duration;
/// let clock = Clock::manual(Duration::ZERO);
/// let limiter = RateLimiter::new("mail", &RateLimitConfig::new(2, Duration::from_secs(1)), clock.clone())?;
/// assert!(limiter.check().is_ok() && limiter.check().is_ok());
/// assert_eq!(limiter.check().unwrap_err().retry_after, Some(Duration::from_millis(500)));
/// clock.advance(Duration::from_millis(500));
/// assert!(limiter.check().is_ok());
/// # Ok::<(), comms_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct RateLimiter(Arc<Limiter<InMemoryState>>);

/// One limit for each key: a user, an address, a tenant. Clones share it.
///
/// At most `max_keys` keys are remembered: those used last, within a factor of two. A key that is forgotten
/// begins with a full burst; so a flood of keys can win bursts, never memory.
///
/// ```
/// use comms_core::{clock::Clock, resilience::{KeyedRateLimiter, RateLimitConfig}};
/// use std::time::Duration;
/// let config = RateLimitConfig::new(1, Duration::from_secs(1));
/// let limiter = KeyedRateLimiter::new("logins", &config, 10_000, Clock::system())?;
/// assert!(limiter.check(&"ann").is_ok());
/// assert!(limiter.check(&"ann").is_err());
/// assert!(limiter.check(&"bob").is_ok());
/// # Ok::<(), comms_core::Error>(())
/// ```
#[derive(Debug)]
pub struct KeyedRateLimiter<K: RateLimitKey>(Arc<Limiter<Recent<K>>>);

/// What calls can be counted by. Implemented for all that fits.
pub trait RateLimitKey: Hash + Eq + Clone {}

impl<K: Hash + Eq + Clone> RateLimitKey for K {}

impl<K: RateLimitKey> Clone for KeyedRateLimiter<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

struct Limiter<S: StateStore> {
    cells: governor::RateLimiter<S::Key, S, Ticks, NoOpMiddleware<Nanos>>,
    name: &'static str,
}

impl RateLimiter {
    /// A limiter that allows a burst at once. On the system clock it counts time by the processor's counter, which
    /// tokio's paused time does not stop: give it a manual clock in tests.
    ///
    /// # Errors
    /// `Invalid` for settings that make no sense.
    pub fn new(name: &str, config: &RateLimitConfig, clock: Clock) -> Result<Self, Error> {
        config.validate()?;
        Ok(Self::unchecked(name, config, clock))
    }

    /// A limiter of settings that are known to be valid.
    pub(super) fn unchecked(name: &str, config: &RateLimitConfig, clock: Clock) -> Self {
        let cells = governor::RateLimiter::new(config.quota(), InMemoryState::default(), Ticks::new(clock));
        Self(Arc::new(Limiter { cells, name: intern(name) }))
    }

    /// Counts one call.
    ///
    /// # Errors
    /// A [`Rejection`] with the wait until the next call may pass.
    #[inline]
    pub fn check(&self) -> Result<(), Rejection> {
        self.0.cells.check().map_err(|not_until| self.0.rejection(|now| not_until.wait_time_from(now)))
    }
}

impl<K: RateLimitKey> KeyedRateLimiter<K> {
    /// A limiter that allows each key a burst at once, and remembers at most `max_keys` keys. For its clock see
    /// [`RateLimiter::new`].
    ///
    /// # Errors
    /// `Invalid` for settings that make no sense, or fewer than two keys.
    pub fn new(name: &str, config: &RateLimitConfig, max_keys: usize, clock: Clock) -> Result<Self, Error> {
        if max_keys < 2 {
            return Err(Error::invalid("rate limit: `max_keys` is at least 2"));
        }
        config.validate()?;
        let cells = governor::RateLimiter::new(config.quota(), Recent::new(max_keys), Ticks::new(clock));
        Ok(Self(Arc::new(Limiter { cells, name: intern(name) })))
    }

    /// Counts one call of `key`.
    ///
    /// # Errors
    /// A [`Rejection`] with the wait until the key's next call may pass.
    pub fn check(&self, key: &K) -> Result<(), Rejection> {
        self.0.cells.check_key(key).map_err(|not_until| self.0.rejection(|now| not_until.wait_time_from(now)))
    }

    /// A tower layer that counts each request under the key that `key` finds in it.
    pub fn layer<F>(&self, key: F) -> RateLimitLayer<K, F> {
        RateLimitLayer::new(self.clone(), key)
    }
}

impl<S: StateStore> Limiter<S> {
    fn rejection(&self, wait: impl FnOnce(Nanos) -> Duration) -> Rejection {
        Rejection::new(self.name, Guard::RateLimit, Some(wait(self.cells.clock().now())))
    }
}

impl<S: StateStore> fmt::Debug for Limiter<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limiter").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Time since the limiter was made. The processor's counter is read several times faster than the clock, and a
/// limiter compares its readings only with each other.
enum Ticks {
    System { counter: QuantaClock, start: QuantaInstant },
    Manual { clock: Clock, start: Instant },
}

impl Ticks {
    fn new(clock: Clock) -> Self {
        if clock.is_manual() {
            return Self::Manual { start: clock.now(), clock };
        }
        let counter = QuantaClock::default();
        Self::System { start: counter.now(), counter }
    }
}

impl governor::clock::Clock for Ticks {
    type Instant = Nanos;

    #[inline]
    fn now(&self) -> Nanos {
        match self {
            Self::System { counter, start } => counter.now().duration_since(*start),
            Self::Manual { clock, start } => {
                let nanos = clock.now().saturating_duration_since(*start).as_nanos();
                Nanos::new(u64::try_from(nanos).unwrap_or(u64::MAX))
            }
        }
    }
}

#[cfg(test)]
mod tests;
