//! Serde formats and bounds that the settings of all guards share.

pub(super) mod duration;
pub(super) mod switch;

use std::time::Duration;

use crate::Error;

/// The upper bound of every duration setting, about three years. It keeps `now + duration` in the range of `Instant`,
/// and it is the largest `grpc-timeout` in seconds.
pub(super) const MAX_DURATION: Duration = Duration::from_secs(99_999_999);

/// Checks a duration setting against [`MAX_DURATION`].
///
/// # Errors
/// Returns [`ErrorKind::Invalid`](crate::ErrorKind::Invalid), naming `setting`, if `duration` is longer.
pub(super) fn bounded(setting: &str, duration: Duration) -> Result<(), Error> {
    if duration > MAX_DURATION {
        return Err(Error::invalid(format!("`{setting}` must be at most {} s", MAX_DURATION.as_secs())));
    }
    Ok(())
}
