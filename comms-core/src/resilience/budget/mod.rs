//! A retry budget, the bound on the retries of all calls to a peer.

use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

use super::config::duration;
use crate::{
    Error,
    clock::Clock,
    sync::{Arc, AtomicU64, Ordering},
};

/// The low 24 bits of the state are the tokens, in thousandths. The bits above are the time of the last refill, in
/// milliseconds since the budget was created, enough for 34 years.
const TOKEN_BITS: u32 = 24;
const TOKEN_MASK: u64 = (1 << TOKEN_BITS) - 1;
/// One token in thousandths.
const TOKEN: u64 = 1_000;

/// The settings of a [`RetryBudget`]. Default: a success pays for 0.2 retries, 10 retries per second need no success,
/// and 100 retries are in reserve.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct RetryBudgetConfig {
    /// Retries that one successful call pays for, `0.0..=1.0`. Default 0.2.
    pub ratio: f64,
    /// Retries per second that time refills without a successful call. Default 10; 0 turns this refill off.
    pub min_per_second: u32,
    /// Determines the reserve, the retries that a full budget contains: `min_per_second` times `window`, at least one
    /// retry and at most 16,000. Default 10 s, which is a reserve of 100 retries.
    #[serde(with = "duration")]
    pub window: Duration,
}

impl Default for RetryBudgetConfig {
    fn default() -> Self {
        Self { ratio: 0.2, min_per_second: 10, window: Duration::from_secs(10) }
    }
}

impl RetryBudgetConfig {
    /// Checks the settings.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if `ratio` is outside of `0.0..=1.0`, or the reserve
    /// (`min_per_second` times `window`) is above 16,000 retries.
    pub fn validate(&self) -> Result<(), Error> {
        if !(0.0..=1.0).contains(&self.ratio) {
            return Err(Error::invalid("retry budget: `ratio` must be between 0 and 1"));
        }
        if self.reserve() > 16_000.0 {
            return Err(Error::invalid("retry budget: `min_per_second` x `window` must be at most 16,000"));
        }
        Ok(())
    }

    fn reserve(&self) -> f64 {
        f64::from(self.min_per_second) * self.window.as_secs_f64()
    }
}

/// Setters: each takes the configuration and returns it with one setting changed.
impl RetryBudgetConfig {
    /// Sets the retries that one successful call pays for, `0.0..=1.0`. Default 0.2.
    #[must_use]
    pub fn ratio(self, ratio: f64) -> Self {
        Self { ratio, ..self }
    }

    /// Sets the retries per second that need no successful call. Default 10.
    #[must_use]
    pub fn min_per_second(self, min_per_second: u32) -> Self {
        Self { min_per_second, ..self }
    }

    /// Sets the time whose refill is the reserve. Default 10 s.
    #[must_use]
    pub fn window(self, window: Duration) -> Self {
        Self { window, ..self }
    }
}

/// A token bucket that bounds the retries of all calls to a peer, so that retries do not multiply the load of an
/// outage.
///
/// Each retry withdraws one token. Each successful call deposits a fraction of a token, and time refills a few tokens
/// per second, so that a client with few calls can retry at all. While every call fails, only the reserve and the
/// refill can be spent, whatever the load. This is the retry throttling of gRFC A6 with the minimum rate of Finagle's
/// `RetryBudget`.
///
/// Clones share their tokens: use one budget per peer. A new budget is full.
///
/// ```
/// use comms_core::{clock::Clock, resilience::{RetryBudget, RetryBudgetConfig}};
/// let config = RetryBudgetConfig::default().min_per_second(1);
/// let budget = RetryBudget::new(&config, Clock::manual(Default::default()))?;
/// // The reserve is the refill of 10 s, here 10 retries.
/// assert_eq!((0..1_000).filter(|_| budget.try_withdraw()).count(), 10);
/// // Five successful calls pay for one retry, 0.2 each.
/// (0..5).for_each(|_| budget.deposit());
/// assert!(budget.try_withdraw());
/// assert!(!budget.try_withdraw());
/// # Ok::<(), comms_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct RetryBudget(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Tokens and time of the last refill, see [`TOKEN_BITS`].
    state: AtomicU64,
    /// Thousandths of a token that a success deposits.
    deposit: u64,
    /// Thousandths of a token that a millisecond refills: the same number as tokens per second.
    refill_per_milli: u64,
    /// Thousandths of a token that the budget holds at most.
    capacity: u64,
    /// Of a throttle: thousandths of a token above which a retry is permitted.
    threshold: Option<u64>,
    epoch: Instant,
    clock: Clock,
}

impl RetryBudget {
    /// Creates a full budget.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if [`RetryBudgetConfig::validate`] fails.
    pub fn new(config: &RetryBudgetConfig, clock: Clock) -> Result<Self, Error> {
        config.validate()?;
        Ok(Self::unchecked(config, clock))
    }

    /// Creates a budget from validated settings.
    pub(super) fn unchecked(config: &RetryBudgetConfig, clock: Clock) -> Self {
        // At least one token, or no number of successes could pay for a retry.
        let capacity = ((config.reserve() * TOKEN as f64) as u64).max(TOKEN);
        let deposit = (config.ratio * TOKEN as f64).round() as u64;
        let refill_per_milli = u64::from(config.min_per_second);
        Self::full(deposit, refill_per_milli, capacity, None, clock)
    }

