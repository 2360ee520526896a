//! The wait between attempts.

use serde::{Deserialize, Serialize};
use std::time::Duration;

use super::config::{bounded, duration};
use crate::{Error, clock::Clock};

/// Exponential backoff with jitter. Default: 1 s, doubled after each failure up to 30 s, with a jitter of +-20 %.
///
/// The jitter is applied after the cap.
///
/// ```
/// use comms_core::resilience::{Backoff, Jitter};
/// use std::time::Duration;
/// let backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2))?.with_jitter(Jitter::Full)?;
/// assert!(backoff.delay(3, &comms_core::clock::Clock::system()) <= Duration::from_millis(200));
/// # Ok::<(), comms_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, try_from = "RawBackoff", into = "RawBackoff")]
pub struct Backoff {
    base: Duration,
    cap: Duration,
    multiplier: f64,
    jitter: Jitter,
}

/// The random part of a wait, so that callers that failed together do not retry together.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Jitter {
    /// Multiplies the wait by a random number in `1 - ratio ..= 1 + ratio`. The ratio is `0.0..=1.0`.
    Ratio(f64),
    /// Multiplies the wait by a random number in `0.0..1.0`. It spreads the retries most, and halves the wait on
    /// average.
    Full,
}

/// A backoff as it is configured, before validation.
#[derive(Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawBackoff {
    #[serde(with = "duration")]
    base: Duration,
    #[serde(with = "duration")]
    cap: Duration,
    multiplier: f64,
    jitter: Jitter,
}

impl Default for RawBackoff {
    fn default() -> Self {
        Backoff::default().into()
    }
}

impl From<Backoff> for RawBackoff {
    fn from(Backoff { base, cap, multiplier, jitter }: Backoff) -> Self {
        Self { base, cap, multiplier, jitter }
    }
}

impl TryFrom<RawBackoff> for Backoff {
    type Error = Error;

    fn try_from(raw: RawBackoff) -> Result<Self, Error> {
        Self::new(raw.base, raw.cap)?.with_multiplier(raw.multiplier)?.with_jitter(raw.jitter)
    }
}

impl Default for Backoff {
    fn default() -> Self {
        let (base, cap) = (Duration::from_secs(1), Duration::from_secs(30));
        Self { base, cap, multiplier: 2.0, jitter: Jitter::Ratio(0.2) }
    }
}

impl Backoff {
    /// Returns a backoff that waits `base` after the first failure and doubles the wait up to `cap`, with a jitter of
    /// +-20 %.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if `base` is zero, `cap` is below `base`, or `cap` is
    /// above 99,999,999 s.
    pub fn new(base: Duration, cap: Duration) -> Result<Self, Error> {
        if base.is_zero() || cap < base {
            return Err(Error::invalid("backoff: `base` must be above zero and at most `cap`"));
        }
        bounded("cap", cap)?;
        Ok(Self { base, cap, ..Self::default() })
    }

    /// Sets the factor by which the wait grows after each failure. Default 2; 1 keeps the wait constant.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if `multiplier` is below 1, infinite or not a number.
    pub fn with_multiplier(self, multiplier: f64) -> Result<Self, Error> {
        if !(multiplier >= 1.0 && multiplier.is_finite()) {
            return Err(Error::invalid("backoff: `multiplier` must be a finite number of at least 1"));
        }
        Ok(Self { multiplier, ..self })
    }

    /// Sets the jitter. Default `Jitter::Ratio(0.2)`.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if the ratio is outside of `0.0..=1.0`.
    pub fn with_jitter(self, jitter: Jitter) -> Result<Self, Error> {
        match jitter {
            Jitter::Ratio(ratio) if !(0.0..=1.0).contains(&ratio) => {
                Err(Error::invalid("backoff: the `ratio` of `jitter` must be between 0 and 1"))
            }
            _ => Ok(Self { jitter, ..self }),
        }
    }

    /// Returns the wait after the `attempt`-th failed attempt (from 1), with jitter drawn from `clock`.
    #[must_use]
    pub fn delay(&self, attempt: u32, clock: &Clock) -> Duration {
        self.delay_at(attempt, clock.random_unit())
    }

    /// Returns the wait after the `attempt`-th failed attempt (from 1), with jitter from `random`, a number in
    /// `0.0..1.0`.
    pub(crate) fn delay_at(&self, attempt: u32, random: f64) -> Duration {
        let exponent = i32::try_from(attempt.saturating_sub(1)).unwrap_or(i32::MAX);
        let exponential = self.base.as_secs_f64() * self.multiplier.powi(exponent);
        let capped = exponential.min(self.cap.as_secs_f64());
        let factor = match self.jitter {
            Jitter::Ratio(ratio) => 1.0 - ratio + 2.0 * ratio * random,
            Jitter::Full => random,
        };
        Duration::try_from_secs_f64(capped * factor).unwrap_or(Duration::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn stays_within_the_jitter_of_the_capped_exponential(
            attempt in 0u32..1_000, multiplier in 1.0f64..5.0, ratio in 0.0f64..=1.0
        ) {
            let backoff = Backoff::default().with_multiplier(multiplier).unwrap();
            let backoff = backoff.with_jitter(Jitter::Ratio(ratio)).unwrap();
            let exact = multiplier.powi(attempt.saturating_sub(1) as i32).min(30.0);
            let delay = backoff.delay(attempt, &Clock::system()).as_secs_f64();
            let (least, most) = (exact * (1.0 - ratio), exact * (1.0 + ratio));
            prop_assert!(delay >= least - 1e-6 && delay <= most + 1e-6, "{delay} for {exact}");
        }

        #[test]
        fn full_jitter_stays_below_the_wait(attempt in 1u32..100, seed: u64) {
            let backoff = Backoff::default().with_jitter(Jitter::Full).unwrap();
            let exact = 2f64.powi(attempt as i32 - 1).min(30.0);
            let clock = Clock::seeded(Duration::ZERO, seed);
            prop_assert!(backoff.delay(attempt, &clock).as_secs_f64() <= exact);
        }
    }

    /// 2 to the power of the failures is infinite from the 1,025th failure on.
    #[test]
    fn the_cap_holds_after_any_number_of_failures() {
        let (clock, backoff) = (Clock::manual(Duration::ZERO), Backoff::default());
        for attempt in [1_024, 1_025, 1_026, 1 << 31, u32::MAX] {
            let delay = backoff.delay(attempt, &clock);
            assert!(
                (Duration::from_secs(24)..=Duration::from_secs(36)).contains(&delay),
                "{attempt}: {delay:?}"
            );
        }
    }

    #[test]
    fn full_jitter_spreads_over_the_whole_wait() {
        let (clock, backoff) = (Clock::manual(Duration::ZERO), Backoff::default());
        let backoff = backoff.with_jitter(Jitter::Full).unwrap();
        let delays: Vec<_> = (0..1_000).map(|_| backoff.delay(1, &clock).as_secs_f64()).collect();
        assert!(delays.iter().any(|d| *d < 0.1) && delays.iter().any(|d| *d > 0.9));
    }

    #[test]
    fn invalid_settings_are_rejected() {
        assert!(Backoff::new(Duration::ZERO, Duration::from_secs(1)).is_err());
        assert!(Backoff::new(Duration::from_secs(2), Duration::from_secs(1)).is_err());
        assert!(Backoff::default().with_multiplier(0.5).is_err());
        assert!(Backoff::default().with_multiplier(f64::NAN).is_err());
        assert!(Backoff::default().with_jitter(Jitter::Ratio(1.5)).is_err());
    }
}
