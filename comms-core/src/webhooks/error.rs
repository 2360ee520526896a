//! Why a webhook was refused.

use std::time::Duration;

use crate::Error;

/// Why a webhook was refused. Answer any of them with 400 or 401: a sender takes every status but 2xx for a
/// failure and tries again, and 410 for the wish never to hear of it again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WebhookError {
    /// A header that must be there is not.
    #[error("the header {0} is missing")]
    Missing(&'static str),
    /// A header is there, and is too long or not what it should be.
    #[error("the header {0} is malformed")]
    Malformed(&'static str),
    /// The body is over the verifier's limit; it was not looked at.
    #[error("the body has {size} bytes, more than the limit of {limit}")]
    BodyTooLarge {
        /// Bytes that came.
        size: usize,
        /// Bytes that are allowed.
        limit: usize,
    },
    /// Sent too long ago: a replay, a slow way, or clocks that differ.
    #[error("the timestamp is {age:?} old, more than the tolerance of {tolerance:?}")]
    TooOld {
        /// How far the timestamp lies behind.
        age: Duration,
        /// How far it may.
        tolerance: Duration,
    },
    /// Sent in the future: clocks that differ.
    #[error("the timestamp is {ahead:?} ahead, more than the tolerance of {tolerance:?}")]
    TooNew {
        /// How far the timestamp lies ahead.
        ahead: Duration,
        /// How far it may.
        tolerance: Duration,
    },
    /// No `v1` signature fits: another secret, or another body, id or timestamp than was signed.
    #[error("no v1 signature fits this request under any known secret")]
    NoMatch,
}

/// `Invalid`: the same request can never succeed.
impl From<WebhookError> for Error {
    fn from(error: WebhookError) -> Self {
        Self::invalid(error)
    }
}