    /// Creates a full budget with the rule of `retryThrottling` in a gRPC service config (gRFC A6), which depends on no
    /// time: each failure takes one of `max_tokens` tokens, whether or not it is retried, and each success returns
    /// `token_ratio` tokens. A failure is retried while more than half of the tokens are left.
    ///
    /// So an outage stops all retries, and the successes that follow must outweigh the failures before a failure is
    /// retried again. Only a failure that could be retried otherwise takes a token: its kind, the attempts and the
    /// deadline permit it.
    ///
    /// ```
    /// use comms_core::{clock::Clock, resilience::RetryBudget};
    /// let budget = RetryBudget::throttle(10, 0.5, Clock::system())?;
    /// assert_eq!((0..1_000).filter(|_| budget.try_withdraw()).count(), 4, "the fifth failure leaves half of the tokens");
    /// (0..13).for_each(|_| budget.deposit()); // 6.5 tokens
    /// assert!(budget.try_withdraw());
    /// assert!(!budget.try_withdraw());
    /// # Ok::<(), comms_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if `max_tokens` is 0 or above 1,000, or `token_ratio` is
    /// below 0.001, above 1,000 or not a number.
    pub fn throttle(max_tokens: u32, token_ratio: f64, clock: Clock) -> Result<Self, Error> {
        if !(1..=1_000).contains(&max_tokens) {
            return Err(Error::invalid("retry throttle: `max_tokens` must be between 1 and 1,000"));
        }
        if !(0.001..=1_000.0).contains(&token_ratio) {
            return Err(Error::invalid("retry throttle: `token_ratio` must be between 0.001 and 1,000"));
        }
        let (deposit, capacity) =
            ((token_ratio * TOKEN as f64).round() as u64, u64::from(max_tokens) * TOKEN);
        Ok(Self::full(deposit, 0, capacity, Some(capacity / 2), clock))
    }

    fn full(
        deposit: u64,
        refill_per_milli: u64,
        capacity: u64,
        threshold: Option<u64>,
        clock: Clock,
    ) -> Self {
        let (state, epoch) = (AtomicU64::new(capacity), clock.now());
        Self(Arc::new(Shared { state, deposit, refill_per_milli, capacity, threshold, epoch, clock }))
    }

    /// Deposits the share of one successful call. Writes nothing while the budget is full.
    #[inline]
    pub fn deposit(&self) {
        self.add(self.0.deposit);
    }

    /// Returns the token of a withdrawal whose attempt was not sent.
    pub(super) fn put_back(&self) {
        self.add(TOKEN);
    }

    fn add(&self, thousandths: u64) {
        let shared = &*self.0;
        let mut seen = shared.state.load(Ordering::Relaxed);
        while seen & TOKEN_MASK < shared.capacity && thousandths > 0 {
            let room = shared.capacity - (seen & TOKEN_MASK);
            let next = seen + thousandths.min(room);
            match shared.state.compare_exchange_weak(seen, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(newer) => seen = newer,
            }
        }
    }

    /// Withdraws the token of one retry. Returns `false` if the budget is exhausted: do not retry then.
    #[must_use]
    pub fn try_withdraw(&self) -> bool {
        self.try_withdraw_at(self.0.clock.now())
    }

    pub(super) fn try_withdraw_at(&self, now: Instant) -> bool {
        let shared = &*self.0;
        let mut seen = shared.state.load(Ordering::Relaxed);
        loop {
            let (time, tokens) = shared.refilled(seen, now);
            let (granted, left) = shared.withdrawn(tokens);
            let next = time << TOKEN_BITS | left;
            match shared.state.compare_exchange_weak(seen, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return granted,
                Err(newer) => seen = newer,
            }
        }
    }

    /// Returns the number of retries that can be withdrawn now.
    #[must_use]
    pub fn available(&self) -> u32 {
        let shared = &*self.0;
        let (_, tokens) = shared.refilled(shared.state.load(Ordering::Relaxed), shared.clock.now());
        let retries = match shared.threshold {
            // The last retry leaves more than the threshold.
            Some(threshold) => tokens.saturating_sub(threshold).saturating_sub(1) / TOKEN,
            None => tokens / TOKEN,
        };
        u32::try_from(retries).unwrap_or(u32::MAX)
    }
}

impl Shared {
    /// Returns whether `tokens` permit a retry, and the tokens that are left.
    fn withdrawn(&self, tokens: u64) -> (bool, u64) {
        let left = tokens.saturating_sub(TOKEN);
        match self.threshold {
            Some(threshold) => (left > threshold, left),
            None if tokens >= TOKEN => (true, left),
            None => (false, tokens),
        }
    }

    /// Returns the time and the tokens of `state` after the refill until `now`.
    fn refilled(&self, state: u64, now: Instant) -> (u64, u64) {
        let (last, tokens) = (state >> TOKEN_BITS, state & TOKEN_MASK);
        let elapsed = now.saturating_duration_since(self.epoch).as_millis() as u64;
        // If another thread has stored a later time, `now` refills nothing and the later time stays.
        let time = elapsed.max(last);
        let refill = (time - last).saturating_mul(self.refill_per_milli);
        (time, tokens.saturating_add(refill).min(self.capacity))
    }
}

#[cfg(test)]
mod tests;
