//! The section `[order]` of the configuration.

use std::{ops::RangeInclusive, time::Duration};

use comms_core::Error;
use serde::Deserialize;

use super::{saga::Limits, shipping};
use crate::platform::{config::duration, service::Section};

/// The keys whose values may be printed.
pub(super) const SHOWN: &[&str] = &["choreographed", "saga.*", "shipping.*", "retention.*"];
const DAY: Duration = Duration::from_secs(86_400);
/// The bounds of each time in `[order.retention]`.
const RETENTION: RangeInclusive<Duration> = DAY..=Duration::from_secs(3_660 * 86_400);

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
    /// How long rows are kept that are no longer used.
    pub(super) retention: Retention,
}

/// The section `[order.retention]`.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Retention {
    /// The time after the end of a run of the saga after which the run is deleted, with its log.
    #[serde(with = "duration")]
    pub(super) ended_runs: Duration,
    /// The time without a process that builds it after which a replaced revision of the list of orders is deleted.
    #[serde(with = "duration")]
    pub(super) replaced_lists: Duration,
}

impl Retention {
    fn check(self, section: &Section) -> Result<(), Error> {
        let times = [("ended_runs", self.ended_runs), ("replaced_lists", self.replaced_lists)];
        match times.iter().find(|(_, time)| !RETENTION.contains(time)) {
            Some((key, _)) => {
                Err(section.refusal(&format!("retention.{key}"), "must be between 1day and 3660days"))
            }
            None => Ok(()),
        }
    }
}

/// Checks the section.
///
/// # Errors
/// Returns `Invalid`, naming the key, for an unknown key, a value of the wrong type, or a value that is out of range.
pub(super) fn check(section: &Section) -> Result<(), Error> {
    let settings: Settings = section.read()?;
    settings.saga.check(section)?;
    settings.shipping.check(section)?;
    settings.retention.check(section)
}
