//! The breaker's state machine: no lock, no atomics, and time only as an argument.

use std::time::{Duration, Instant};

use super::{
    BreakerState, BreakerTransition,
    config::BreakerConfig,
    window::{Counts, Window},
};
use crate::clock::Clock;

/// The least time after which probes in flight are abandoned. Longer than calls take: a probe that is abandoned before
/// its call fails would never open the breaker again.
const MIN_PROBE_TIMEOUT: Duration = Duration::from_secs(60);

/// The result of a call as the breaker counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CallOutcome {
    Success,
    Failure,
    /// Not evidence about the peer: the call was cancelled, refused by another guard, or invalid.
    Ignored,
}

/// The time at which a result is recorded. The clock is read only if a transition or a time window needs it.
pub(super) struct LazyNow<'a> {
    pub(super) clock: &'a Clock,
    pub(super) now: Option<Instant>,
}

impl LazyNow<'_> {
    fn get(&self) -> Instant {
        self.now.unwrap_or_else(|| self.clock.now())
    }
}

/// A call that the breaker admitted, stamped with the generation of the state that admitted it.
///
/// Its result counts only in that generation: a result from before an opening is no evidence about the state after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AdmittedCall {
    pub(super) generation: u64,
}

/// The state as [`Breaker`](super::Breaker) reads it without the lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum StateTag {
    /// Closed, and a success changes nothing. Also the forced closed state.
    ClosedIdle,
    /// Closed, and every result is counted.
    ClosedCounting,
    Open,
    HalfOpen,
    ForcedOpen,
}

#[derive(Debug)]
pub(super) struct Machine {
    config: BreakerConfig,
    generation: u64,
    state: State,
    consecutive_openings: u32,
    /// Consecutive failures and window counts at the moment when the closed state was left.
    last_closed_counts: (u32, Counts),
}

#[derive(Debug)]
enum State {
    Closed { consecutive_failures: u32, window: Option<Window> },
    Open { until: Instant },
    HalfOpen { in_flight: u32, successes: u32, abandon_at: Instant },
    ForcedOpen,
    ForcedClosed,
}

impl Machine {
    pub(super) fn new(config: BreakerConfig, now: Instant) -> Self {
        let state = Self::closed(&config, now);
        Self { config, generation: 0, state, consecutive_openings: 0, last_closed_counts: Default::default() }
    }

    fn closed(config: &BreakerConfig, now: Instant) -> State {
        let window = config.window.as_ref().map(|w| Window::new(w.kind, now));
        State::Closed { consecutive_failures: 0, window }
    }

    /// Admits a call, or returns the wait until the next admission if it is known.
    pub(super) fn admit(
        &mut self,
        now: Instant,
    ) -> (Result<AdmittedCall, Option<Duration>>, Option<BreakerTransition>) {
        match &mut self.state {
            State::Closed { .. } | State::ForcedClosed => (Ok(self.admitted_call()), None),
            State::ForcedOpen => (Err(None), None),
            State::Open { until } if now < *until => (Err(Some(*until - now)), None),
            State::Open { .. } => {
                let transition = self.half_open(now);
                (Ok(self.admitted_call()), transition)
            }
            State::HalfOpen { in_flight, abandon_at, .. } => {
                if *in_flight < self.config.half_open_max_calls {
                    *in_flight += 1;
                    *abandon_at = now + self.config.open_duration.max(MIN_PROBE_TIMEOUT);
                } else if now >= *abandon_at {
                    // Probes whose results never arrive must not keep the breaker half-open for ever. The new
                    // generation ignores them.
                    self.half_open(now);
                } else {
                    return (Err(None), None);
                }
                (Ok(self.admitted_call()), None)
            }
        }
    }

    /// Enters the half-open state with one probe in flight.
    fn half_open(&mut self, now: Instant) -> Option<BreakerTransition> {
        let abandon_at = now + self.config.open_duration.max(MIN_PROBE_TIMEOUT);
        self.enter(State::HalfOpen { in_flight: 1, successes: 0, abandon_at })
    }

    fn admitted_call(&self) -> AdmittedCall {
        AdmittedCall { generation: self.generation }
    }

