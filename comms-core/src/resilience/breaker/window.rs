//! The sliding window that failure and slow-call rates are computed over.
//!
//! A ring of calls, or a ring of time buckets, each with running totals: recording a call takes the same time for every
//! number of calls in the window.

use std::time::{Duration, Instant};

use super::config::{WindowConfig, WindowKind};

const BUCKETS: u32 = 10;

/// The numbers of calls, failed calls and slow calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) calls: u32,
    pub(super) failed: u32,
    pub(super) slow: u32,
}

impl Counts {
    const fn of_call(failed: bool, slow: bool) -> Self {
        Self { calls: 1, failed: failed as u32, slow: slow as u32 }
    }

    fn add(&mut self, other: Self) {
        self.calls = self.calls.saturating_add(other.calls);
        self.failed = self.failed.saturating_add(other.failed);
        self.slow = self.slow.saturating_add(other.slow);
    }

    fn subtract(&mut self, other: Self) {
        self.calls = self.calls.saturating_sub(other.calls);
        self.failed = self.failed.saturating_sub(other.failed);
        self.slow = self.slow.saturating_sub(other.slow);
    }
}

#[derive(Debug)]
pub(super) struct Window {
    totals: Counts,
    ring: Ring,
}

#[derive(Debug)]
enum Ring {
    /// One byte per call: bit 0 failed, bit 1 slow. In a full ring, `next` is the index of the oldest call.
    Calls { slots: Vec<u8>, next: usize, capacity: usize },
    /// `newest` is the number of the current bucket, counted from `start`.
    Time { buckets: [Counts; BUCKETS as usize], newest: u64, start: Instant, width: Duration },
}

impl Window {
    pub(super) fn new(kind: WindowKind, now: Instant) -> Self {
        let ring = match kind {
            WindowKind::Calls(calls) => Ring::Calls { slots: Vec::new(), next: 0, capacity: calls as usize },
            WindowKind::Time(time) => {
                let (buckets, width) = ([Counts::default(); BUCKETS as usize], time / BUCKETS);
                Ring::Time { buckets, newest: 0, start: now, width }
            }
        };
        Self { totals: Counts::default(), ring }
    }

    pub(super) const fn totals(&self) -> Counts {
        self.totals
    }

    pub(super) fn record(&mut self, failed: bool, slow: bool, now: impl Fn() -> Instant) {
        let call = Counts::of_call(failed, slow);
        if let Ring::Time { .. } = self.ring {
            self.slide(now());
        }
        match &mut self.ring {
            Ring::Calls { slots, next, capacity } => {
                let slot = u8::from(failed) | u8::from(slow) << 1;
                if slots.len() < *capacity {
                    slots.push(slot);
                } else {
                    let oldest = std::mem::replace(&mut slots[*next], slot);
                    self.totals.subtract(Counts::of_call(oldest & 1 != 0, oldest & 2 != 0));
                }
                *next = if *next + 1 == *capacity { 0 } else { *next + 1 };
            }
            Ring::Time { buckets, newest, .. } => buckets[bucket_index(*newest)].add(call),
        }
        self.totals.add(call);
    }

    /// Drops the buckets that are too old at `now`. Has no effect if another thread has recorded a later time.
    pub(super) fn slide(&mut self, now: Instant) {
        let Ring::Time { buckets, newest, start, width } = &mut self.ring else { return };
        let number = now.saturating_duration_since(*start).as_nanos() / width.as_nanos();
        let number = u64::try_from(number).unwrap_or(u64::MAX).max(*newest);
        for step in 1..=(number - *newest).min(u64::from(BUCKETS)) {
            self.totals.subtract(std::mem::take(&mut buckets[bucket_index(*newest + step)]));
        }
        *newest = number;
    }

    /// Returns whether the failure rate or the slow-call rate has reached its threshold.
    pub(super) fn exceeds(&self, config: &WindowConfig) -> bool {
        let Counts { calls, failed, slow } = self.totals;
        let reaches = |part: u32, rate: f64| part > 0 && f64::from(part) >= rate * f64::from(calls);
        let too_slow = config.slow_call_duration.is_some() && reaches(slow, config.slow_call_rate_threshold);
        calls >= config.min_calls && (reaches(failed, config.failure_rate_threshold) || too_slow)
    }
}

fn bucket_index(number: u64) -> usize {
    (number % u64::from(BUCKETS)) as usize
}
