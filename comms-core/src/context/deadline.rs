//! An absolute point in time after which nobody waits any more.

use std::time::{Duration, Instant};

use super::{
    request::{Protocol, only},
    timeout::{grpc_timeout, parse_grpc_timeout, parse_request_timeout, request_timeout},
};
use crate::{Error, Extract, clock::Clock};

/// When the asker stops waiting. Absolute, so that time spent in queues counts; two combine to the earlier.
///
/// It is found in the running task's [`Context`](crate::context::Context), or handed on explicitly: it is `Copy`.
///
/// ```
/// use comms_core::{clock::Clock, context::Deadline};
/// use std::time::Duration;
/// let clock = Clock::manual(Duration::from_secs(1_700_000_000));
/// let own = Deadline::after(Duration::from_secs(5), &clock);
/// let asked = Deadline::after(Duration::from_secs(2), &clock);
/// assert_eq!(own.earlier(asked), asked);
/// clock.advance(Duration::from_millis(500));
/// assert_eq!(asked.remaining(&clock), Some(Duration::from_millis(1_500)));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(Instant);

/// About three years: far beyond any wait, and no overflow of the clock's instants.
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

    /// The earlier of the two: how a caller's limit and one's own combine.
    #[must_use]
    pub fn earlier(self, other: Self) -> Self {
        self.min(other)
    }

    /// What is left; `None` once it has passed.
    #[must_use]
    pub fn remaining(&self, clock: &Clock) -> Option<Duration> {
        self.0.checked_duration_since(clock.now()).filter(|left| !left.is_zero())
    }

    /// Whether it has passed: work nobody waits for need not begin.
    #[must_use]
    pub fn has_passed(&self, clock: &Clock) -> bool {
        self.remaining(clock).is_none()
    }

    /// The point in time itself.
    #[must_use]
    pub const fn instant(&self) -> Instant {
        self.0
    }

    /// Reads the deadline of a request: `grpc-timeout` or `request-timeout`, from now, clamped to
    /// 99,999,999 s. `None` where the request has none.
    ///
    /// # Errors
    /// `Invalid` where the header is malformed or comes twice.
    pub fn of_request(
        carrier: &impl Extract,
        protocol: Protocol,
        clock: &Clock,
    ) -> Result<Option<Self>, Error> {
        let Some(text) = only(carrier, protocol.timeout_header())? else { return Ok(None) };
        let timeout = match protocol {
            Protocol::Http => parse_request_timeout(text)?,
            Protocol::Grpc => parse_grpc_timeout(text)?,
        };
        Ok(Some(Self::after(timeout, clock)))
    }

    /// What is left as the value of `protocol`'s header, rounded up so that the peer never gives up first on a
    /// value that rounding made; `None` once it has passed.
    #[must_use]
    pub fn timeout(&self, protocol: Protocol, clock: &Clock) -> Option<String> {
        let left = self.remaining(clock)?;
        Some(match protocol {
            Protocol::Http => request_timeout(left),
            Protocol::Grpc => grpc_timeout(left),
        })
    }
}
