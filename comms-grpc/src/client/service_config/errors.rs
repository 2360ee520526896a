//! The errors of a service config.

use comms_core::Error;

/// Returns the error of the value at `path`.
pub(super) fn invalid(path: &str, reason: &str) -> Error {
    Error::invalid(format!("service config: {path}: {reason}"))
}
