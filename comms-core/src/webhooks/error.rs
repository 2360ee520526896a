//! The error of a refused webhook.

use std::time::Duration;

use crate::Error;

/// The reason why a [`Verifier`](super::Verifier) refused a webhook.
///
/// The reason converts into an [`Error`] of the kind [`ErrorKind::Invalid`](crate::ErrorKind::Invalid).
///
/// Respond with 400 or 401 to each of these errors. A sender retries after every status other than 2xx, and disables
/// the endpoint after 410.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WebhookError {
    /// The required header of this name is missing.
    #[error("the header {0} is missing")]
    MissingHeader(&'static str),
    /// The header of this name is too long or has an invalid value.
    #[error("the header {0} is malformed")]
    MalformedHeader(&'static str),
    /// The body is over the verifier's limit. The signature was not checked.
    #[error("the body has {size} bytes, more than the limit of {limit}")]
    BodyTooLarge {
        /// The size of the body, in bytes.
        size: usize,
        /// The maximum size, in bytes.
        limit: usize,
    },
    /// The timestamp is too old: a replay, a long delay, or clocks that differ.
    #[error("the timestamp is {age:?} old, more than the tolerance of {tolerance:?}")]
    TooOld {
        /// The age of the timestamp.
        age: Duration,
        /// The maximum difference between the timestamp and the clock.
        tolerance: Duration,
    },
    /// The timestamp is in the future: the clocks differ.
    #[error("the timestamp is {ahead:?} ahead, more than the tolerance of {tolerance:?}")]
    TooNew {
        /// The time from now until the timestamp.
        ahead: Duration,
        /// The maximum difference between the timestamp and the clock.
        tolerance: Duration,
    },
    /// No `v1` signature matches: the request was signed under another secret, or with another body, id or timestamp.
    #[error("no v1 signature matches this request under any configured secret")]
    SignatureMismatch,
}

impl From<WebhookError> for Error {
    fn from(error: WebhookError) -> Self {
        Self::invalid(error)
    }
}
