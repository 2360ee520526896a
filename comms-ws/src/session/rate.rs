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
        let rate = f64::from(per_second);
        let refill = now.saturating_duration_since(self.refilled).as_secs_f64() * rate;
        self.refilled = now;
        self.tokens = (self.tokens + refill).min(rate * BURST) - 1.0;
        self.tokens >= 0.0
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
}
