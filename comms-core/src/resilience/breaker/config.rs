//! Settings of a breaker.

use serde::{Deserialize, Serialize};
use std::time::Duration;

use crate::{
    Error,
    resilience::config::{bounded, duration, switch},
};

/// When a [`Breaker`](super::Breaker) opens, how long it stays open, and what closes it. Default (requirement
/// P13): five failures in a row, 60 s, one probe at a time, two successes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct BreakerConfig {
    /// Failures in a row that open it; 0 counts none. Default 5. With this rule alone a success in the closed
    /// state costs one read.
    pub failure_threshold: u32,
    /// Rates over recent calls that open it. Default none.
    #[serde(with = "switch")]
    pub window: Option<WindowConfig>,
    /// How long it stays open before it lets probes through. Default 60 s.
    #[serde(with = "duration")]
    pub open_duration: Duration,
    /// Each opening by a failed probe doubles the time, up to this. Default none: it does not grow.
    #[serde(with = "duration::optional")]
    pub max_open_duration: Option<Duration>,
    /// The time open times `1 - jitter ..= 1 + jitter`, so that the breakers of many processes do not probe
    /// together. `0.0..=1.0`, default 0.1.
    pub jitter: f64,
    /// Probes that may be under way at once. Default 1. Who does not answer for `open_duration`, and for a minute, is given
    /// up.
    pub half_open_max_calls: u32,
    /// Successful probes that close it; one failure opens it again. Default 2.
    pub success_threshold: u32,
}

/// Failure and slow-call rates over the calls that a window holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct WindowConfig {
    /// Which calls count. Default those of the last 10 s.
    pub kind: WindowKind,
    /// Calls that must be in the window before rates say anything. Default 20.
    pub min_calls: u32,
    /// Share of failures that opens it, above 0 and at most 1. Default 0.5.
    pub failure_rate_threshold: f64,
    /// A call that takes longer is slow, also when it succeeds. Default none is.
    #[serde(with = "duration::optional")]
    pub slow_call_duration: Option<Duration>,
    /// Share of slow calls that opens it, above 0 and at most 1. Default 1.
    pub slow_call_rate_threshold: f64,
}

/// What a window slides over.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WindowKind {
    /// The last so many calls, at most 100,000.
    Calls(u32),
    /// The calls of the last so much time, in ten buckets; at least 10 ms.
    #[serde(with = "duration")]
    Time(Duration),
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

/// Setters: each takes the configuration and returns it with one setting changed.
impl BreakerConfig {
    /// Sets `failure_threshold`.
    #[must_use]
    pub fn failure_threshold(self, failure_threshold: u32) -> Self {
        Self { failure_threshold, ..self }
    }

    /// Sets `window`; `None` turns it off.
    #[must_use]
    pub fn window(self, window: impl Into<Option<WindowConfig>>) -> Self {
        Self { window: window.into(), ..self }
    }

    /// Sets `open_duration`.
    #[must_use]
    pub fn open_duration(self, open_duration: Duration) -> Self {
        Self { open_duration, ..self }
    }

    /// Sets `max_open_duration`; `None` turns it off.
    #[must_use]
    pub fn max_open_duration(self, max_open_duration: impl Into<Option<Duration>>) -> Self {
        Self { max_open_duration: max_open_duration.into(), ..self }
    }

    /// Sets `jitter`.
    #[must_use]
    pub fn jitter(self, jitter: f64) -> Self {
        Self { jitter, ..self }
    }

    /// Sets `half_open_max_calls`.
    #[must_use]
    pub fn half_open_max_calls(self, half_open_max_calls: u32) -> Self {
        Self { half_open_max_calls, ..self }
    }

    /// Sets `success_threshold`.
    #[must_use]
    pub fn success_threshold(self, success_threshold: u32) -> Self {
        Self { success_threshold, ..self }
    }
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

/// Setters: each takes the configuration and returns it with one setting changed.
impl WindowConfig {
    /// Sets `kind`.
    #[must_use]
    pub fn kind(self, kind: WindowKind) -> Self {
        Self { kind, ..self }
    }

