//! Percentiles of durations over a sliding window, in a histogram of constant size: a sample allocates nothing.

use std::time::{Duration, Instant};

/// The steps in which the window slides.
const SLOTS: usize = 6;
/// Each power of two of microseconds has eight buckets, so that a bucket is at most 12.5 % wide. Durations below 16 us
/// have a bucket for each microsecond.
const EXACT: u64 = 16;
const SUB_BITS: u32 = 3;
/// The longest duration with a bucket of its own, in microseconds: 2^36, about 19 hours.
const LONGEST: u64 = (1 << 36) - 1;
const BUCKETS: usize = 16 + (36 - 4) * 8;
/// A percentile is calculated again after this many samples, or when the window slides.
const RECALCULATE: u32 = 32;

#[derive(Debug)]
pub(super) struct Window {
    slot_length: Duration,
    epoch: Instant,
    /// The number of the current slot since the epoch.
    current: u64,
    slots: Box<[[u32; BUCKETS]; SLOTS]>,
    totals: Box<[u32; BUCKETS]>,
    samples: u32,
    /// The last percentile, and the samples since it was calculated.
    cached: Option<Duration>,
    stale: u32,
}

impl Window {
    pub(super) fn new(length: Duration, now: Instant) -> Self {
        Self {
            slot_length: length / SLOTS as u32,
            epoch: now,
            current: 0,
            slots: Box::new([[0; BUCKETS]; SLOTS]),
            totals: Box::new([0; BUCKETS]),
            samples: 0,
            cached: None,
            stale: RECALCULATE,
        }
    }

    pub(super) fn record(&mut self, duration: Duration, now: Instant) {
        self.slide(now);
        let bucket = bucket_of(duration);
        let slot = self.current as usize % SLOTS;
        self.slots[slot][bucket] = self.slots[slot][bucket].saturating_add(1);
        self.totals[bucket] = self.totals[bucket].saturating_add(1);
        self.samples = self.samples.saturating_add(1);
        self.stale = self.stale.saturating_add(1);
    }

    /// Calculates the next percentile anew, for another share.
    pub(super) const fn recalculate(&mut self) {
        self.stale = RECALCULATE;
    }

    pub(super) fn samples(&mut self, now: Instant) -> u32 {
        self.slide(now);
        self.samples
    }

    /// Returns the duration that the share `percentile` of the samples did not exceed, rounded up. `None` with fewer
    /// than `min_samples`.
    pub(super) fn percentile(&mut self, percentile: f64, min_samples: u32, now: Instant) -> Option<Duration> {
        self.slide(now);
        if self.samples < min_samples.max(1) {
            self.stale = RECALCULATE;
            return None;
        }
        if self.stale >= RECALCULATE {
            let rank = (f64::from(self.samples) * percentile).ceil() as u64;
            let mut below = 0;
            let bucket = self.totals.iter().position(|count| {
                below += u64::from(*count);
                below >= rank
            });
            self.cached = bucket.map(upper_bound);
            self.stale = 0;
        }
        self.cached
    }

    /// Empties the slots whose time has passed.
    fn slide(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.epoch).as_nanos();
        let slot = (elapsed / self.slot_length.as_nanos().max(1)) as u64;
        if slot <= self.current {
            return;
        }
        let passed = (slot - self.current).min(SLOTS as u64);
        self.current = slot;
        self.stale = RECALCULATE;
        for back in 0..passed {
            let emptied = &mut self.slots[(slot - back) as usize % SLOTS];
            for (total, count) in self.totals.iter_mut().zip(emptied.iter_mut()) {
                *total = total.saturating_sub(*count);
                self.samples = self.samples.saturating_sub(*count);
                *count = 0;
            }
        }
    }
}

fn bucket_of(duration: Duration) -> usize {
    let micros = u64::try_from(duration.as_micros()).unwrap_or(LONGEST).min(LONGEST);
    if micros < EXACT {
        return micros as usize;
    }
    let exponent = micros.ilog2();
    let sub = (micros >> (exponent - SUB_BITS)) & 7;
    EXACT as usize + (exponent - 4) as usize * 8 + sub as usize
}

/// The duration that no sample of the bucket exceeds by a microsecond.
const fn upper_bound(bucket: usize) -> Duration {
    if bucket < EXACT as usize {
        return Duration::from_micros(bucket as u64 + 1);
    }
    let (exponent, sub) = ((bucket as u32 - EXACT as u32) / 8 + 4, (bucket as u64 - EXACT) % 8);
    Duration::from_micros((8 + sub + 1) << (exponent - SUB_BITS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use proptest::prelude::*;

    fn start() -> Instant {
        Clock::manual(Duration::ZERO).now()
    }

    proptest! {
        #[test]
        fn a_bucket_is_at_most_an_eighth_wider_than_its_samples(micros in 0u64..LONGEST) {
            let duration = Duration::from_micros(micros);
            let bound = upper_bound(bucket_of(duration));
            prop_assert!(bound > duration);
            prop_assert!(bound.as_micros() as u64 <= micros + (micros / 8).max(1));
        }

        #[test]
        fn a_percentile_is_that_of_the_sorted_samples(
            mut micros in prop::collection::vec(0u64..10_000_000, 1..300), percentile in 0.01f64..0.99
        ) {
            let (now, mut window) = (start(), Window::new(Duration::from_secs(6), start()));
            micros.iter().for_each(|micros| window.record(Duration::from_micros(*micros), now));
            micros.sort_unstable();
            let exact = micros[(micros.len() as f64 * percentile).ceil() as usize - 1];
            let found = window.percentile(percentile, 1, now).unwrap().as_micros() as u64;
            prop_assert!(found > exact && found <= exact + (exact / 8).max(1), "{found} for {exact}");
        }

        #[test]
        fn the_window_has_exactly_the_samples_of_its_slots(steps in prop::collection::vec((0u64..4_000, 1u32..4), 1..80)) {
            let (mut now, begin) = (start(), start());
            let begin = begin.min(now);
            let mut window = Window::new(Duration::from_secs(6), begin);
            now = begin;
            let mut recorded = Vec::new();
            for (millis, samples) in steps {
                now += Duration::from_millis(millis);
                for _ in 0..samples {
                    window.record(Duration::from_millis(millis), now);
                    recorded.push((now - begin).as_secs());
                }
                let slot = (now - begin).as_secs();
                let expected = recorded.iter().filter(|one| **one + 6 > slot).count();
                prop_assert_eq!(window.samples(now) as usize, expected);
                let total: u32 = window.totals.iter().sum();
                prop_assert_eq!(total as usize, expected);
            }
        }
    }

    #[test]
    fn extreme_durations_have_a_bucket() {
        let (now, mut window) = (start(), Window::new(Duration::from_secs(6), start()));
        window.record(Duration::ZERO, now);
        window.record(Duration::MAX, now);
        assert_eq!(window.percentile(0.5, 1, now), Some(Duration::from_micros(1)));
        assert_eq!(window.percentile(0.5, 3, now), None);
        assert_eq!(bucket_of(Duration::MAX), BUCKETS - 1);
        assert_eq!(window.percentile(0.9, 1, now), Some(Duration::from_micros(1 << 36)));
    }
}
