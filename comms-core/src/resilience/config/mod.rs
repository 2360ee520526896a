//! The two forms of configuration that serde does not bring.

pub(super) mod duration;
pub(super) mod switch;

use std::time::Duration;

use crate::Error;

/// No setting is longer, so that no point in time is ever out of range: three years, as a `grpc-timeout` in seconds.
pub(super) const LONGEST: Duration = Duration::from_secs(99_999_999);

/// # Errors
/// `Invalid` for a time beyond [`LONGEST`], naming the setting.
pub(super) fn bounded(setting: &str, time: Duration) -> Result<(), Error> {
    if time > LONGEST {
        return Err(Error::invalid(format!("`{setting}` is at most {} s", LONGEST.as_secs())));
    }
    Ok(())
}