    /// Sets `min_calls`.
    #[must_use]
    pub fn min_calls(self, min_calls: u32) -> Self {
        Self { min_calls, ..self }
    }

    /// Sets `failure_rate_threshold`.
    #[must_use]
    pub fn failure_rate_threshold(self, failure_rate_threshold: f64) -> Self {
        Self { failure_rate_threshold, ..self }
    }

    /// Sets `slow_call_duration`; `None` turns it off.
    #[must_use]
    pub fn slow_call_duration(self, slow_call_duration: impl Into<Option<Duration>>) -> Self {
        Self { slow_call_duration: slow_call_duration.into(), ..self }
    }

    /// Sets `slow_call_rate_threshold`.
    #[must_use]
    pub fn slow_call_rate_threshold(self, slow_call_rate_threshold: f64) -> Self {
        Self { slow_call_rate_threshold, ..self }
    }
}

impl WindowConfig {
    /// The last `calls` calls, judged once there are that many of them.
    #[must_use]
    pub fn calls(calls: u32) -> Self {
        Self { kind: WindowKind::Calls(calls), min_calls: calls, ..Self::default() }
    }

    /// The calls of the last `time`, judged once there are 20 of them.
    #[must_use]
    pub fn time(time: Duration) -> Self {
        Self { kind: WindowKind::Time(time), ..Self::default() }
    }
}

impl BreakerConfig {
    /// Whether these settings make sense together.
    ///
    /// # Errors
    /// `Invalid`, naming the setting.
    pub fn validate(&self) -> Result<(), Error> {
        let window = self.window.as_ref();
        bounded("open_duration", self.open_duration)?;
        bounded("max_open_duration", self.max_open_duration.unwrap_or_default())?;
        let share = |rate: f64| rate > 0.0 && rate <= 1.0;
        let refused = [
            (
                self.failure_threshold == 0 && window.is_none(),
                "needs `failure_threshold` or a `window`, or it would never open",
            ),
            (self.open_duration.is_zero(), "`open_duration` must not be zero"),
            (!(0.0..=1.0).contains(&self.jitter), "`jitter` is between 0 and 1"),
            (self.half_open_max_calls == 0, "`half_open_max_calls` is at least 1, or it would never close"),
            (self.success_threshold == 0, "`success_threshold` is at least 1"),
            (
                window.is_some_and(|w| !share(w.failure_rate_threshold)),
                "`failure_rate_threshold` is above 0 and at most 1",
            ),
            (
                window.is_some_and(|w| !share(w.slow_call_rate_threshold)),
                "`slow_call_rate_threshold` is above 0 and at most 1",
            ),
            (window.is_some_and(|w| w.min_calls == 0), "`min_calls` is at least 1"),
            (
                window.is_some_and(|w| !w.kind.fits(w.min_calls)),
                "a window holds 1 to 100,000 calls and at least \
             `min_calls`, or a time of at least 10 ms",
            ),
        ];
        match refused.iter().find(|(wrong, _)| *wrong) {
            Some((_, reason)) => Err(Error::invalid(format!("circuit breaker: {reason}"))),
            None => Ok(()),
        }
    }

    /// How long it stays open the `opening`-th time in a row, before jitter.
    pub(super) fn open_time(&self, opening: u32) -> Duration {
        let doubled = self.open_duration.saturating_mul(1 << opening.saturating_sub(1).min(31));
        doubled.min(self.max_open_duration.unwrap_or(self.open_duration).max(self.open_duration))
    }
}

impl WindowKind {
    fn fits(self, min_calls: u32) -> bool {
        match self {
            Self::Calls(calls) => (1..=100_000).contains(&calls) && min_calls <= calls,
            Self::Time(time) => time >= Duration::from_millis(10),
        }
    }
}
