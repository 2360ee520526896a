//! The limit on the rate of a client's frames.

use std::time::Instant;

/// The burst, in seconds of the allowed rate.
const BURST: f64 = 5.0;

/// A token bucket for the frames of one client, whatever their kind: messages, fragments, pings and pongs.
pub(super) struct Rate {
    tokens: f64,
    refilled: Instant,
}

impl Rate {
    /// Creates a full bucket for `per_second` frames.
    pub(super) fn new(per_second: u32, now: Instant) -> Self {
        Self { tokens: f64::from(per_second) * BURST, refilled: now }
    }

    /// Takes a token. Returns `false` if there is none.
    pub(super) fn admit(&mut self, per_second: u32, now: Instant) -> bool {
        self.refill(per_second, now);
        self.tokens -= 1.0;
        self.tokens >= 0.0
    }

    /// Adds the tokens of the time since `paused`, in which the session has not read, also above the burst: the frames that
    /// wait in the socket have arrived at any time since then.
    pub(super) fn resume(&mut self, per_second: u32, paused: Instant, now: Instant) {
        self.refill(per_second, paused);
        self.tokens += now.saturating_duration_since(paused).as_secs_f64() * f64::from(per_second);
        self.refilled = now;
    }

    /// Adds the tokens of the time until `now`, up to the burst. What is above it is for frames that wait, which are read at
    /// once: it is lost within the time of a burst.
    fn refill(&mut self, per_second: u32, now: Instant) {
        let (rate, seconds) =
            (f64::from(per_second), now.saturating_duration_since(self.refilled).as_secs_f64());
        let (above, left) = (self.tokens - rate * BURST, (1.0 - seconds / BURST).max(0.0));
        self.tokens = (self.tokens + seconds * rate).min(rate * BURST) + above.max(0.0) * left;
        self.refilled = now;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_burst_is_admitted_and_then_the_rate() {
        let start = comms_core::clock::Clock::system().now();
        let mut rate = Rate::new(4, start);
        assert_eq!((0..30).filter(|_| rate.admit(4, start)).count(), 20);
        let mut rate = Rate::new(4, start);
        for second in 0..100 {
            let now = start + Duration::from_millis(250 * second);
            assert!(rate.admit(4, now), "{second}");
        }
    }

    #[test]
    fn the_time_in_which_the_session_does_not_read_counts_until_it_has_read() {
        let start = comms_core::clock::Clock::system().now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let admitted = |rate: &mut Rate, now| (0..1_000).take_while(|_| rate.admit(4, now)).count();
        let paused_twice = || {
            let mut rate = Rate::new(4, start);
            rate.resume(4, start, after(10));
            rate.resume(4, after(10), after(20));
            rate
        };
        assert_eq!(admitted(&mut paused_twice(), after(20)), 20 + 2 * 40);
        assert_eq!(admitted(&mut paused_twice(), after(25)), 20, "nothing is left for a later flood");
        let mut rate = paused_twice();
        (0..100).for_each(|_| assert!(rate.admit(4, after(20))));
        assert_eq!(admitted(&mut rate, after(22)), 8);
    }
}
