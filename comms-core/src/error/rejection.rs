//! The refusal of a call by a guard of this process: which guard, and for how long.

use std::{fmt, time::Duration};

use crate::{ErrorKind, clock::rounded};

/// The guards of a [`Policy`](crate::resilience::Policy).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Guard {
    /// The circuit breaker is open, or its probes are all under way.
    Breaker,
    /// The bulkhead is full, and no permit was released in time.
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
    /// The kind of the error: `Rejected` for a call that was not begun, `NotExecuted` for a service that did not get ready,
    /// `Indeterminate` for a time limit that passed during the call.
    #[must_use]
    pub const fn kind(self) -> ErrorKind {
        match self {
            Self::Timeout => ErrorKind::Indeterminate,
            Self::Unready => ErrorKind::NotExecuted,
            Self::Breaker | Self::Bulkhead | Self::RateLimit | Self::Deadline => ErrorKind::Rejected,
        }
    }

    /// The gRPC status code of this refusal: RESOURCE_EXHAUSTED where the caller sends too much, UNAVAILABLE for a breaker,
    /// a bulkhead and a peer that is not ready, DEADLINE_EXCEEDED for a deadline or time limit.
    #[must_use]
    pub const fn grpc_code(self) -> i32 {
        match self {
            Self::Breaker | Self::Bulkhead | Self::Unready => 14,
            Self::RateLimit => 8,
            Self::Deadline | Self::Timeout => 4,
        }
    }

    /// The HTTP status of this refusal: 429 where the caller sends too much, else 503 or 504.
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

    /// Whether the guard ended an attempt. The others refuse to begin one, and would refuse the next as well.
    pub(crate) const fn ended_attempt(self) -> bool {
        matches!(self, Self::Timeout | Self::Unready)
    }

    const fn text(self) -> &'static str {
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

/// The refusal of a call by a guard, before the call was sent or while it was under way. Made without an allocation.
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
    /// The guard that refused.
    pub guard: Guard,
    /// The least wait before the guard may let a call through, if that is known.
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
            Some(wait) => write!(f, "; again in {}", rounded(wait)),
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
    fn a_guard_has_its_own_statuses_also_beneath_a_context() {
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
