//! Decides whether attempts run in tasks of their own, because the handler blocks its thread.

use std::time::{Duration, Instant};

/// A poll that takes longer than this is long.
const LONG: Duration = Duration::from_millis(1);
/// A single poll that takes longer than this is enough.
const VERY_LONG: Duration = Duration::from_millis(20);
/// One long poll may be the scheduler's doing. A second one within this number of polls is the handler's.
const WITHIN: u8 = 32;
/// How long attempts get tasks of their own before an attempt is polled inline again: short at first, because the
/// scheduler of a busy machine may have caused the long poll, and doubled while the handler goes on to block.
const PERIODS: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// The measurements of the inline polls of one worker.
#[derive(Debug)]
pub(super) struct Handoff {
    until: Option<Instant>,
    /// The duration of the next period.
    period: Duration,
    /// The number of polls after a long one in which a second long one counts.
    alert: u8,
}

impl Default for Handoff {
    fn default() -> Self {
        Self { until: None, period: PERIODS.0, alert: 0 }
    }
}

impl Handoff {
    /// Returns whether the next attempt is to run in a task of its own.
    #[inline]
    pub(super) fn is_active(&mut self, now: Instant) -> bool {
        match self.until {
            None => false,
            Some(until) if now < until => true,
            Some(_) => {
                // The next long poll starts another period.
                (self.until, self.alert) = (None, WITHIN);
                false
            }
        }
    }

    /// Starts a period that ends at `until`.
    #[cfg(test)]
    pub(super) const fn start(&mut self, until: Instant) {
        self.until = Some(until);
    }

    /// Records an inline poll that took `took` and ended at `end`.
    #[inline]
    pub(super) fn observe(&mut self, took: Duration, end: Instant) {
        if took <= LONG {
            if self.alert > 0 {
                self.alert -= 1;
                self.period = if self.alert == 0 { PERIODS.0 } else { self.period };
            }
            return;
        }
        if self.alert > 0 || took > VERY_LONG {
            self.until = end.checked_add(self.period);
            self.period = (self.period * 2).min(PERIODS.1);
        }
        self.alert = WITHIN;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    #[test]
    fn one_long_poll_is_forgiven_and_the_second_one_is_not() {
        let (start, mut handoff) = (Clock::system().now(), Handoff::default());
        let at = |millis| start + Duration::from_millis(millis);
        handoff.observe(Duration::from_millis(3), at(3));
        assert!(!handoff.is_active(at(3)));
        (0..WITHIN).for_each(|_| handoff.observe(Duration::from_millis(0), at(3)));
        handoff.observe(Duration::from_millis(3), at(6));
        assert!(!handoff.is_active(at(6)), "the first one is long ago");
        handoff.observe(Duration::from_millis(3), at(9));
        assert!(handoff.is_active(at(9)) && handoff.is_active(at(58)));
        assert!(!handoff.is_active(at(59)), "an attempt is polled inline again");
    }

    #[test]
    fn the_periods_grow_while_the_handler_blocks() {
        let (start, mut handoff) = (Clock::system().now(), Handoff::default());
        let at = |millis| start + Duration::from_millis(millis);
        let mut now = 0;
        for period in [50, 100, 200, 400, 800, 1_600, 2_000, 2_000] {
            handoff.observe(Duration::from_millis(30), at(now));
            assert!(handoff.is_active(at(now + period - 1)), "{period}");
            now += period;
            assert!(!handoff.is_active(at(now)), "{period}");
        }
        (0..WITHIN).for_each(|_| handoff.observe(Duration::ZERO, at(now)));
        handoff.observe(Duration::from_millis(30), at(now));
        assert!(!handoff.is_active(at(now + 50)), "the handler had stopped to block");
    }

    #[test]
    fn a_very_long_poll_is_enough() {
        let (start, mut handoff) = (Clock::system().now(), Handoff::default());
        handoff.observe(Duration::from_millis(21), start + Duration::from_millis(21));
        assert!(handoff.is_active(start + Duration::from_millis(21)));
    }
}
