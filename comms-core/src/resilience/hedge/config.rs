//! The settings of hedged calls.

use serde::{Deserialize, Serialize};
use std::time::Duration;

use crate::{
    Error,
    resilience::config::{bounded, duration},
};

/// The most attempts of a hedged call (gRFC A6).
const MAX_ATTEMPTS: u32 = 5;

/// The settings of a [`Hedge`](super::Hedge).
///
/// Default: one hedge, sent when the first attempt takes longer than 95 % of the first attempts of the last 30 s.
///
/// ```
/// use comms_core::resilience::{HedgeConfig, HedgeDelay};
/// use std::time::Duration;
/// let config = HedgeConfig::default().delay(HedgeDelay::Fixed(Duration::from_millis(50))).max_attempts(3);
/// config.validate()?;
/// # Ok::<(), comms_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct HedgeConfig {
    /// How long a call waits for the attempts in flight before it sends another one. Default
    /// `HedgeDelay::Percentile(0.95)`.
    pub delay: HedgeDelay,
    /// Attempts in all, including the first. `2..=5`, default 2.
    pub max_attempts: u32,
    /// First attempts that `window` must contain before a percentile is used. With fewer, no call is hedged because of
    /// its duration. At least 1, default 100. Has no effect on a fixed delay.
    pub min_samples: u32,
    /// The time whose first attempts determine a percentile. It slides in six steps. At least 60 ms, default 30 s.
    #[serde(with = "duration")]
    pub window: Duration,
}

/// The wait before a hedge.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HedgeDelay {
    /// A constant wait. Zero sends all attempts at once.
    #[serde(with = "duration")]
    Fixed(Duration),
    /// The duration that this share of recent first attempts did not exceed, above 0 and below 1: 0.95 hedges about 5 %
    /// of the calls. Exact to 12.5 %, rounded up.
    Percentile(f64),
}

impl Default for HedgeConfig {
    fn default() -> Self {
        let (delay, window) = (HedgeDelay::Percentile(0.95), Duration::from_secs(30));
        Self { delay, max_attempts: 2, min_samples: 100, window }
    }
}

impl HedgeConfig {
    /// Checks the settings.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](crate::ErrorKind::Invalid), naming the setting, if `max_attempts` is outside of
    /// `2..=5`, `min_samples` is 0, a percentile is not above 0 and below 1, `window` is below 60 ms, or a duration is
    /// above 99,999,999 s.
    pub fn validate(&self) -> Result<(), Error> {
        bounded("window", self.window)?;
        if let HedgeDelay::Fixed(delay) = self.delay {
            bounded("delay", delay)?;
        }
        let is_percentile = |share: f64| share > 0.0 && share < 1.0;
        let checks = [
            (!(2..=MAX_ATTEMPTS).contains(&self.max_attempts), "`max_attempts` must be between 2 and 5"),
            (self.min_samples == 0, "`min_samples` must be at least 1"),
            (
                matches!(self.delay, HedgeDelay::Percentile(share) if !is_percentile(share)),
                "the `percentile` of `delay` must be above 0 and below 1",
            ),
            (self.window < Duration::from_millis(60), "`window` must be at least 60 ms"),
        ];
        match checks.iter().find(|(violated, _)| *violated) {
            Some((_, requirement)) => Err(Error::invalid(format!("hedge: {requirement}"))),
            None => Ok(()),
        }
    }
}

/// Setters: each takes the configuration and returns it with one setting changed.
impl HedgeConfig {
    /// Sets the wait before a hedge. Default `HedgeDelay::Percentile(0.95)`.
    #[must_use]
    pub fn delay(self, delay: HedgeDelay) -> Self {
        Self { delay, ..self }
    }

    /// Sets the number of attempts in all, including the first. Default 2.
    #[must_use]
    pub fn max_attempts(self, max_attempts: u32) -> Self {
        Self { max_attempts, ..self }
    }

    /// Sets the number of first attempts without which a percentile is not used. Default 100.
    #[must_use]
    pub fn min_samples(self, min_samples: u32) -> Self {
        Self { min_samples, ..self }
    }

    /// Sets the time whose first attempts determine a percentile. Default 30 s.
    #[must_use]
    pub fn window(self, window: Duration) -> Self {
        Self { window, ..self }
    }
}
