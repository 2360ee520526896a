//! How long to wait before another try.

use std::time::Duration;

use crate::{Clock, Error};

/// Exponential backoff with jitter, validated when it is made. Default (requirement P14): 1 s, doubled,
/// at most 30 s, jitter +-20% after the cap.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
    jitter: f64,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { base: Duration::from_secs(1), cap: Duration::from_secs(30), jitter: 0.2 }
    }
}

impl Backoff {
    /// Starts at `base`, doubles, stops growing at `cap`; jitter +-20%.
    ///
    /// # Errors
    /// `Invalid` for a zero base or a cap below it.
    pub fn new(base: Duration, cap: Duration) -> Result<Self, Error> {
        if base.is_zero() || cap < base {
            return Err(Error::invalid("a backoff needs 0 < base <= cap"));
        }
        Ok(Self { base, cap, ..Self::default() })
    }

    /// The wait after the `attempt`-th failure (1 for the first).
    #[must_use]
    pub fn delay(&self, attempt: u32, clock: &Clock) -> Duration {
        let doublings = attempt.saturating_sub(1).min(31);
        let raw = self.base.saturating_mul(1 << doublings).min(self.cap);
        raw.mul_f64(1.0 - self.jitter + 2.0 * self.jitter * clock.random_unit())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn stays_within_the_jitter_of_the_capped_exponential(attempt in 0u32..1_000) {
            let backoff = Backoff::default();
            let exact = 2f64.powi(attempt.saturating_sub(1).min(31) as i32).min(30.0);
            let delay = backoff.delay(attempt, &Clock::system()).as_secs_f64();
            prop_assert!(delay >= exact * 0.799 && delay <= exact * 1.201, "{delay} for {exact}");
        }
    }

    #[test]
    fn refuses_what_makes_no_sense() {
        assert!(Backoff::new(Duration::ZERO, Duration::from_secs(1)).is_err());
        assert!(Backoff::new(Duration::from_secs(2), Duration::from_secs(1)).is_err());
    }
}
