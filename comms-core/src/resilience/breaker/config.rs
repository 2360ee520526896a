//! The settings of a breaker.

use serde::{Deserialize, Serialize};
use std::time::Duration;

use crate::{
    Error,
    resilience::config::{bounded, duration, switch},
};

/// The settings of a [`Breaker`](super::Breaker).
///
/// Default: five consecutive failures open the breaker for 60 s; then one call at a time probes the peer, and two
/// successful probes close the breaker.
///
/// ```
/// use comms_core::resilience::{BreakerConfig, WindowConfig};
/// use std::time::Duration;
/// // Opens at 50 % failures of the last 100 calls, and not at consecutive failures.
/// let config = BreakerConfig::default()
///     .failure_threshold(0)
///     .window(WindowConfig::calls(100))
///     .open_duration(Duration::from_secs(5));
/// config.validate()?;
/// # Ok::<(), comms_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct BreakerConfig {
    /// Consecutive failures that open the breaker. 0 turns this rule off; then `window` must be set. Default 5.
    ///
    /// Without a `window`, a success in the closed state costs one atomic read.
    pub failure_threshold: u32,
    /// Failure and slow-call rates that open the breaker. Default none.
    #[serde(with = "switch")]
    pub window: Option<WindowConfig>,
    /// How long the breaker rejects calls before it becomes half-open. Above zero. Default 60 s.
    #[serde(with = "duration")]
    pub open_duration: Duration,
    /// Upper bound of the open duration, which doubles each time a probe fails. Default none: the open duration does
    /// not grow.
    #[serde(with = "duration::optional")]
    pub max_open_duration: Option<Duration>,
    /// Share by which the open duration varies at random: it is multiplied by a number in `1 - jitter ..= 1 + jitter`.
    /// So the breakers of many processes do not probe at the same time. `0.0..=1.0`, default 0.1.
    pub jitter: f64,
    /// Calls that may be in flight at once in the half-open state (probes). At least 1, default 1.
    ///
    /// If all probes are in flight and the last one was admitted `open_duration` ago (at least 60 s), the breaker
    /// abandons them: their results no longer count, and the next call becomes a new probe.
    pub half_open_max_calls: u32,
    /// Successful probes that close the breaker. One failed probe opens it again. At least 1, default 2.
    pub success_threshold: u32,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self {
            failure_threshold: 5,
            window: None,
            open_duration: Duration::from_secs(60),
            max_open_duration: None,
            jitter: 0.1,
            half_open_max_calls: 1,
            success_threshold: 2,
        }
    }
}

impl BreakerConfig {
    /// Checks the settings.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](crate::ErrorKind::Invalid), naming the setting, if
    /// - `failure_threshold` is 0 and there is no `window`;
    /// - `open_duration` is zero, or `open_duration` or `max_open_duration` is above 99,999,999 s;
    /// - `jitter` is outside of `0.0..=1.0`;
    /// - `half_open_max_calls`, `success_threshold` or `min_calls` is 0;
    /// - a rate threshold is not above 0 and at most 1;
    /// - the window holds no call, more than 100,000 calls or fewer than `min_calls`, or is shorter than 10 ms.
    pub fn validate(&self) -> Result<(), Error> {
        let window = self.window.as_ref();
        bounded("open_duration", self.open_duration)?;
        bounded("max_open_duration", self.max_open_duration.unwrap_or_default())?;
        let is_share = |rate: f64| rate > 0.0 && rate <= 1.0;
        let checks = [
            (
                self.failure_threshold == 0 && window.is_none(),
                "set `failure_threshold` or `window`, or the breaker never opens",
            ),
            (self.open_duration.is_zero(), "`open_duration` must be above zero"),
            (!(0.0..=1.0).contains(&self.jitter), "`jitter` must be between 0 and 1"),
            (
                self.half_open_max_calls == 0,
                "`half_open_max_calls` must be at least 1, or the breaker never closes",
            ),
            (self.success_threshold == 0, "`success_threshold` must be at least 1"),
            (
                window.is_some_and(|w| !is_share(w.failure_rate_threshold)),
                "`failure_rate_threshold` must be above 0 and at most 1",
            ),
            (
                window.is_some_and(|w| !is_share(w.slow_call_rate_threshold)),
                "`slow_call_rate_threshold` must be above 0 and at most 1",
            ),
            (window.is_some_and(|w| w.min_calls == 0), "`min_calls` must be at least 1"),
            (
                window.is_some_and(|w| !w.kind.fits(w.min_calls)),
                "`window` must hold 1 to 100,000 calls and at least `min_calls`, or a time of at least 10 ms",
            ),
        ];
        match checks.iter().find(|(violated, _)| *violated) {
            Some((_, requirement)) => Err(Error::invalid(format!("circuit breaker: {requirement}"))),
            None => Ok(()),
        }
    }

    /// Returns the open duration of the `opening`-th consecutive opening (from 1), before jitter.
    pub(super) fn open_duration_of(&self, opening: u32) -> Duration {
        let doubled = self.open_duration.saturating_mul(1 << opening.saturating_sub(1).min(31));
        doubled.min(self.max_open_duration.unwrap_or(self.open_duration).max(self.open_duration))
    }
}

