//! The settings of a stream that is resumed.

use std::time::Duration;

use comms_core::{Error, resilience::Backoff};

/// The settings of a [`Resume`](super::Resume).
///
/// Default: a backoff of 1 s that doubles up to 30 s, the end after ten failures without progress, a break after 60 s
/// without an item, and the end of the stream where the server ends it.
///
/// ```
/// use comms_grpc::ResumeConfig;
/// use std::time::Duration;
/// let config = ResumeConfig::default().silence(Duration::from_secs(20)).follow(true);
/// config.validate()?;
/// # Ok::<(), comms_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ResumeConfig {
    /// The wait before the stream is opened again, unless the server requests another one (pushback). The failures
    /// since the last progress determine the wait. Default 1 s, doubled up to 30 s, +-20 %.
    pub backoff: Backoff,
    /// Failures in a row without progress after which the stream ends with the last failure. At least 1, default 10. A
    /// call that was open for 30 s starts the row anew.
    pub max_failures: u32,
    /// The longest time without an item, and the longest time for opening the stream. Afterwards the call is cancelled,
    /// and the stream is opened again. A call that was not opened in time counts as a failure, a quiet one does not. A time in which the consumer does not read is not counted. `None` waits for ever. Default
    /// 60 s.
    pub silence: Option<Duration>,
    /// Whether the stream is opened again after the server has ended it without an error, for a server that ends each
    /// call after a while. Default `false`: the stream ends.
    pub follow: bool,
}

impl Default for ResumeConfig {
    fn default() -> Self {
        let silence = Some(Duration::from_secs(60));
        Self { backoff: Backoff::default(), max_failures: 10, silence, follow: false }
    }
}

impl ResumeConfig {
    /// Checks the settings.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](comms_core::ErrorKind::Invalid) if `max_failures` is 0, or `silence` is zero or
    /// above 99,999,999 s.
    pub fn validate(&self) -> Result<(), Error> {
        if self.max_failures == 0 {
            return Err(Error::invalid("resume: `max_failures` must be at least 1"));
        }
        let is_valid = |silence: Duration| !silence.is_zero() && silence.as_secs() <= 99_999_999;
        if self.silence.is_some_and(|silence| !is_valid(silence)) {
            return Err(Error::invalid("resume: `silence` must be above zero and at most 99,999,999 s"));
        }
        Ok(())
    }
}

/// Setters: each takes the configuration and returns it with one setting changed.
impl ResumeConfig {
    /// Sets the wait before the stream is opened again. Default 1 s, doubled up to 30 s, +-20 %.
    #[must_use]
    pub fn backoff(self, backoff: Backoff) -> Self {
        Self { backoff, ..self }
    }

    /// Sets the number of failures in a row without progress that end the stream. Default 10.
    #[must_use]
    pub fn max_failures(self, max_failures: u32) -> Self {
        Self { max_failures, ..self }
    }

    /// Sets the longest time without an item; `None` waits for ever. Default 60 s.
    #[must_use]
    pub fn silence(self, silence: impl Into<Option<Duration>>) -> Self {
        Self { silence: silence.into(), ..self }
    }

    /// Sets whether the stream is opened again after the server has ended it without an error. Default `false`.
    #[must_use]
    pub fn follow(self, follow: bool) -> Self {
        Self { follow, ..self }
    }
}
