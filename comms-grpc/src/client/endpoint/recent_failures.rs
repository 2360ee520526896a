//! A count of failures that decays with time.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

use comms_core::clock::Clock;

/// The time in which the count halves.
const HALF_LIFE: Duration = Duration::from_secs(5);

/// The recent failures of an endpoint, as a part of its load.
///
/// A peer that refuses calls at once has few calls in flight, so a choice by calls in flight alone would send most calls
/// to it. With its failures, it gets about as many further failures in each [`HALF_LIFE`] as the other endpoints have
/// calls in flight.
#[derive(Debug)]
pub(super) struct RecentFailures {
    created: Instant,
    /// The half-lives since the creation in the high half, and the failures at that time in the low half.
    word: AtomicU64,
}

impl RecentFailures {
    pub(super) fn new(clock: &Clock) -> Self {
        Self { created: clock.now(), word: AtomicU64::new(0) }
    }

    pub(super) fn add(&self, clock: &Clock) {
        let period = self.period(clock);
        let added = |word| Some(u64::from(period) << 32 | u64::from(decayed(word, period).saturating_add(1)));
        // Never fails, because the closure always returns a value.
        let _ = self.word.fetch_update(Relaxed, Relaxed, added);
    }

    /// Returns the failures. Reads the clock only if there are any.
    pub(super) fn count(&self, clock: &Clock) -> u32 {
        match self.word.load(Relaxed) {
            0 => 0,
            word => decayed(word, self.period(clock)),
        }
    }

    fn period(&self, clock: &Clock) -> u32 {
        (clock.now().saturating_duration_since(self.created).as_secs() / HALF_LIFE.as_secs()) as u32
    }
}

fn decayed(word: u64, period: u32) -> u32 {
    let (counted_in, failures) = ((word >> 32) as u32, word as u32);
    failures.checked_shr(period.saturating_sub(counted_in)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_halves_in_each_half_life() {
        let clock = Clock::manual(Duration::ZERO);
        let failures = RecentFailures::new(&clock);
        assert_eq!(failures.count(&clock), 0);
        (0..9).for_each(|_| failures.add(&clock));
        for expected in [9, 4, 2, 1, 0] {
            assert_eq!(failures.count(&clock), expected);
            clock.advance(HALF_LIFE);
        }
        failures.add(&clock);
        clock.advance(HALF_LIFE * 1_000);
        assert_eq!(failures.count(&clock), 0);
        failures.add(&clock);
        assert_eq!(failures.count(&clock), 1);
    }
}
