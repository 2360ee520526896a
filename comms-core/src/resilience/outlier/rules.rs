//! The settings of the rules of an outlier detector.

use serde::{Deserialize, Serialize};

/// The rule of success rates: a host is an outlier if its success rate is below the mean of the hosts minus
/// `stdev_factor` standard deviations.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct SuccessRateConfig {
    /// Standard deviations below the mean. At least 0, default 1.9 (1,900 in gRFC A50).
    pub stdev_factor: f64,
    /// The chance in percent that an outlier is ejected. `0..=100`, default 100.
    pub enforcement_percentage: u32,
    /// Hosts that need `request_volume` calls in the interval, or the rule ejects none. Default 5.
    pub minimum_hosts: u32,
    /// Calls that a host needs in the interval to be considered. At least 1, default 100.
    pub request_volume: u32,
}

/// The rule of failure percentages: a host is an outlier if more than `threshold` percent of its calls failed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct FailurePercentageConfig {
    /// Failures in percent that a host may have. `0..=100`, default 85.
    pub threshold: u32,
    /// The chance in percent that an outlier is ejected. `0..=100`, default 100.
    pub enforcement_percentage: u32,
    /// Hosts that the detector must have, or the rule ejects none. Default 5.
    pub minimum_hosts: u32,
    /// Calls that a host needs in the interval to be considered. At least 1, default 50.
    pub request_volume: u32,
}

impl Default for SuccessRateConfig {
    fn default() -> Self {
        Self { stdev_factor: 1.9, enforcement_percentage: 100, minimum_hosts: 5, request_volume: 100 }
    }
}

impl Default for FailurePercentageConfig {
    fn default() -> Self {
        Self { threshold: 85, enforcement_percentage: 100, minimum_hosts: 5, request_volume: 50 }
    }
}

/// Setters: each takes the configuration and returns it with one setting changed.
impl SuccessRateConfig {
    /// Sets the standard deviations below the mean that make an outlier. Default 1.9.
    #[must_use]
    pub fn stdev_factor(self, stdev_factor: f64) -> Self {
        Self { stdev_factor, ..self }
    }

    /// Sets the chance in percent that an outlier is ejected. Default 100.
    #[must_use]
    pub fn enforcement_percentage(self, enforcement_percentage: u32) -> Self {
        Self { enforcement_percentage, ..self }
    }

    /// Sets the number of hosts with traffic that the rule needs. Default 5.
    #[must_use]
    pub fn minimum_hosts(self, minimum_hosts: u32) -> Self {
        Self { minimum_hosts, ..self }
    }

    /// Sets the number of calls in an interval that a host needs to be considered. Default 100.
    #[must_use]
    pub fn request_volume(self, request_volume: u32) -> Self {
        Self { request_volume, ..self }
    }
}

/// Setters: each takes the configuration and returns it with one setting changed.
impl FailurePercentageConfig {
    /// Sets the failures in percent that a host may have. Default 85.
    #[must_use]
    pub fn threshold(self, threshold: u32) -> Self {
        Self { threshold, ..self }
    }

    /// Sets the chance in percent that an outlier is ejected. Default 100.
    #[must_use]
    pub fn enforcement_percentage(self, enforcement_percentage: u32) -> Self {
        Self { enforcement_percentage, ..self }
    }

    /// Sets the number of hosts that the rule needs. Default 5.
    #[must_use]
    pub fn minimum_hosts(self, minimum_hosts: u32) -> Self {
        Self { minimum_hosts, ..self }
    }

    /// Sets the number of calls in an interval that a host needs to be considered. Default 50.
    #[must_use]
    pub fn request_volume(self, request_volume: u32) -> Self {
        Self { request_volume, ..self }
    }
}
