//! The settings of a shedder.

use serde::{Deserialize, Serialize};
use std::time::Duration;

use crate::{
    Error,
    resilience::config::{bounded, duration},
};

/// The largest limit: the counts of three priorities share one atomic word, with 20 bits for each.
pub(super) const MAX_LIMIT: u32 = (1 << 20) - 1;

/// The settings of a [`Shedder`](super::Shedder).
///
/// Default: a fixed limit of 200 requests in flight, of which `Batch` requests may use 60 % and `Standard` requests
/// 90 %.
///
/// ```
/// use comms_core::resilience::{AdaptiveLimitConfig, ShedConfig, ShedLimit};
/// let config = ShedConfig::default().limit(ShedLimit::Adaptive(AdaptiveLimitConfig::default().max(500)));
/// config.validate()?;
/// # Ok::<(), comms_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct ShedConfig {
    /// The limit of requests in flight. Default `ShedLimit::Fixed(200)`.
    pub limit: ShedLimit,
    /// Share of the limit up to which `Batch` requests are admitted, above 0 and at most `standard_share`. Default 0.6.
    pub batch_share: f64,
    /// Share of the limit up to which `Standard` requests are admitted, at least `batch_share` and at most 1. Default
    /// 0.9. `Critical` requests are admitted up to the limit.
    pub standard_share: f64,
    /// The wait that a rejection names, before jitter: it is multiplied by a random number in `0.5..1.5`, so that
    /// refused callers do not come back together. Default 1 s.
    #[serde(with = "duration")]
    pub retry_after: Duration,
}

/// The limit of requests in flight of a [`Shedder`](super::Shedder).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShedLimit {
    /// A constant limit, `1..=1_048_575`.
    Fixed(u32),
    /// A limit that follows the measured duration of requests.
    Adaptive(AdaptiveLimitConfig),
}

/// The settings of an adaptive limit: Gradient2 of Netflix concurrency-limits
/// (<https://github.com/Netflix/concurrency-limits>), with a decrease after overload.
///
/// At the end of each window, the limit moves towards `limit * gradient + 4`. The gradient is the long-term average
/// duration times `tolerance`, divided by the average duration of the window, and is in `0.5..=1.0`. So the limit grows
/// while requests are as fast as usual, and shrinks while they queue. A window changes the limit only if requests of a
/// priority used half of the permits of that priority. A window in which a tenth of the requests ended in an overload
/// ([`ShedPermit::overloaded`](super::ShedPermit::overloaded)) shrinks the limit by 10 %. Before the first success there is
/// no average: then a window shrinks the limit by 10 % if each of its requests ended at a time limit longer than `window`
/// ([`ShedPermit::timed_out_in`](super::ShedPermit::timed_out_in)).
///
/// The long-term average adapts over about 600 windows, and over about 6,000 while at least half of the limit is in use.
/// Under a load that never ends, the limit therefore rises slowly towards `max`: set `max` to a number that the service
/// survives.
///
/// Use it for requests of similar duration. A stream that stays open for minutes is no measure of the load: give
/// streams a shedder of their own, with a fixed limit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct AdaptiveLimitConfig {
    /// The limit at the start, `min..=max`. Default 20.
    pub initial: u32,
    /// The lower bound of the limit, at least 1. Default 10.
    pub min: u32,
    /// The upper bound of the limit, at most 1,048,575. Default 200.
    pub max: u32,
    /// The shortest time between two changes of the limit. At least 1 ms. Default 250 ms.
    #[serde(with = "duration")]
    pub window: Duration,
    /// Completed requests that a window needs. A window that is shorter of them is extended. At least 1, default 10.
    pub min_samples: u32,
    /// How much longer than the long-term average a request may take before the limit shrinks: 1.5 permits 50 %. At
    /// least 1, default 1.5.
    pub tolerance: f64,
    /// The share of a change that one window applies, above 0 and at most 1. Default 0.2.
    pub smoothing: f64,
}

impl Default for ShedConfig {
    fn default() -> Self {
        Self {
            limit: ShedLimit::Fixed(200),
            batch_share: 0.6,
            standard_share: 0.9,
            retry_after: Duration::from_secs(1),
        }
    }
}

impl Default for AdaptiveLimitConfig {
    fn default() -> Self {
        Self {
            initial: 20,
            min: 10,
            max: 200,
            window: Duration::from_millis(250),
            min_samples: 10,
            tolerance: 1.5,
            smoothing: 0.2,
        }
    }
}

impl ShedConfig {
    /// Returns settings with a fixed `limit`.
    #[must_use]
    pub fn fixed(limit: u32) -> Self {
        Self { limit: ShedLimit::Fixed(limit), ..Self::default() }
    }

