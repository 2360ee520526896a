//! The refusal of a call by a guard of this process: the guard, and the wait.

use std::{fmt, time::Duration};

use crate::{ErrorKind, clock::rounded};

/// The guard that refused a call or ended an attempt of a [`Policy`](crate::resilience::Policy).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Guard {
    /// The circuit breaker is open, or half-open with all probes in flight.
    Breaker,
    /// The bulkhead is full, and no permit was released in time.
    Bulkhead,
    /// The rate limit is exhausted.
    RateLimit,
    /// The service is overloaded: the concurrency that a [`Shedder`](crate::resilience::Shedder) permits for the
    /// priority of the request is in use.
    Shed,
    /// The deadline had passed before anything was sent.
    Deadline,
    /// The time limit of the attempt, or the deadline, passed while the call was in flight.
    Timeout,
    /// The service was not ready within the time limit of the attempt: nothing was sent.
    Unready,
}

impl Guard {
    /// Returns the kind of the error: [`Indeterminate`](ErrorKind::Indeterminate) for [`Timeout`](Self::Timeout),
    /// [`NotExecuted`](ErrorKind::NotExecuted) for [`Unready`](Self::Unready), else [`Rejected`](ErrorKind::Rejected).
    #[must_use]
    pub const fn kind(self) -> ErrorKind {
        match self {
            Self::Timeout => ErrorKind::Indeterminate,
            Self::Unready => ErrorKind::NotExecuted,
            Self::Breaker | Self::Bulkhead | Self::RateLimit | Self::Shed | Self::Deadline => {
                ErrorKind::Rejected
            }
        }
    }

    /// Returns the gRPC status code: RESOURCE_EXHAUSTED (8) for a rate limit, DEADLINE_EXCEEDED (4) for a deadline or
    /// time limit, UNAVAILABLE (14) for a breaker, a bulkhead, a shedder and a service that is not ready.
    #[must_use]
    pub const fn grpc_code(self) -> i32 {
        match self {
            Self::Breaker | Self::Bulkhead | Self::Shed | Self::Unready => 14,
            Self::RateLimit => 8,
            Self::Deadline | Self::Timeout => 4,
        }
    }

    /// Returns the HTTP status: 429 for a rate limit, 504 for a deadline or time limit, else 503.
    #[must_use]
    pub const fn http_status(self) -> http::StatusCode {
        match self {
            Self::Breaker | Self::Bulkhead | Self::Shed | Self::Unready => {
                http::StatusCode::SERVICE_UNAVAILABLE
            }
            Self::RateLimit => http::StatusCode::TOO_MANY_REQUESTS,
            Self::Deadline | Self::Timeout => http::StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// Returns the value of the `guard` label of metrics, for example `rate_limit`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Breaker => "breaker",
            Self::Bulkhead => "bulkhead",
            Self::RateLimit => "rate_limit",
            Self::Shed => "shed",
            Self::Deadline => "deadline",
            Self::Timeout => "timeout",
            Self::Unready => "unready",
        }
    }

    /// Returns whether the guard ended an attempt that had started. The other guards refuse an attempt before its
    /// start, and would refuse the next one as well.
    pub(crate) const fn ended_attempt(self) -> bool {
        matches!(self, Self::Timeout | Self::Unready)
    }

    const fn text(self) -> &'static str {
        match self {
            Self::Breaker => "the circuit breaker is open",
            Self::Bulkhead => "the bulkhead is full",
            Self::RateLimit => "the rate limit is reached",
            Self::Shed => "overloaded: a request of this priority is shed",
            Self::Deadline => "the deadline had passed before the call was sent",
            Self::Timeout => "no answer within the time limit",
            Self::Unready => "the service was not ready within the time limit",
        }
    }
}

/// The refusal of a call by a guard, before the call was sent or while it was in flight. Creating one allocates
/// nothing.
///
/// ```
/// use comms_core::{Error, ErrorKind, resilience::Guard};
/// # use comms_core::resilience::{Breaker, BreakerConfig};
/// # let breaker = Breaker::new("payments", BreakerConfig::default(), Default::default())?;
/// breaker.force_open();
/// let error = Error::from(breaker.acquire().unwrap_err());
/// assert_eq!(error.kind, ErrorKind::Rejected);
/// assert_eq!(error.rejection().map(|r| r.guard), Some(Guard::Breaker));
/// assert_eq!(error.to_string(), "rejected: payments: the circuit breaker is open");
/// # Ok::<(), Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rejection {
    /// The name of the policy or guard.
    pub name: &'static str,
    /// The guard that refused the call.
    pub guard: Guard,
    /// The minimum wait until the guard can permit a call, if it is known.
    pub retry_after: Option<Duration>,
}

impl Rejection {
    pub(crate) const fn new(name: &'static str, guard: Guard, retry_after: Option<Duration>) -> Self {
        Self { name, guard, retry_after }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.guard.text())?;
        match self.retry_after {
            Some(wait) => write!(f, "; retry in {}", rounded(wait)),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Rejection {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;

    #[test]
    fn the_statuses_are_those_of_the_guard_also_below_a_context() {
        let table = [
            (Guard::Breaker, 14, 503),
            (Guard::Bulkhead, 14, 503),
            (Guard::RateLimit, 8, 429),
            (Guard::Shed, 14, 503),
            (Guard::Deadline, 4, 504),
            (Guard::Timeout, 4, 504),
            (Guard::Unready, 14, 503),
        ];
        for (guard, grpc, http) in table {
            let error = Error::from(Rejection::new("payments", guard, None)).context("ask");
            assert_eq!((error.grpc_code(), error.http_status().as_u16()), (grpc, http), "{guard:?}");
        }
    }

    #[test]
    fn the_statuses_without_a_guard_are_those_of_the_kind() {
        for kind in [ErrorKind::NotExecuted, ErrorKind::Rejected, ErrorKind::Invalid, ErrorKind::Fatal] {
            let error = Error::new(kind, "why");
            assert_eq!(
                (error.grpc_code(), error.http_status()),
                (kind.grpc_code(), kind.http_status()),
                "{kind}"
            );
        }
    }
}
