//! An absolute point in time after which nobody waits any more.

use std::time::{Duration, Instant};

use crate::{Clock, Error};

/// When the asker stops waiting. Absolute, so that time spent in queues counts; two combine to the earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(Instant);

/// `grpc-timeout` has at most eight digits: about three years in hours is far beyond any deadline.
const LONGEST: Duration = Duration::from_secs(99_999_999);

impl Deadline {
    /// `timeout` from now; at most 99,999,999 s.
    #[must_use]
    pub fn after(timeout: Duration, clock: &Clock) -> Self {
        Self(clock.now() + timeout.min(LONGEST))
    }

    /// This point in time.
    #[must_use]
    pub const fn at(instant: Instant) -> Self {
        Self(instant)
    }

    /// What is left; `None` once it has passed.
    #[must_use]
    pub fn remaining(&self, clock: &Clock) -> Option<Duration> {
        self.0.checked_duration_since(clock.now()).filter(|left| !left.is_zero())
    }

    /// The point in time itself.
    #[must_use]
    pub const fn instant(&self) -> Instant {
        self.0
    }

    /// What is left as a `grpc-timeout` value, rounded up so that the peer never gives up first on a
    /// value that rounding made; `None` once it has passed.
    #[must_use]
    pub fn grpc_timeout(&self, clock: &Clock) -> Option<String> {
        const UNITS: [(u128, char); 4] = [(1, 'n'), (1_000, 'u'), (1_000_000, 'm'), (1_000_000_000, 'S')];
        let nanos = self.remaining(clock)?.as_nanos();
        UNITS
            .iter()
            .map(|&(unit, letter)| (nanos.div_ceil(unit), letter))
            .find(|(value, _)| *value <= 99_999_999)
            .map(|(value, letter)| format!("{value}{letter}"))
    }
}

/// Reads a `grpc-timeout`: one to eight ASCII digits and one of `H M S m u n`
/// (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>).
///
/// # Errors
/// `Invalid` for anything else: a deadline that cannot be read must not become "no deadline".
pub fn parse_grpc_timeout(text: &[u8]) -> Result<Duration, Error> {
    let malformed =
        || Error::invalid("malformed grpc-timeout: one to eight digits and one of H, M, S, m, u, n");
    let (unit, digits) = text.split_last().ok_or_else(malformed)?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return Err(malformed());
    }
    let value = digits.iter().fold(0u64, |sum, d| sum * 10 + u64::from(d - b'0'));
    match unit {
        b'H' => Ok(Duration::from_secs(value * 3_600)),
        b'M' => Ok(Duration::from_secs(value * 60)),
        b'S' => Ok(Duration::from_secs(value)),
        b'm' => Ok(Duration::from_millis(value)),
        b'u' => Ok(Duration::from_micros(value)),
        b'n' => Ok(Duration::from_nanos(value)),
        _ => Err(malformed()),
    }
}
