//! The section `[order]` of the configuration.

use comms_core::Error;
use serde::Deserialize;

use super::{saga::Limits, shipping};
use crate::platform::service::Section;

/// The keys whose values may be printed.
pub(super) const SHOWN: &[&str] = &["choreographed", "saga.*", "shipping.*"];

/// The settings of order-service.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    /// Whether the services react to the events of a new order (choreography), instead of commands of its saga
    /// (orchestration). An order keeps the variant with which it was placed.
    pub(super) choreographed: bool,
    /// The time limits of the saga.
    pub(super) saga: Limits,
    /// Who ships.
    pub(super) shipping: shipping::Settings,
}

/// Checks the section.
///
/// # Errors
/// Returns `Invalid`, naming the key, for an unknown key, a value of the wrong type, or a value that is out of range.
pub(super) fn check(section: &Section) -> Result<(), Error> {
    let settings: Settings = section.read()?;
    settings.saga.check(section)?;
    settings.shipping.check(section)
}
