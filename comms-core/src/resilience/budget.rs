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
        let (state, epoch) = (AtomicU64::new(capacity), clock.now());
        Self(Arc::new(Shared { state, deposit, refill_per_milli, capacity, epoch, clock }))
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
            let granted = tokens >= TOKEN;
            let next = time << TOKEN_BITS | if granted { tokens - TOKEN } else { tokens };
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
        u32::try_from(tokens / TOKEN).unwrap_or(u32::MAX)
    }
}

impl Shared {
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
mod tests {
    use super::*;

    fn budget(ratio: f64, min_per_second: u32, window: u64) -> (RetryBudget, Clock) {
        let clock = Clock::manual(Duration::ZERO);
        let config = RetryBudgetConfig { ratio, min_per_second, window: Duration::from_secs(window) };
        (RetryBudget::new(&config, clock.clone()).unwrap(), clock)
    }

    fn drain(budget: &RetryBudget) -> usize {
        (0..100_000).take_while(|_| budget.try_withdraw()).count()
    }

    /// Includes ratios that a sum of floats would round up or down.
    #[test]
    fn successes_deposit_their_ratio() {
        for (ratio, successes, retries) in
            [(0.2, 100, 20), (0.1, 100, 10), (0.51, 100, 51), (0.9, 100, 90), (1.0, 50, 50), (0.0, 1_000, 0)]
        {
            let (budget, _) = budget(ratio, 10, 10);
            drain(&budget);
            (0..successes).for_each(|_| budget.deposit());
            assert_eq!(drain(&budget), retries, "ratio {ratio}");
        }
    }

    #[test]
    fn time_refills_min_per_second_up_to_the_reserve() {
        let (budget, clock) = budget(0.2, 10, 10);
        assert_eq!(drain(&budget), 100);
        clock.advance(Duration::from_secs(3));
        assert_eq!(drain(&budget), 30);
        clock.advance(Duration::from_millis(99));
        assert_eq!(drain(&budget), 0);
        clock.advance(Duration::from_millis(1));
        assert_eq!(drain(&budget), 1, "a failed withdrawal keeps the time of the last refill");
        clock.advance(Duration::from_secs(86_400 * 365));
        assert_eq!(drain(&budget), 100);
    }

    #[test]
    fn without_min_per_second_only_successes_refill() {
        let (budget, clock) = budget(0.5, 0, 10);
        assert_eq!(drain(&budget), 1, "the reserve is at least one retry");
        clock.advance(Duration::from_secs(1_000));
        assert_eq!(drain(&budget), 0);
        budget.deposit();
        budget.deposit();
        assert_eq!(drain(&budget), 1);
    }

    #[test]
    fn threads_withdraw_each_token_once() {
        for _ in 0..50 {
            let (budget, _) = budget(0.0, 4, 1);
            let withdrawn: usize = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..4)
                    .map(|_| scope.spawn(|| (0..4).filter(|_| budget.try_withdraw()).count()))
                    .collect();
                threads.into_iter().map(|t| t.join().unwrap()).sum()
            });
            assert_eq!(withdrawn, 4);
        }
    }

    #[test]
    fn invalid_settings_are_rejected() {
        let clock = Clock::system();
        for (ratio, min_per_second) in [(-0.1, 10), (1.1, 10), (f64::NAN, 10), (0.2, 100_000)] {
            let config = RetryBudgetConfig { ratio, min_per_second, ..RetryBudgetConfig::default() };
            assert!(RetryBudget::new(&config, clock.clone()).is_err());
        }
    }
}
