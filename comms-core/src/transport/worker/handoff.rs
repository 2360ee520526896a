//! Decides whether attempts run in tasks of their own, because the handler blocks its thread.

use std::time::{Duration, Instant};

/// A poll that takes longer than this is long.
const LONG: Duration = Duration::from_millis(1);
/// A single poll that takes longer than this is enough.
const VERY_LONG: Duration = Duration::from_millis(20);
/// One long poll may be the scheduler's doing. A second one within this number of polls is the handler's.
const WITHIN: u8 = 32;
/// How long attempts get tasks of their own before an attempt is polled inline again.
const PERIOD: Duration = Duration::from_secs(2);

/// The measurements of the inline polls of one worker.
#[derive(Debug, Default)]
pub(super) struct Handoff {
    until: Option<Instant>,
    /// The number of polls after a long one in which a second long one counts.
    alert: u8,
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

    /// Records an inline poll that took `took` and ended at `end`.
    #[inline]
    pub(super) fn observe(&mut self, took: Duration, end: Instant) {
        if took <= LONG {
            self.alert = self.alert.saturating_sub(1);
            return;
        }
        if self.alert > 0 || took > VERY_LONG {
            self.until = end.checked_add(PERIOD);
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
        assert!(handoff.is_active(at(9)) && handoff.is_active(at(2_008)));
        assert!(!handoff.is_active(at(2_009)), "an attempt is polled inline again");
        handoff.observe(Duration::from_millis(3), at(2_012));
        assert!(handoff.is_active(at(2_012)), "the handler still blocks");
    }

    #[test]
    fn a_very_long_poll_is_enough() {
        let (start, mut handoff) = (Clock::system().now(), Handoff::default());
        handoff.observe(Duration::from_millis(21), start + Duration::from_millis(21));
        assert!(handoff.is_active(start + Duration::from_millis(21)));
    }
}
