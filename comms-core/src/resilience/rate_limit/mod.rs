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
use crate::{Clock, Error};
use store::Recent;

/// How often. Default: 100 in 1 s, all of which may come at once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct RateLimitConfig {
    /// Calls in `per`. Default 100.
    pub limit: u32,
    /// Default 1 s.
    #[serde(with = "duration")]
    pub per: Duration,
    /// Calls that may come at once after a pause. Default none: `limit`.
    pub burst: Option<u32>,
}

impl Default for RateLimitConfig {
    fn default() -> Self {
        Self { limit: 100, per: Duration::from_secs(1), burst: None }
    }
}

impl RateLimitConfig {
    /// `limit` calls in `per`, all of which may come at once.
    #[must_use]
    pub const fn new(limit: u32, per: Duration) -> Self {
        Self { limit, per, burst: None }
    }

    /// Whether these settings make sense.
    ///
    /// # Errors
    /// `Invalid` where nothing would ever pass, calls would come closer together than a nanosecond, or a burst would
    /// be worth more than three years.
    pub fn validate(&self) -> Result<(), Error> {
        self.quota().map(drop)
    }

    fn quota(&self) -> Result<Quota, Error> {
        let wrong = || {
            Error::invalid(
                "rate limit: `limit`, `per` and `burst` are above zero, and a call is at least 1 ns apart",
            )
        };
        let limit = NonZeroU32::new(self.limit).ok_or_else(wrong)?;
        let burst = NonZeroU32::new(self.burst.unwrap_or(self.limit)).ok_or_else(wrong)?;
        bounded("per", self.per)?;
        let spacing = self.per / limit.get();
        bounded("per / limit x burst", spacing.saturating_mul(burst.get()))?;
        let quota = Quota::with_period(spacing).ok_or_else(wrong)?;
        Ok(quota.allow_burst(burst))
    }
}

/// One limit for all. Clones share it.
///
/// ```
/// use comms_core::{Clock, resilience::rate_limit::{RateLimitConfig, RateLimiter}};
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
/// use comms_core::{Clock, resilience::rate_limit::{KeyedRateLimiter, RateLimitConfig}};
/// use std::time::Duration;
/// let config = RateLimitConfig::new(1, Duration::from_secs(1));
/// let limiter = KeyedRateLimiter::new("logins", &config, 10_000, Clock::system())?;
/// assert!(limiter.check(&"ann").is_ok());
/// assert!(limiter.check(&"ann").is_err());
/// assert!(limiter.check(&"bob").is_ok());
/// # Ok::<(), comms_core::Error>(())
/// ```
#[derive(Debug)]
pub struct KeyedRateLimiter<K: Key>(Arc<Limiter<Recent<K>>>);

/// What calls can be counted by. Implemented for all that fits.
pub trait Key: Hash + Eq + Clone {}

impl<K: Hash + Eq + Clone> Key for K {}

impl<K: Key> Clone for KeyedRateLimiter<K> {
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
        let cells = governor::RateLimiter::new(config.quota()?, InMemoryState::default(), Ticks::new(clock));
        Ok(Self(Arc::new(Limiter { cells, name: intern(name) })))
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

impl<K: Key> KeyedRateLimiter<K> {
    /// A limiter that allows each key a burst at once, and remembers at most `max_keys` keys. For its clock see
    /// [`RateLimiter::new`].
    ///
    /// # Errors
    /// `Invalid` for settings that make no sense, or fewer than two keys.
    pub fn new(name: &str, config: &RateLimitConfig, max_keys: usize, clock: Clock) -> Result<Self, Error> {
        if max_keys < 2 {
            return Err(Error::invalid("rate limit: `max_keys` is at least 2"));
        }
        let cells = governor::RateLimiter::new(config.quota()?, Recent::new(max_keys), Ticks::new(clock));
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