/// Setters: each takes the configuration and returns it with one setting changed.
impl BreakerConfig {
    /// Sets the number of consecutive failures that open the breaker. Default 5; 0 turns the rule off.
    #[must_use]
    pub fn failure_threshold(self, failure_threshold: u32) -> Self {
        Self { failure_threshold, ..self }
    }

    /// Sets the failure and slow-call rates that open the breaker. Default none.
    #[must_use]
    pub fn window(self, window: impl Into<Option<WindowConfig>>) -> Self {
        Self { window: window.into(), ..self }
    }

    /// Sets how long the breaker rejects calls before it becomes half-open. Default 60 s.
    #[must_use]
    pub fn open_duration(self, open_duration: Duration) -> Self {
        Self { open_duration, ..self }
    }

    /// Sets the bound up to which failed probes double the open duration. Default none: no doubling.
    #[must_use]
    pub fn max_open_duration(self, max_open_duration: impl Into<Option<Duration>>) -> Self {
        Self { max_open_duration: max_open_duration.into(), ..self }
    }

    /// Sets the share by which the open duration varies at random, `0.0..=1.0`. Default 0.1.
    #[must_use]
    pub fn jitter(self, jitter: f64) -> Self {
        Self { jitter, ..self }
    }

    /// Sets the number of probes in flight at once in the half-open state. Default 1.
    #[must_use]
    pub fn half_open_max_calls(self, half_open_max_calls: u32) -> Self {
        Self { half_open_max_calls, ..self }
    }

    /// Sets the number of successful probes that close the breaker. Default 2.
    #[must_use]
    pub fn success_threshold(self, success_threshold: u32) -> Self {
        Self { success_threshold, ..self }
    }
}

/// The settings of a sliding window: failure and slow-call rates that open a breaker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct WindowConfig {
    /// The calls that the window holds. Default the calls of the last 10 s.
    pub kind: WindowKind,
    /// Calls that the window must hold before its rates are evaluated. At least 1, default 20.
    pub min_calls: u32,
    /// Share of failed calls that opens the breaker, above 0 and at most 1. Default 0.5.
    pub failure_rate_threshold: f64,
    /// A call that takes longer than this is slow, even if it succeeds. Default none: no call is slow.
    #[serde(with = "duration::optional")]
    pub slow_call_duration: Option<Duration>,
    /// Share of slow calls that opens the breaker, above 0 and at most 1. Default 1.
    pub slow_call_rate_threshold: f64,
}

impl Default for WindowConfig {
    fn default() -> Self {
        Self {
            kind: WindowKind::Time(Duration::from_secs(10)),
            min_calls: 20,
            failure_rate_threshold: 0.5,
            slow_call_duration: None,
            slow_call_rate_threshold: 1.0,
        }
    }
}

impl WindowConfig {
    /// Returns a window over the last `calls` calls, evaluated once it is full.
    #[must_use]
    pub fn calls(calls: u32) -> Self {
        Self { kind: WindowKind::Calls(calls), min_calls: calls, ..Self::default() }
    }

    /// Returns a window over the calls of the last `time`, evaluated once it holds 20 calls.
    #[must_use]
    pub fn time(time: Duration) -> Self {
        Self { kind: WindowKind::Time(time), ..Self::default() }
    }
}

/// Setters: each takes the configuration and returns it with one setting changed.
impl WindowConfig {
    /// Sets the calls that the window holds. Default the calls of the last 10 s.
    #[must_use]
    pub fn kind(self, kind: WindowKind) -> Self {
        Self { kind, ..self }
    }

    /// Sets the number of calls below which the rates are not evaluated. Default 20.
    #[must_use]
    pub fn min_calls(self, min_calls: u32) -> Self {
        Self { min_calls, ..self }
    }

    /// Sets the share of failed calls that opens the breaker, above 0 and at most 1. Default 0.5.
    #[must_use]
    pub fn failure_rate_threshold(self, failure_rate_threshold: f64) -> Self {
        Self { failure_rate_threshold, ..self }
    }

    /// Sets the duration above which a call is slow. Default none: no call is slow.
    #[must_use]
    pub fn slow_call_duration(self, slow_call_duration: impl Into<Option<Duration>>) -> Self {
        Self { slow_call_duration: slow_call_duration.into(), ..self }
    }

    /// Sets the share of slow calls that opens the breaker, above 0 and at most 1. Default 1.
    #[must_use]
    pub fn slow_call_rate_threshold(self, slow_call_rate_threshold: f64) -> Self {
        Self { slow_call_rate_threshold, ..self }
    }
}

/// The extent of a sliding window: a number of calls, or a time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WindowKind {
    /// The last calls, 1 to 100,000 of them.
    Calls(u32),
    /// The calls of the last time, at least 10 ms. The window slides in ten steps.
    #[serde(with = "duration")]
    Time(Duration),
}

impl WindowKind {
    fn fits(self, min_calls: u32) -> bool {
        match self {
            Self::Calls(calls) => (1..=100_000).contains(&calls) && min_calls <= calls,
            Self::Time(time) => time >= Duration::from_millis(10),
        }
    }
}
