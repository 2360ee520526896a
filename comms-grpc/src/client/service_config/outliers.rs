//! The settings of `outlier_detection_experimental` (gRFC A50).

use std::time::Duration;

use comms_core::{
    Error,
    resilience::{FailurePercentageConfig, OutlierConfig, SuccessRateConfig},
};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::values::{PositiveDuration, ProtoDuration, UInt32};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct OutlierDetection {
    interval: Option<PositiveDuration>,
    base_ejection_time: Option<PositiveDuration>,
    max_ejection_time: Option<ProtoDuration>,
    max_ejection_percent: Option<UInt32>,
    success_rate_ejection: Option<SuccessRate>,
    failure_percentage_ejection: Option<FailurePercentage>,
    /// The policy that chooses among the endpoints that are not ejected.
    pub(super) child_policy: Vec<Map<String, Value>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SuccessRate {
    /// In thousandths.
    stdev_factor: Option<UInt32>,
    enforcement_percentage: Option<UInt32>,
    minimum_hosts: Option<UInt32>,
    request_volume: Option<UInt32>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct FailurePercentage {
    threshold: Option<UInt32>,
    enforcement_percentage: Option<UInt32>,
    minimum_hosts: Option<UInt32>,
    request_volume: Option<UInt32>,
}

impl OutlierDetection {
    /// Returns the settings, with the defaults of gRFC A50. `None`: without a rule, nothing is ejected.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](comms_core::ErrorKind::Invalid), naming the setting, if it is out of its bounds.
    pub(super) fn config(&self) -> Result<Option<OutlierConfig>, Error> {
        let (rate, percentage) = (&self.success_rate_ejection, &self.failure_percentage_ejection);
        if rate.is_none() && percentage.is_none() {
            return Ok(None);
        }
        let seconds = |duration: Option<PositiveDuration>, default| {
            duration.map_or(Duration::from_secs(default), |duration| duration.0)
        };
        let config = OutlierConfig::default()
            .interval(seconds(self.interval, 10))
            .base_ejection_time(seconds(self.base_ejection_time, 30))
            .max_ejection_time(self.max_ejection_time.map_or(Duration::from_secs(300), |time| time.0))
            .max_ejection_percent(or(self.max_ejection_percent, 10))
            .success_rate(rate.as_ref().map(SuccessRate::config))
            .failure_percentage(percentage.as_ref().map(FailurePercentage::config));
        config.validate()?;
        Ok(Some(config))
    }
}

impl SuccessRate {
    fn config(&self) -> SuccessRateConfig {
        SuccessRateConfig::default()
            .stdev_factor(f64::from(or(self.stdev_factor, 1_900)) / 1_000.0)
            .enforcement_percentage(or(self.enforcement_percentage, 100))
            .minimum_hosts(or(self.minimum_hosts, 5))
            .request_volume(or(self.request_volume, 100))
    }
}

impl FailurePercentage {
    fn config(&self) -> FailurePercentageConfig {
        FailurePercentageConfig::default()
            .threshold(or(self.threshold, 85))
            .enforcement_percentage(or(self.enforcement_percentage, 100))
            .minimum_hosts(or(self.minimum_hosts, 5))
            .request_volume(or(self.request_volume, 50))
    }
}

fn or(value: Option<UInt32>, default: u32) -> u32 {
    value.map_or(default, |value| value.0)
}
