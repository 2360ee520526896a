//! The time limits of the saga.

use std::time::Duration;

use comms_core::Error;
use serde::Deserialize;

use crate::platform::{config::duration, service::Section};

/// The longest time limit.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3_600);
/// The largest number of attempts.
const MAX_ATTEMPTS: u32 = 100;

/// The section `[order.saga]`. Each limit is that of one attempt.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::services::order) struct Limits {
    /// The number of attempts at a command in all. A step that is observed gets the time of all of them.
    pub(super) attempts: u32,
    #[serde(rename = "payment_limit", with = "duration")]
    pub(super) payment: Duration,
    #[serde(rename = "inventory_limit", with = "duration")]
    pub(super) inventory: Duration,
    #[serde(rename = "shipping_limit", with = "duration")]
    pub(super) shipping: Duration,
    #[serde(rename = "confirmation_limit", with = "duration")]
    pub(super) confirmation: Duration,
    /// The time from the acceptance of the shipment to the delivery.
    #[serde(rename = "delivery_limit", with = "duration")]
    pub(super) delivery: Duration,
}

impl Limits {
    /// Checks the values.
    ///
    /// # Errors
    /// Returns `Invalid`, naming the key, if a limit is not from 1 s to 366 days, or the number of attempts is not from 1
    /// to 100.
    pub(in crate::services::order) fn check(&self, section: &Section) -> Result<(), Error> {
        let limits = [
            ("payment_limit", self.payment),
            ("inventory_limit", self.inventory),
            ("shipping_limit", self.shipping),
            ("confirmation_limit", self.confirmation),
            ("delivery_limit", self.delivery),
        ];
        let possible = Duration::from_secs(1)..=LONGEST;
        if let Some((key, _)) = limits.iter().find(|(_, limit)| !possible.contains(limit)) {
            return Err(section.refusal(&format!("saga.{key}"), "must be between 1s and 366days"));
        }
        if !(1..=MAX_ATTEMPTS).contains(&self.attempts) {
            return Err(section.refusal("saga.attempts", &format!("must be between 1 and {MAX_ATTEMPTS}")));
        }
        Ok(())
    }
}