    /// Returns settings with an adaptive limit of the default bounds, 10 to 200.
    #[must_use]
    pub fn adaptive() -> Self {
        Self { limit: ShedLimit::Adaptive(AdaptiveLimitConfig::default()), ..Self::default() }
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](crate::ErrorKind::Invalid), naming the setting, if
    /// - the fixed limit, or `min`, is 0, or the fixed limit, or `max`, is above 1,048,575;
    /// - the shares are not ascending (`0 < batch_share <= standard_share <= 1`);
    /// - `initial` is outside of `min..=max`;
    /// - `window` is below 1 ms, `min_samples` is 0, `tolerance` is below 1 or not finite, or `smoothing` is outside of
    ///   `0.0..=1.0` or 0;
    /// - a duration is above 99,999,999 s.
    pub fn validate(&self) -> Result<(), Error> {
        let (batch, standard) = (self.batch_share, self.standard_share);
        if !(batch > 0.0 && batch <= standard && standard <= 1.0) {
            return Err(Error::invalid(
                "shedder: the shares must be ascending: 0 < `batch_share` <= `standard_share` <= 1",
            ));
        }
        bounded("retry_after", self.retry_after)?;
        match &self.limit {
            ShedLimit::Fixed(limit) if !(1..=MAX_LIMIT).contains(limit) => {
                Err(Error::invalid("shedder: a fixed `limit` must be between 1 and 1,048,575"))
            }
            ShedLimit::Fixed(_) => Ok(()),
            ShedLimit::Adaptive(adaptive) => adaptive.validate(),
        }
    }
}

impl AdaptiveLimitConfig {
    fn validate(&self) -> Result<(), Error> {
        bounded("window", self.window)?;
        let checks = [
            (self.min == 0 || self.max > MAX_LIMIT, "`min` must be at least 1, and `max` at most 1,048,575"),
            (!(self.min..=self.max).contains(&self.initial), "`initial` must be between `min` and `max`"),
            (self.window < Duration::from_millis(1), "`window` must be at least 1 ms"),
            (self.min_samples == 0, "`min_samples` must be at least 1"),
            (
                !(self.tolerance >= 1.0 && self.tolerance.is_finite()),
                "`tolerance` must be a finite number of at least 1",
            ),
            (
                !(self.smoothing > 0.0 && self.smoothing <= 1.0),
                "`smoothing` must be above 0 and at most 1, or the limit never changes",
            ),
        ];
        match checks.iter().find(|(violated, _)| *violated) {
            Some((_, requirement)) => Err(Error::invalid(format!("shedder: {requirement}"))),
            None => Ok(()),
        }
    }
}

/// Setters: each takes the configuration and returns it with one setting changed.
impl ShedConfig {
    /// Sets the limit of requests in flight. Default `ShedLimit::Fixed(200)`.
    #[must_use]
    pub fn limit(self, limit: ShedLimit) -> Self {
        Self { limit, ..self }
    }

    /// Sets the share of the limit up to which `Batch` requests are admitted. Default 0.6.
    #[must_use]
    pub fn batch_share(self, batch_share: f64) -> Self {
        Self { batch_share, ..self }
    }

    /// Sets the share of the limit up to which `Standard` requests are admitted. Default 0.9.
    #[must_use]
    pub fn standard_share(self, standard_share: f64) -> Self {
        Self { standard_share, ..self }
    }

    /// Sets the wait that a rejection names, before a jitter of +-50 %. Default 1 s.
    #[must_use]
    pub fn retry_after(self, retry_after: Duration) -> Self {
        Self { retry_after, ..self }
    }
}

/// Setters: each takes the configuration and returns it with one setting changed.
impl AdaptiveLimitConfig {
    /// Sets the limit at the start. Default 20.
    #[must_use]
    pub fn initial(self, initial: u32) -> Self {
        Self { initial, ..self }
    }

    /// Sets the lower bound of the limit. Default 10.
    #[must_use]
    pub fn min(self, min: u32) -> Self {
        Self { min, ..self }
    }

    /// Sets the upper bound of the limit. Default 200.
    #[must_use]
    pub fn max(self, max: u32) -> Self {
        Self { max, ..self }
    }

    /// Sets the shortest time between two changes of the limit. Default 250 ms.
    #[must_use]
    pub fn window(self, window: Duration) -> Self {
        Self { window, ..self }
    }

    /// Sets the number of completed requests that a window needs. Default 10.
    #[must_use]
    pub fn min_samples(self, min_samples: u32) -> Self {
        Self { min_samples, ..self }
    }

    /// Sets how much longer than the long-term average a request may take. Default 1.5.
    #[must_use]
    pub fn tolerance(self, tolerance: f64) -> Self {
        Self { tolerance, ..self }
    }

    /// Sets the share of a change that one window applies. Default 0.2.
    #[must_use]
    pub fn smoothing(self, smoothing: f64) -> Self {
        Self { smoothing, ..self }
    }
}
