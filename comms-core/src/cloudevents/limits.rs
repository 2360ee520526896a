//! Limits on input from outside.

use super::attribute::invalid_attribute;
use crate::Error;

/// Limits on `CloudEvents` that are read. Input over a limit is refused before it is parsed further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The maximum size of a body, in bytes, whether the body is one event or a batch. Default: 1 MiB.
    pub bytes: usize,
    /// The maximum number of events in a batch. Default: 1,000.
    pub events: usize,
    /// The maximum number of attributes of an event, with the required attributes and the extensions, without the data.
    /// Default: 64.
    pub attributes: usize,
    /// The maximum size of one attribute's value, in bytes of its text without the quotes and escapes of a format.
    /// Default: 4 KiB.
    pub attribute_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 1 << 20, events: 1_000, attributes: 64, attribute_bytes: 4 << 10 }
    }
}

/// Setters: each takes the configuration and returns it with one setting changed.
impl Limits {
    /// Sets `bytes`.
    #[must_use]
    pub fn bytes(self, bytes: usize) -> Self {
        Self { bytes, ..self }
    }

    /// Sets `events`.
    #[must_use]
    pub fn events(self, events: usize) -> Self {
        Self { events, ..self }
    }

    /// Sets `attributes`.
    #[must_use]
    pub fn attributes(self, attributes: usize) -> Self {
        Self { attributes, ..self }
    }

    /// Sets `attribute_bytes`.
    #[must_use]
    pub fn attribute_bytes(self, attribute_bytes: usize) -> Self {
        Self { attribute_bytes, ..self }
    }
}

/// Checks that `count` items, named by `unit`, are at most `limit`.
///
/// # Errors
/// Returns `Invalid` with both numbers if they are more.
pub(super) fn check_limit(limit: usize, count: usize, unit: &str) -> Result<(), Error> {
    if count <= limit {
        return Ok(());
    }
    Err(Error::invalid(format!("CloudEvents: {count} {unit}, but the limit is {limit}")))
}

/// Checks that a value of `bytes` bytes is within the limit for attributes.
///
/// # Errors
/// Returns `Invalid` with the name of the attribute if the value is too long.
pub(super) fn check_value_size(limits: &Limits, name: &str, bytes: usize) -> Result<(), Error> {
    if bytes <= limits.attribute_bytes {
        return Ok(());
    }
    let limit = limits.attribute_bytes;
    Err(invalid_attribute(name, format_args!("has {bytes} bytes, but the limit is {limit}")))
}