    /// Counts the result of an admitted call. A result of another generation is ignored.
    pub(super) fn record(
        &mut self,
        call: AdmittedCall,
        outcome: CallOutcome,
        slow: bool,
        now: &LazyNow<'_>,
    ) -> Option<BreakerTransition> {
        if call.generation != self.generation {
            return None;
        }
        match &mut self.state {
            State::Closed { consecutive_failures, window } => {
                if outcome == CallOutcome::Ignored {
                    return None;
                }
                let failed = outcome == CallOutcome::Failure;
                *consecutive_failures = if failed { consecutive_failures.saturating_add(1) } else { 0 };
                let threshold = self.config.failure_threshold;
                let threshold_reached = threshold > 0 && *consecutive_failures >= threshold;
                let rate_reached =
                    window.as_mut().zip(self.config.window.as_ref()).is_some_and(|(window, config)| {
                        window.record(failed, slow, || now.get());
                        window.exceeds(config)
                    });
                if threshold_reached || rate_reached { self.open(now) } else { None }
            }
            State::HalfOpen { in_flight, successes, .. } => {
                *in_flight -= 1;
                match outcome {
                    CallOutcome::Ignored => None,
                    CallOutcome::Success if !slow => {
                        *successes += 1;
                        if *successes < self.config.success_threshold {
                            return None;
                        }
                        self.consecutive_openings = 0;
                        self.enter(Self::closed(&self.config, now.get()))
                    }
                    // A slow success is a failed probe: slow calls may be the reason why the breaker opened.
                    CallOutcome::Success | CallOutcome::Failure => self.open(now),
                }
            }
            State::Open { .. } | State::ForcedOpen | State::ForcedClosed => None,
        }
    }

    fn open(&mut self, now: &LazyNow<'_>) -> Option<BreakerTransition> {
        self.consecutive_openings = self.consecutive_openings.saturating_add(1);
        let jitter = self.config.jitter;
        let jitter_factor = 1.0 - jitter + 2.0 * jitter * now.clock.random_unit();
        let open_duration = self.config.open_duration_of(self.consecutive_openings).mul_f64(jitter_factor);
        self.enter(State::Open { until: now.get() + open_duration })
    }

    pub(super) fn force(&mut self, open: bool) -> Option<BreakerTransition> {
        self.enter(if open { State::ForcedOpen } else { State::ForcedClosed })
    }

    pub(super) fn reset(&mut self, now: Instant) -> Option<BreakerTransition> {
        self.consecutive_openings = 0;
        self.enter(Self::closed(&self.config, now))
    }

    /// Replaces the settings. An open breaker keeps its remaining open duration; a closed breaker whose window settings
    /// changed discards its counts.
    pub(super) fn configure(&mut self, config: BreakerConfig, now: Instant) {
        let window_changed = self.config.window != config.window;
        self.config = config;
        if window_changed && matches!(self.state, State::Closed { .. }) {
            self.enter(Self::closed(&self.config, now));
        }
    }

    /// Enters `state` as a new generation.
    fn enter(&mut self, state: State) -> Option<BreakerTransition> {
        let from = self.state();
        self.last_closed_counts = self.closed_counts().unwrap_or(self.last_closed_counts);
        self.generation += 1;
        self.state = state;
        let to = self.state();
        (from != to).then_some(BreakerTransition { from, to })
    }

    pub(super) const fn state(&self) -> BreakerState {
        match self.state {
            State::Closed { .. } => BreakerState::Closed,
            State::Open { .. } => BreakerState::Open,
            State::HalfOpen { .. } => BreakerState::HalfOpen,
            State::ForcedOpen => BreakerState::ForcedOpen,
            State::ForcedClosed => BreakerState::ForcedClosed,
        }
    }

    pub(super) const fn tag(&self) -> StateTag {
        match &self.state {
            State::Closed { consecutive_failures: 0, window: None } | State::ForcedClosed => {
                StateTag::ClosedIdle
            }
            State::Closed { .. } => StateTag::ClosedCounting,
            State::Open { .. } => StateTag::Open,
            State::HalfOpen { .. } => StateTag::HalfOpen,
            State::ForcedOpen => StateTag::ForcedOpen,
        }
    }

    pub(super) const fn generation(&self) -> u64 {
        self.generation
    }

    pub(super) const fn open_until(&self) -> Option<Instant> {
        match self.state {
            State::Open { until } => Some(until),
            _ => None,
        }
    }

    /// Returns the consecutive failures and window counts: the current ones if closed, else the last closed ones.
    pub(super) fn counts(&mut self, now: Instant) -> (u32, Counts) {
        if let State::Closed { window: Some(window), .. } = &mut self.state {
            window.slide(now);
        }
        self.closed_counts().unwrap_or(self.last_closed_counts)
    }

    fn closed_counts(&self) -> Option<(u32, Counts)> {
        match &self.state {
            State::Closed { consecutive_failures, window } => {
                Some((*consecutive_failures, window.as_ref().map(Window::totals).unwrap_or_default()))
            }
            _ => None,
        }
    }
}
