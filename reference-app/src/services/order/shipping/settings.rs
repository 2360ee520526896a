//! The settings of the shipment.

use std::time::Duration;

use comms_core::Error;
use serde::Deserialize;

use crate::platform::{config::duration, service::Section};

/// The longest time between the acceptance and the delivery.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3_600);

/// The section `[order.shipping]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::services::order) struct Settings {
    /// Who ships.
    #[expect(
        dead_code,
        reason = "there is one mode; the key names it, so that nobody takes it for a courier"
    )]
    mode: Mode,
    /// The time between the acceptance and the delivery.
    #[serde(with = "duration")]
    pub(super) delivered_after: Duration,
    /// The ads whose orders are refused, to demonstrate a refusal.
    pub(super) refuse_ads: Vec<String>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
enum Mode {
    /// No courier: [`LocalStandIn`](super::LocalStandIn).
    #[serde(rename = "stand-in")]
    StandIn,
}

impl Settings {
    /// Checks the values.
    ///
    /// # Errors
    /// Returns `Invalid`, naming the key, if `delivered_after` is longer than 366 days.
    pub(in crate::services::order) fn check(&self, section: &Section) -> Result<(), Error> {
        if self.delivered_after > LONGEST {
            return Err(section.refusal("shipping.delivered_after", "must be at most 366days"));
        }
        Ok(())
    }
}
