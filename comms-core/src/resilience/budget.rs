//! What keeps retries from multiplying an outage.
//!
//! A retry is paid for with a token. Tokens come from calls that *succeeded*, a share of one each, and from
//! time, a few per second, so that a quiet client can retry at all. While everything fails no more than the
//! reserve and the trickle can be spent, whatever the load: that is the throttling of gRFC A6, with Finagle's
//! floor.

use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

use super::config::duration;
use crate::{
    Error,
    clock::Clock,
    sync::{Arc, AtomicU64, Ordering},
};

/// The low 24 bits of the state are tokens in thousandths; above them stands the time of the last refill, in
/// milliseconds since the budget was made: 34 years of them.
const TOKEN_BITS: u32 = 24;
const TOKENS: u64 = (1 << TOKEN_BITS) - 1;
const TOKEN: u64 = 1_000;

/// Settings of a [`RetryBudget`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct RetryBudgetConfig {
    /// Retries that one successful call pays for, `0.0..=1.0`. Default 0.2.
    pub ratio: f64,
    /// Retries per second that need no success. Default 10; 0 for none.
    pub min_per_second: u32,
    /// The reserve is what `min_per_second` brings in this time. Default 10 s: a reserve of 100.
    #[serde(with = "duration")]
    pub window: Duration,
}

impl Default for RetryBudgetConfig {
    fn default() -> Self {
        Self { ratio: 0.2, min_per_second: 10, window: Duration::from_secs(10) }
    }
}

/// Setters: each takes the configuration and returns it with one setting changed.
impl RetryBudgetConfig {
    /// Sets `ratio`.
    #[must_use]
    pub fn ratio(self, ratio: f64) -> Self {
        Self { ratio, ..self }
    }

    /// Sets `min_per_second`.
    #[must_use]
    pub fn min_per_second(self, min_per_second: u32) -> Self {
        Self { min_per_second, ..self }
    }

    /// Sets `window`.
    #[must_use]
    pub fn window(self, window: Duration) -> Self {
        Self { window, ..self }
    }
}

impl RetryBudgetConfig {
    /// Whether these settings make sense.
    ///
    /// # Errors
    /// `Invalid` for a ratio outside `0.0..=1.0`, or a reserve above 16,000 retries.
    pub fn validate(&self) -> Result<(), Error> {
        if !(0.0..=1.0).contains(&self.ratio) {
            return Err(Error::invalid("a retry budget's ratio is between 0 and 1"));
        }
        if self.reserve() > 16_000.0 {
            return Err(Error::invalid(
                "a retry budget's reserve (min_per_second x window) is at most 16,000",
            ));
        }
        Ok(())
    }

    fn reserve(&self) -> f64 {
        f64::from(self.min_per_second) * self.window.as_secs_f64()
    }
}

/// The retries that a destination may still be asked for. Clones share it: one per destination, for retries
/// and hedges alike. Starts full.
///
/// ```
/// use comms_core::{clock::Clock, resilience::{RetryBudget, RetryBudgetConfig}};
/// let mut config = RetryBudgetConfig::default();
/// config.min_per_second = 1;
/// let budget = RetryBudget::new(&config, Clock::manual(Default::default()))?;
/// assert_eq!((0..1_000).filter(|_| budget.try_withdraw()).count(), 10);
/// (0..5).for_each(|_| budget.deposit());
/// assert!(budget.try_withdraw());
/// assert!(!budget.try_withdraw());
/// # Ok::<(), comms_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct RetryBudget(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: AtomicU64,
    /// Thousandths that a success brings.
    share: u64,
    /// Thousandths that a millisecond brings: tokens per second.
    trickle: u64,
    capacity: u64,
    epoch: Instant,
    clock: Clock,
}

impl RetryBudget {
    /// A full budget.
    ///
    /// # Errors
    /// `Invalid` for a ratio outside `0.0..=1.0`, or a reserve above 16,000 retries.
    pub fn new(config: &RetryBudgetConfig, clock: Clock) -> Result<Self, Error> {
        config.validate()?;
        Ok(Self::unchecked(config, clock))
    }

    /// A budget of settings that are known to be valid.
    pub(super) fn unchecked(config: &RetryBudgetConfig, clock: Clock) -> Self {
        // At least one whole token, or no success could ever pay for a retry.
        let capacity = ((config.reserve() * TOKEN as f64) as u64).max(TOKEN);
        let share = (config.ratio * TOKEN as f64).round() as u64;
        let trickle = u64::from(config.min_per_second);
        let (state, epoch) = (AtomicU64::new(capacity), clock.now());
        Self(Arc::new(Shared { state, share, trickle, capacity, epoch, clock }))
    }

