//! The rate of frames to the server.

use std::time::{Duration, Instant};

/// The interval of frames over a longer time. Servers accept 10 a second, pongs included.
const INTERVAL: Duration = Duration::from_millis(200);
/// The frames that may be sent at once.
const BURST: u32 = 25;

/// Limits the rate of frames (the generic cell rate algorithm), so that an application that subscribes to many topics
/// at once is not closed with 1008.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// The time at which the frames that were sent are used up.
    busy_until: Option<Instant>,
}

impl Pace {
    /// Counts a frame at `now`, or returns the time at which it may be sent.
    pub(super) fn take(&mut self, now: Instant) -> Result<(), Instant> {
        let busy_until = self.busy_until.map_or(now, |time| time.max(now));
        let ahead = INTERVAL * (BURST - 1);
        if busy_until > now + ahead {
            return Err(busy_until - ahead);
        }
        self.busy_until = Some(busy_until + INTERVAL);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use comms_core::clock::Clock;

    #[test]
    fn a_burst_is_followed_by_the_interval() {
        let clock = Clock::manual(Duration::ZERO);
        let mut pace = Pace::default();
        for _ in 0..BURST {
            assert_eq!(pace.take(clock.now()), Ok(()));
        }
        for _ in 0..3 {
            let at = pace.take(clock.now()).unwrap_err();
            assert_eq!(at - clock.now(), INTERVAL);
            clock.advance(INTERVAL);
            assert_eq!(pace.take(clock.now()), Ok(()));
        }
    }
}
