//! Rate limits, for all calls or for each key, by the generic cell rate algorithm (ITU-T I.371): calls beyond a burst
//! are spaced evenly, and the state of a key is one number.
//!
//! The algorithm is that of the crate governor. This module bounds the number of keys, takes an injected clock, and
//! returns a [`Rejection`] with the wait until the next call is permitted.

mod config;
mod layer;
mod store;

pub use config::RateLimitConfig;
pub use layer::{RateLimit, RateLimitCall, RateLimitLayer};
pub use store::RateLimitKey;

use governor::{
    clock::{Clock as _, QuantaClock, QuantaInstant, Reference},
    middleware::NoOpMiddleware,
    nanos::Nanos,
    state::{InMemoryState, StateStore},
};
use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Guard, Rejection, name::intern};
use crate::{Error, clock::Clock};
use store::Recent;

/// A rate limit for all calls together. Clones share their state.
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

/// A rate limit for each key: a user, an address, a tenant. Clones share their state.
///
/// The limiter remembers at most `max_keys` keys and evicts the least recently used ones, in two generations: it
/// remembers between half of `max_keys` and `max_keys`. An evicted key starts again with a full burst. So a flood of
/// keys can gain bursts, but not exhaust memory.
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
    /// Creates a limiter with a full burst. `name` identifies it in rejections.
    ///
    /// On the system clock it measures time by the processor's counter, which tokio's paused time does not stop: pass a
    /// manual clock in tests.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if [`RateLimitConfig::validate`] fails.
    pub fn new(name: &str, config: &RateLimitConfig, clock: Clock) -> Result<Self, Error> {
        config.validate()?;
        Ok(Self::unchecked(name, config, clock))
    }

    /// Creates a limiter from validated settings.
    pub(super) fn unchecked(name: &str, config: &RateLimitConfig, clock: Clock) -> Self {
        let cells = governor::RateLimiter::new(config.quota(), InMemoryState::default(), Ticks::new(clock));
        Self(Arc::new(Limiter { cells, name: intern(name) }))
    }

    /// Counts one call.
    ///
    /// # Errors
    /// Returns a [`Rejection`] of [`Guard::RateLimit`] if the rate is exhausted; `retry_after` is the wait until the
    /// next call is permitted. A rejected call is not counted.
    #[inline]
    pub fn check(&self) -> Result<(), Rejection> {
        self.0.cells.check().map_err(|not_until| self.0.rejection(|now| not_until.wait_time_from(now)))
    }
}

impl<K: RateLimitKey> KeyedRateLimiter<K> {
    /// Creates a limiter in which each key has a full burst, and which remembers at most `max_keys` keys. For the clock
    /// see [`RateLimiter::new`].
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if [`RateLimitConfig::validate`] fails, or `max_keys`
    /// is below 2.
    pub fn new(name: &str, config: &RateLimitConfig, max_keys: usize, clock: Clock) -> Result<Self, Error> {
        if max_keys < 2 {
            return Err(Error::invalid("rate limit: `max_keys` must be at least 2"));
        }
        config.validate()?;
        let cells = governor::RateLimiter::new(config.quota(), Recent::new(max_keys), Ticks::new(clock));
        Ok(Self(Arc::new(Limiter { cells, name: intern(name) })))
    }

    /// Counts one call of `key`.
    ///
    /// # Errors
    /// Returns a [`Rejection`] of [`Guard::RateLimit`] if the rate of the key is exhausted; `retry_after` is the wait
    /// until its next call is permitted. A rejected call is not counted.
    pub fn check(&self, key: &K) -> Result<(), Rejection> {
        self.0.cells.check_key(key).map_err(|not_until| self.0.rejection(|now| not_until.wait_time_from(now)))
    }

    /// Returns a tower layer that limits requests by the key that the function `key` extracts from each.
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

/// The time since the limiter was created, as governor's clock.
///
/// Reading the processor's counter is several times faster than reading the clock. That is sufficient, because a
/// limiter compares these times only with each other.
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
