//! The settings of an outlier detector.

use serde::{Deserialize, Serialize};
use std::time::Duration;

use super::rules::{FailurePercentageConfig, SuccessRateConfig};
use crate::{
    Error,
    resilience::config::{bounded, duration, switch},
};

/// The settings of an [`OutlierDetector`](super::OutlierDetector), with the names and defaults of gRFC A50.
///
/// Default: the success-rate and the failure-percentage rule are on, and consecutive failures are not counted. Both
/// rules need at least five hosts with traffic. For fewer hosts set `consecutive_failures`.
///
/// ```
/// use comms_core::resilience::OutlierConfig;
/// let small = OutlierConfig::default().consecutive_failures(5).max_ejection_percent(50);
/// small.validate()?;
/// # Ok::<(), comms_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct OutlierConfig {
    /// The time between two sweeps, which evaluate the calls since the sweep before. Above zero. Default 10 s.
    #[serde(with = "duration")]
    pub interval: Duration,
    /// How long a host is ejected, times the number of its recent ejections. Above zero. Default 30 s.
    #[serde(with = "duration")]
    pub base_ejection_time: Duration,
    /// The longest ejection. `base_ejection_time` is used if that is longer. Default 300 s.
    #[serde(with = "duration")]
    pub max_ejection_time: Duration,
    /// The share of hosts in percent that may be ejected at once, `0..=100`. One host may always be ejected, but never
    /// the last one. Default 10.
    pub max_ejection_percent: u32,
    /// Ejects hosts whose success rate is far below that of the others. `None`, or `false` in configuration, turns the
    /// rule off. Default on.
    #[serde(with = "switch")]
    pub success_rate: Option<SuccessRateConfig>,
    /// Ejects hosts that fail most calls, whatever the others do. `None`, or `false` in configuration, turns the rule
    /// off. Default on.
    #[serde(with = "switch")]
    pub failure_percentage: Option<FailurePercentageConfig>,
    /// Ejects a host at once after this number of failures in a row (`consecutive_5xx` of Envoy, where it is 5). Zero
    /// turns the rule off. Default 0.
    pub consecutive_failures: u32,
}

impl Default for OutlierConfig {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(10),
            base_ejection_time: Duration::from_secs(30),
            max_ejection_time: Duration::from_secs(300),
            max_ejection_percent: 10,
            success_rate: Some(SuccessRateConfig::default()),
            failure_percentage: Some(FailurePercentageConfig::default()),
            consecutive_failures: 0,
        }
    }
}

impl OutlierConfig {
    /// Checks the settings.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](crate::ErrorKind::Invalid), naming the setting, if
    /// - no rule is on;
    /// - `interval` or `base_ejection_time` is zero, or a duration is above 99,999,999 s;
    /// - a percentage is above 100, or `stdev_factor` is negative or not finite;
    /// - a `request_volume` is 0.
    pub fn validate(&self) -> Result<(), Error> {
        bounded("interval", self.interval)?;
        bounded("base_ejection_time", self.base_ejection_time)?;
        bounded("max_ejection_time", self.max_ejection_time)?;
        let (rate, percentage) = (self.success_rate.as_ref(), self.failure_percentage.as_ref());
        let percentages = [
            Some(self.max_ejection_percent),
            rate.map(|rule| rule.enforcement_percentage),
            percentage.map(|rule| rule.enforcement_percentage),
            percentage.map(|rule| rule.threshold),
        ];
        let volumes = [rate.map(|rule| rule.request_volume), percentage.map(|rule| rule.request_volume)];
        let checks = [
            (
                volumes.iter().all(Option::is_none) && self.consecutive_failures == 0,
                "turn on `success_rate`, `failure_percentage` or `consecutive_failures`, or no host is ever ejected",
            ),
            (self.interval.is_zero(), "`interval` must be above zero"),
            (self.base_ejection_time.is_zero(), "`base_ejection_time` must be above zero"),
            (
                percentages.into_iter().flatten().any(|percent| percent > 100),
                "`max_ejection_percent`, `enforcement_percentage` and the `threshold` of `failure_percentage` must be \
                 at most 100",
            ),
            (
                rate.is_some_and(|rule| !(rule.stdev_factor >= 0.0 && rule.stdev_factor.is_finite())),
                "`stdev_factor` must be a finite number of at least 0",
            ),
            (volumes.into_iter().flatten().any(|volume| volume == 0), "`request_volume` must be at least 1"),
        ];
        match checks.iter().find(|(violated, _)| *violated) {
            Some((_, requirement)) => Err(Error::invalid(format!("outlier detection: {requirement}"))),
            None => Ok(()),
        }
    }

    /// Returns how long a host is ejected that was ejected `multiplier` times.
    pub(super) fn ejection_time(&self, multiplier: u32) -> Duration {
        let longest = self.max_ejection_time.max(self.base_ejection_time);
        self.base_ejection_time.saturating_mul(multiplier).min(longest)
    }

    /// Returns how many of `hosts` may be ejected at once.
    pub(super) fn max_ejected(&self, hosts: usize) -> usize {
        let share = hosts.saturating_mul(self.max_ejection_percent as usize) / 100;
        share.max(1).min(hosts.saturating_sub(1))
    }
}

/// Setters: each takes the configuration and returns it with one setting changed.
impl OutlierConfig {
    /// Sets the time between two sweeps. Default 10 s.
    #[must_use]
    pub fn interval(self, interval: Duration) -> Self {
        Self { interval, ..self }
    }

    /// Sets how long a host is ejected the first time. Default 30 s.
    #[must_use]
    pub fn base_ejection_time(self, base_ejection_time: Duration) -> Self {
        Self { base_ejection_time, ..self }
    }

    /// Sets the longest ejection. Default 300 s.
    #[must_use]
    pub fn max_ejection_time(self, max_ejection_time: Duration) -> Self {
        Self { max_ejection_time, ..self }
    }

    /// Sets the share of hosts in percent that may be ejected at once. Default 10.
    #[must_use]
    pub fn max_ejection_percent(self, max_ejection_percent: u32) -> Self {
        Self { max_ejection_percent, ..self }
    }

    /// Sets the rule of success rates; `None` turns it off. Default on.
    #[must_use]
    pub fn success_rate(self, success_rate: impl Into<Option<SuccessRateConfig>>) -> Self {
        Self { success_rate: success_rate.into(), ..self }
    }

    /// Sets the rule of failure percentages; `None` turns it off. Default on.
    #[must_use]
    pub fn failure_percentage(self, failure_percentage: impl Into<Option<FailurePercentageConfig>>) -> Self {
        Self { failure_percentage: failure_percentage.into(), ..self }
    }

    /// Sets the number of failures in a row that eject a host; 0 turns the rule off. Default 0.
    #[must_use]
    pub fn consecutive_failures(self, consecutive_failures: u32) -> Self {
        Self { consecutive_failures, ..self }
    }
}