    /// A call succeeded: puts its share in. Writes nothing while the budget is full.
    #[inline]
    pub fn deposit(&self) {
        let shared = &*self.0;
        let mut seen = shared.state.load(Ordering::Relaxed);
        while seen & TOKENS < shared.capacity && shared.share > 0 {
            let room = shared.capacity - (seen & TOKENS);
            let next = seen + shared.share.min(room);
            match shared.state.compare_exchange_weak(seen, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(newer) => seen = newer,
            }
        }
    }

    /// Takes the token for one retry, if there is one.
    #[must_use]
    pub fn try_withdraw(&self) -> bool {
        self.withdraw_at(self.0.clock.now())
    }

    pub(super) fn withdraw_at(&self, now: Instant) -> bool {
        let shared = &*self.0;
        let mut seen = shared.state.load(Ordering::Relaxed);
        loop {
            let (time, tokens) = shared.refilled(seen, now);
            let paid = tokens >= TOKEN;
            let next = time << TOKEN_BITS | if paid { tokens - TOKEN } else { tokens };
            match shared.state.compare_exchange_weak(seen, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return paid,
                Err(newer) => seen = newer,
            }
        }
    }

    /// Whole retries that are left now.
    #[must_use]
    pub fn available(&self) -> u32 {
        let shared = &*self.0;
        let (_, tokens) = shared.refilled(shared.state.load(Ordering::Relaxed), shared.clock.now());
        u32::try_from(tokens / TOKEN).unwrap_or(u32::MAX)
    }
}

impl Shared {
    /// Time and tokens of `state` after what time has brought until `now`.
    fn refilled(&self, state: u64, now: Instant) -> (u64, u64) {
        let (last, tokens) = (state >> TOKEN_BITS, state & TOKENS);
        let elapsed = now.saturating_duration_since(self.epoch).as_millis() as u64;
        // A caller with an older reading of the clock brings nothing, and takes no time back.
        let time = elapsed.max(last);
        let brought = (time - last).saturating_mul(self.trickle);
        (time, tokens.saturating_add(brought).min(self.capacity))
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

    /// Ratio, successes, retries that they pay for once the reserve is gone: also at ratios where a float
    /// per call would round to all or nothing.
    #[test]
    fn successes_pay_their_share() {
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
    fn time_brings_the_floor_and_no_more_than_the_reserve() {
        let (budget, clock) = budget(0.2, 10, 10);
        assert_eq!(drain(&budget), 100);
        clock.advance(Duration::from_secs(3));
        assert_eq!(drain(&budget), 30);
        clock.advance(Duration::from_millis(99));
        assert_eq!(drain(&budget), 0);
        clock.advance(Duration::from_millis(1));
        assert_eq!(drain(&budget), 1, "a failed withdrawal must not lose the time that has passed");
        clock.advance(Duration::from_secs(86_400 * 365));
        assert_eq!(drain(&budget), 100);
    }

    #[test]
    fn without_a_floor_only_successes_pay() {
        let (budget, clock) = budget(0.5, 0, 10);
        assert_eq!(drain(&budget), 1, "a reserve is never less than one retry");
        clock.advance(Duration::from_secs(1_000));
        assert_eq!(drain(&budget), 0);
        budget.deposit();
        budget.deposit();
        assert_eq!(drain(&budget), 1);
    }

    #[test]
    fn threads_never_take_more_than_there_is() {
        for _ in 0..50 {
            let (budget, _) = budget(0.0, 4, 1);
            let taken: usize = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..4)
                    .map(|_| scope.spawn(|| (0..4).filter(|_| budget.try_withdraw()).count()))
                    .collect();
                threads.into_iter().map(|t| t.join().unwrap()).sum()
            });
            assert_eq!(taken, 4);
        }
    }

    #[test]
    fn refuses_what_makes_no_sense() {
        let clock = Clock::system();
        for (ratio, min_per_second) in [(-0.1, 10), (1.1, 10), (f64::NAN, 10), (0.2, 100_000)] {
            let config = RetryBudgetConfig { ratio, min_per_second, ..RetryBudgetConfig::default() };
            assert!(RetryBudget::new(&config, clock.clone()).is_err());
        }
    }
}
