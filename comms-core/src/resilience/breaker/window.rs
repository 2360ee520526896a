//! The calls that rates are computed over: a ring of calls, or a ring of time buckets, each with running sums,
//! so that a call costs the same however many are in the window.

use std::time::{Duration, Instant};

use super::config::{WindowConfig, WindowKind};

const BUCKETS: u32 = 10;

/// Calls, failed calls, slow calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) calls: u32,
    pub(super) failed: u32,
    pub(super) slow: u32,
}

impl Counts {
    const fn one(failed: bool, slow: bool) -> Self {
        Self { calls: 1, failed: failed as u32, slow: slow as u32 }
    }

    fn add(&mut self, other: Self) {
        self.calls = self.calls.saturating_add(other.calls);
        self.failed = self.failed.saturating_add(other.failed);
        self.slow = self.slow.saturating_add(other.slow);
    }

    fn take(&mut self, other: Self) {
        self.calls = self.calls.saturating_sub(other.calls);
        self.failed = self.failed.saturating_sub(other.failed);
        self.slow = self.slow.saturating_sub(other.slow);
    }
}

#[derive(Debug)]
pub(super) struct Window {
    sums: Counts,
    ring: Ring,
}

#[derive(Debug)]
enum Ring {
    /// One byte per call: bit 0 failed, bit 1 slow. `next` is the oldest once it is full.
    Calls { slots: Vec<u8>, next: usize, limit: usize },
    /// `newest` is the number of the bucket that is being filled, counted from `start`.
    Time { buckets: [Counts; BUCKETS as usize], newest: u64, start: Instant, width: Duration },
}

impl Window {
    pub(super) fn new(over: WindowKind, now: Instant) -> Self {
        let ring = match over {
            WindowKind::Calls(calls) => Ring::Calls { slots: Vec::new(), next: 0, limit: calls as usize },
            WindowKind::Time(time) => {
                let (buckets, width) = ([Counts::default(); BUCKETS as usize], time / BUCKETS);
                Ring::Time { buckets, newest: 0, start: now, width }
            }
        };
        Self { sums: Counts::default(), ring }
    }

    pub(super) const fn sums(&self) -> Counts {
        self.sums
    }

    pub(super) fn record(&mut self, failed: bool, slow: bool, now: impl Fn() -> Instant) {
        let call = Counts::one(failed, slow);
        if let Ring::Time { .. } = self.ring {
            self.slide(now());
        }
        match &mut self.ring {
            Ring::Calls { slots, next, limit } => {
                let slot = u8::from(failed) | u8::from(slow) << 1;
                if slots.len() < *limit {
                    slots.push(slot);
                } else {
                    let oldest = std::mem::replace(&mut slots[*next], slot);
                    self.sums.take(Counts::one(oldest & 1 != 0, oldest & 2 != 0));
                }
                *next = if *next + 1 == *limit { 0 } else { *next + 1 };
            }
            Ring::Time { buckets, newest, .. } => buckets[place(*newest)].add(call),
        }
        self.sums.add(call);
    }

    /// Forgets what is too old at `now`. An older reading of the clock than another thread's changes nothing.
    pub(super) fn slide(&mut self, now: Instant) {
        let Ring::Time { buckets, newest, start, width } = &mut self.ring else { return };
        let number = now.saturating_duration_since(*start).as_nanos() / width.as_nanos();
        let number = u64::try_from(number).unwrap_or(u64::MAX).max(*newest);
        for step in 1..=(number - *newest).min(u64::from(BUCKETS)) {
            self.sums.take(std::mem::take(&mut buckets[place(*newest + step)]));
        }
        *newest = number;
    }

    /// Whether a rate has reached what opens the breaker.
    pub(super) fn exceeds(&self, config: &WindowConfig) -> bool {
        let Counts { calls, failed, slow } = self.sums;
        let reaches = |part: u32, rate: f64| part > 0 && f64::from(part) >= rate * f64::from(calls);
        let too_slow = config.slow_call_duration.is_some() && reaches(slow, config.slow_call_rate_threshold);
        calls >= config.min_calls && (reaches(failed, config.failure_rate_threshold) || too_slow)
    }
}

fn place(number: u64) -> usize {
    (number % u64::from(BUCKETS)) as usize
}
