//! The adaptive limit: a state machine without locks, with time as an argument.

use std::time::{Duration, Instant};

use super::config::AdaptiveLimitConfig;

/// Growth of the limit per window while requests do not queue, before smoothing.
const HEADROOM: f64 = 4.0;
/// Windows over which the long-term average is smoothed, and the windows of its plain average at the start.
const LONG_WINDOWS: f64 = 600.0;
/// The same while at least half of the limit is in use. The durations then include queueing that the limit permits, and
/// an average that followed them soon would raise the limit further.
const LONG_WINDOWS_SATURATED: f64 = 6_000.0;
const WARM_UP: u32 = 10;
/// The limit after an overloaded window, as a share of the limit before.
const OVERLOAD_BACKOFF: f64 = 0.9;
/// A window is overloaded if one request in this many ended in overload. A single refusal among many requests is none.
const OVERLOAD_SHARE: u32 = 10;

/// A completed request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    pub(super) duration: Duration,
    /// Whether at least half of the permits of its priority were in use at its end.
    pub(super) saturated: bool,
    pub(super) outcome: Outcome,
}

/// How a request completed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Served,
    /// A time limit ended the request, which would have taken longer than its duration.
    TimedOut,
    Overloaded,
}

#[derive(Debug)]
pub(super) struct Gradient {
    config: AdaptiveLimitConfig,
    /// The limit with its fraction: a change by less than 1 must not be lost.
    limit: f64,
    /// The long-term average duration in seconds, and the windows that it covers, at most [`WARM_UP`].
    long: f64,
    warm: u32,
    window: Window,
}

#[derive(Debug)]
struct Window {
    started: Instant,
    count: u32,
    seconds: f64,
    saturated: bool,
    timed_out: bool,
    overloads: u32,
    /// Requests that a time limit ended before there was an average. They are not in `count`.
    unanswered: u32,
}

impl Window {
    const fn new(started: Instant) -> Self {
        let (count, seconds, overloads, unanswered) = (0, 0.0, 0, 0);
        Self { started, count, seconds, saturated: false, timed_out: false, overloads, unanswered }
    }
}

impl Gradient {
    pub(super) fn new(config: AdaptiveLimitConfig, now: Instant) -> Self {
        let limit = f64::from(config.initial);
        Self { config, limit, long: 0.0, warm: 0, window: Window::new(now) }
    }

    /// Replaces the settings. The limit and the averages stay, within the new bounds.
    pub(super) fn configure(&mut self, config: AdaptiveLimitConfig) {
        self.limit = self.limit.clamp(f64::from(config.min), f64::from(config.max));
        self.config = config;
    }

    pub(super) fn limit(&self) -> u32 {
        self.limit as u32
    }

    /// Returns the long-term average duration, if there was a window.
    pub(super) fn long_average(&self) -> Option<Duration> {
        (self.warm > 0).then(|| Duration::from_secs_f64(self.long))
    }

    /// Adds a sample. Returns whether the sample completed a window, after which the limit may be another one.
    pub(super) fn add(&mut self, now: Instant, sample: Sample) -> bool {
        let seconds = sample.duration.as_secs_f64();
        let timed_out = sample.outcome == Outcome::TimedOut;
        let has_average = self.warm > 0;
        let usual = if has_average { self.long } else { self.config.window.as_secs_f64() };
        // A limit below the usual duration shows the haste of the caller, and nothing about this process.
        if timed_out && seconds <= usual {
            return false;
        }
        let window = &mut self.window;
        window.saturated |= sample.saturated;
        match sample.outcome {
            Outcome::TimedOut if !has_average => window.unanswered += 1,
            Outcome::Overloaded => {
                window.count += 1;
                window.overloads += 1;
            }
            Outcome::Served | Outcome::TimedOut => {
                window.count += 1;
                window.seconds += seconds;
                window.timed_out |= timed_out;
            }
        }
        let complete = window.count.saturating_add(window.unanswered) >= self.config.min_samples
            && now.saturating_duration_since(window.started) >= self.config.window;
        if complete {
            let window = std::mem::replace(window, Window::new(now));
            self.update(&window);
        }
        complete
    }

    fn update(&mut self, window: &Window) {
        let (min, max) = (f64::from(self.config.min), f64::from(self.config.max));
        // Without an average and without an answer, the process has begun in an overload.
        if window.count == 0 && !window.saturated {
            return;
        }
        if window.overloads.saturating_mul(OVERLOAD_SHARE) >= window.count {
            // The durations of an overload are not part of the long-term average, which they would raise.
            self.limit = (self.limit * OVERLOAD_BACKOFF).clamp(min, max);
            return;
        }
        // At least a nanosecond, because the average is a divisor.
        let short = (window.seconds / f64::from(window.count - window.overloads)).max(1e-9);
        // Requests that hang until their limits must not become the usual case.
        if !window.timed_out || short < self.long {
            self.add_to_long(short, window.saturated);
        }
        if !window.saturated {
            return;
        }
        let gradient = (self.config.tolerance * self.long / short).clamp(0.5, 1.0);
        let target = self.limit * gradient + HEADROOM;
        let smoothing = self.config.smoothing;
        self.limit = (self.limit * (1.0 - smoothing) + target * smoothing).clamp(min, max);
    }

    fn add_to_long(&mut self, short: f64, saturated: bool) {
        if self.warm < WARM_UP {
            self.warm += 1;
            self.long += (short - self.long) / f64::from(self.warm);
        } else {
            let slow = saturated && short > self.long;
            let windows = if slow { LONG_WINDOWS_SATURATED } else { LONG_WINDOWS };
            self.long += (short - self.long) * 2.0 / (windows + 1.0);
        }
        // After a long overload the average is far above the usual duration, and would fall too slowly.
        if self.long / short > 2.0 {
            self.long *= 0.9;
        }
    }
}
