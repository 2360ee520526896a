//! The limits on the attempts and the holds of a delivery.

use std::time::Duration;

use crate::resilience::Backoff;

/// The limits on the attempts and the holds of a delivery.
///
/// The kind of an error decides what follows a failed attempt ([`ErrorKind::disposition`](crate::ErrorKind::disposition)): another attempt that counts
/// towards `max_attempts`, a hold, whose attempts do not count, a dead letter at once, or the end of the process.
///
/// ```
/// use comms_core::transport::AttemptConfig;
/// use std::time::Duration;
/// // Dead-letters a message after 5 counted attempts of at most 10 s each, or after a hold of one hour.
/// let config = AttemptConfig::default()
///     .max_attempts(5)
///     .timeout(Duration::from_secs(10))
///     .hold_limit(Duration::from_secs(60 * 60));
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct AttemptConfig {
    /// The waits between attempts. Default: 100 ms, doubled after each failure up to 30 s, with a jitter of +-20 %.
    /// After a [`Conflict`](crate::ErrorKind::Conflict) the wait does not grow: it is always the first wait of the backoff.
    pub backoff: Backoff,
    /// The number of counted attempts after which the delivery becomes a dead letter. Default: 30, which is about 11
    /// minutes of waits in addition to the attempts themselves. Attempts that fail during a hold do not count.
    pub max_attempts: u32,
    /// The time limit of one call of the handler. A call that exceeds it fails with
    /// [`Indeterminate`](crate::ErrorKind::Indeterminate). Default: 30 s.
    ///
    /// The wait until the handler is ready, for example behind a concurrency limit, does not count. It has the same
    /// limit of its own, and fails with [`NotExecuted`](crate::ErrorKind::NotExecuted).
    pub timeout: Duration,
    /// The longest duration of a hold, checked after each attempt. When it has passed, the delivery becomes a dead
    /// letter with the last error. Default: `None`, which holds the delivery until the cause is gone.
    pub hold_limit: Option<Duration>,
    /// The longest time for which a processor keeps a held delivery before it returns the delivery to the consumer as
    /// [`Settlement::Held`](crate::transport::Settlement::Held). Default: `None`, which keeps the delivery for as long as the hold lasts.
    pub hold_in_place: Option<Duration>,
}

impl Default for AttemptConfig {
    fn default() -> Self {
        let backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(30)).unwrap_or_default();
        let timeout = Duration::from_secs(30);
        Self { backoff, max_attempts: 30, timeout, hold_limit: None, hold_in_place: None }
    }
}

/// Setters: each takes the configuration and returns it with one field changed.
impl AttemptConfig {
    /// Sets the waits between attempts. Default: 100 ms, doubled up to 30 s.
    #[must_use]
    pub fn backoff(self, backoff: Backoff) -> Self {
        Self { backoff, ..self }
    }

    /// Sets the number of counted attempts after which a delivery becomes a dead letter. Default: 30.
    #[must_use]
    pub fn max_attempts(self, max_attempts: u32) -> Self {
        Self { max_attempts, ..self }
    }

    /// Sets the time limit of one attempt. Default: 30 s.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Sets the time after which a held delivery becomes a dead letter. Default: `None`, no limit.
    #[must_use]
    pub fn hold_limit(self, hold_limit: impl Into<Option<Duration>>) -> Self {
        Self { hold_limit: hold_limit.into(), ..self }
    }

    /// Sets the time after which a processor returns a held delivery as [`Settlement::Held`](crate::transport::Settlement::Held). Default: `None`, never.
    #[must_use]
    pub fn hold_in_place(self, hold_in_place: impl Into<Option<Duration>>) -> Self {
        Self { hold_in_place: hold_in_place.into(), ..self }
    }
}
