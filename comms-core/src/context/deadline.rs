//! Deadlines: absolute points in time after which a caller no longer waits.

use std::time::{Duration, Instant};

use super::{
    protocol::{Protocol, single_value},
    timeout::{format_grpc_timeout, format_request_timeout, parse_grpc_timeout, parse_request_timeout},
};
use crate::{Error, Extract, clock::Clock};

/// The point in time after which the caller no longer waits.
///
/// A deadline is absolute, so the time that a request spends in queues counts. If two deadlines apply, the
/// [earlier](Self::earlier) one counts. [`Context::current`](crate::context::Context::current) contains the current
/// deadline. A deadline does not cancel work by itself. A [`Policy`](crate::resilience::Policy) ends a call at the
/// deadline.
///
/// ```
/// use comms_core::{clock::Clock, context::Deadline};
/// use std::time::Duration;
/// let clock = Clock::manual(Duration::from_secs(1_700_000_000));
/// let configured = Deadline::after(Duration::from_secs(5), &clock);
/// let requested = Deadline::after(Duration::from_secs(2), &clock);
/// assert_eq!(configured.earlier(requested), requested);
/// clock.advance(Duration::from_millis(500));
/// assert_eq!(requested.remaining(&clock), Some(Duration::from_millis(1_500)));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(Instant);

/// The longest timeout, about three years: adding it to an instant of the clock does not overflow.
const LONGEST: Duration = Duration::from_secs(99_999_999);

impl Deadline {
    /// Creates a deadline that passes after `timeout`, which is capped at 99,999,999 s.
    #[must_use]
    pub fn after(timeout: Duration, clock: &Clock) -> Self {
        Self(clock.now() + timeout.min(LONGEST))
    }

    /// Creates a deadline at `instant`.
    #[must_use]
    pub const fn at(instant: Instant) -> Self {
        Self(instant)
    }

    /// Returns the earlier of two deadlines.
    #[must_use]
    pub fn earlier(self, other: Self) -> Self {
        self.min(other)
    }

    /// Returns the remaining time, or `None` if the deadline has passed.
    #[must_use]
    pub fn remaining(&self, clock: &Clock) -> Option<Duration> {
        self.0.checked_duration_since(clock.now()).filter(|left| !left.is_zero())
    }

    /// Returns whether the deadline has passed. Work whose deadline has passed need not start: its caller no longer
    /// waits.
    #[must_use]
    pub fn has_passed(&self, clock: &Clock) -> bool {
        self.remaining(clock).is_none()
    }

    /// Returns the point in time.
    #[must_use]
    pub const fn instant(&self) -> Instant {
        self.0
    }

    /// Reads the deadline of a request from the header `grpc-timeout` or `request-timeout`. The timeout counts from now
    /// and is capped at 99,999,999 s. Returns `None` if the request has no such header.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if the header is malformed or occurs more than once.
    pub fn of_request(
        carrier: &impl Extract,
        protocol: Protocol,
        clock: &Clock,
    ) -> Result<Option<Self>, Error> {
        let text = single_value(carrier, protocol.timeout_header())?;
        text.map(|text| Self::parse(text, protocol, clock)).transpose()
    }

    /// Reads the header value `text` of `protocol`.
    pub(super) fn parse(text: &[u8], protocol: Protocol, clock: &Clock) -> Result<Self, Error> {
        let timeout = match protocol {
            Protocol::Http => parse_request_timeout(text)?,
            Protocol::Grpc => parse_grpc_timeout(text)?,
        };
        Ok(Self::after(timeout, clock))
    }

    /// Returns the remaining time as the header value of `protocol`, or `None` if the deadline has passed.
    ///
    /// The value is rounded up, so that rounding never makes the peer give up before this caller does: to milliseconds,
    /// or as [`format_grpc_timeout`] does for gRPC if less than a second remains.
    #[must_use]
    pub fn timeout(&self, protocol: Protocol, clock: &Clock) -> Option<String> {
        let left = self.remaining(clock)?;
        Some(match protocol {
            Protocol::Http => format_request_timeout(left),
            // Calls with the same time limit then send the same value, which HTTP/2 compresses to a byte.
            Protocol::Grpc if left >= Duration::from_secs(1) => {
                format_grpc_timeout(Duration::from_millis(left.as_nanos().div_ceil(1_000_000) as u64))
            }
            Protocol::Grpc => format_grpc_timeout(left),
        })
    }
}
