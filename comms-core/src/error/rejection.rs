//! A typed "no" of a guard on this side: which one, and for how long.

use std::{fmt, time::Duration};

use crate::ErrorKind;

/// The guards of a [`Policy`](crate::resilience::Policy).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Guard {
    /// The circuit breaker is open, or its probes are all under way.
    Breaker,
    /// The compartment is full, and no seat came free in time.
    Bulkhead,
    /// The rate is used up.
    RateLimit,
    /// The deadline had passed before anything was sent.
    Deadline,
    /// The time limit of the attempt, or the deadline, passed while the call was under way.
    Timeout,
    /// The service did not get ready within the time limit of the attempt: nothing was sent.
    Unready,
}

impl Guard {
    /// What the rejection means for the caller: nothing happened, and a guard said so (`Rejected`) or the service did
    /// not get ready (`NotExecuted`); but a time limit that passed during the call leaves its effect `Indeterminate`.
    #[must_use]
    pub const fn kind(self) -> ErrorKind {
        match self {
            Self::Timeout => ErrorKind::Indeterminate,
            Self::Unready => ErrorKind::NotExecuted,
            Self::Breaker | Self::Bulkhead | Self::RateLimit | Self::Deadline => ErrorKind::Rejected,
        }
    }

    /// The gRPC status code that tells a caller of this refusal. RESOURCE_EXHAUSTED says that the caller asks
    /// too much; a breaker, a bulkhead and a peer that is not ready are UNAVAILABLE.
    #[must_use]
    pub const fn grpc_code(self) -> i32 {
        match self {
            Self::Breaker | Self::Bulkhead | Self::Unready => 14,
            Self::RateLimit => 8,
            Self::Deadline | Self::Timeout => 4,
        }
    }

    /// The HTTP status that tells a caller of this refusal: 429 is the caller's fault, 503 and 504 are not.
    #[must_use]
    pub const fn http_status(self) -> http::StatusCode {
        match self {
            Self::Breaker | Self::Bulkhead | Self::Unready => http::StatusCode::SERVICE_UNAVAILABLE,
            Self::RateLimit => http::StatusCode::TOO_MANY_REQUESTS,
            Self::Deadline | Self::Timeout => http::StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// The value of the `guard` label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Breaker => "breaker",
            Self::Bulkhead => "bulkhead",
            Self::RateLimit => "rate_limit",
            Self::Deadline => "deadline",
            Self::Timeout => "timeout",
            Self::Unready => "unready",
        }
    }

    /// Whether it ended an attempt. The others refuse to begin one, and would refuse the next as well.
    pub(crate) const fn ended_attempt(self) -> bool {
        matches!(self, Self::Timeout | Self::Unready)
    }

    const fn says(self) -> &'static str {
        match self {
            Self::Breaker => "the circuit breaker is open",
            Self::Bulkhead => "the bulkhead is full",
            Self::RateLimit => "the rate limit is reached",
            Self::Deadline => "the deadline had passed before the call was sent",
            Self::Timeout => "no answer within the time limit",
            Self::Unready => "not ready within the time limit",
        }
    }
}

/// A call that a guard did not let through, or did not let finish. Made without an allocation.
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
    /// The policy or guard by name.
    pub name: &'static str,
    /// What said no.
    pub guard: Guard,
    /// The least wait before it may say yes, where that is known.
    pub retry_after: Option<Duration>,
}

impl Rejection {
    pub(crate) const fn new(name: &'static str, guard: Guard, retry_after: Option<Duration>) -> Self {
        Self { name, guard, retry_after }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.guard.says())?;
        match self.retry_after {
            // Up to the millisecond: a wait of nanoseconds is noise to who reads it.
            Some(wait) => {
                let wait = Duration::from_millis(wait.as_nanos().div_ceil(1_000_000) as u64);
                write!(f, "; again in {}", humantime::format_duration(wait))
            }
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
    fn a_caller_is_told_which_guard_it_was_also_beneath_a_context() {
        let table = [
            (Guard::Breaker, 14, 503),
            (Guard::Bulkhead, 14, 503),
            (Guard::RateLimit, 8, 429),
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
    fn an_error_without_a_guard_goes_by_its_kind() {
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
