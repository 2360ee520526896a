//! The breaker as a state machine: no lock, no atomics, and time only as it is given.

use std::time::{Duration, Instant};

use super::{
    BreakerState, BreakerTransition,
    config::BreakerConfig,
    window::{Counts, Window},
};
use crate::clock::Clock;

/// The least time that a probe has to come back: longer than calls take, or each would be given up before it could
/// fail.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a result says about the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weight {
    Success,
    Failure,
    /// It says nothing: cancelled, refused by another guard, a request that was wrong.
    Neutral,
}

/// When a result came: read from the clock only by who needs it, and randomness with it.
pub(super) struct Moment<'a> {
    pub(super) clock: &'a Clock,
    pub(super) now: Option<Instant>,
}

impl Moment<'_> {
    fn now(&self) -> Instant {
        self.now.unwrap_or_else(|| self.clock.now())
    }
}

/// A call that was let through, stamped with the state it belongs to. What it brings back counts only in that
/// state: a result from before an opening says nothing about the state after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pass {
    pub(super) generation: u64,
}

/// How the machine stands, in one word: what the shared handle reads without the lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Mirror {
    /// Closed, and a success changes nothing.
    Quiet,
    /// Closed, and every result counts.
    Counting,
    Open,
    HalfOpen,
    Forced,
}

#[derive(Debug)]
pub(super) struct Machine {
    config: BreakerConfig,
    generation: u64,
    state: Inner,
    openings: u32,
    /// What was counted when it opened last: what an operator asks for.
    led_to_it: (u32, Counts),
}

#[derive(Debug)]
enum Inner {
    Closed { row: u32, window: Option<Window> },
    Open { until: Instant },
    HalfOpen { in_flight: u32, succeeded: u32, given_up_at: Instant },
    ForcedOpen,
    ForcedClosed,
}

impl Machine {
    pub(super) fn new(config: BreakerConfig, now: Instant) -> Self {
        let state = Self::closed(&config, now);
        Self { config, generation: 0, state, openings: 0, led_to_it: Default::default() }
    }

    fn closed(config: &BreakerConfig, now: Instant) -> Inner {
        Inner::Closed { row: 0, window: config.window.as_ref().map(|w| Window::new(w.kind, now)) }
    }

    /// Lets a call through, or says how long to wait where that is known.
    pub(super) fn admit(
        &mut self,
        now: Instant,
    ) -> (Result<Pass, Option<Duration>>, Option<BreakerTransition>) {
        match &mut self.state {
            Inner::Closed { .. } | Inner::ForcedClosed => (Ok(self.pass()), None),
            Inner::ForcedOpen => (Err(None), None),
            Inner::Open { until } if now < *until => (Err(Some(*until - now)), None),
            Inner::Open { .. } => {
                let transition = self.probe(now);
                (Ok(self.pass()), transition)
            }
            Inner::HalfOpen { in_flight, given_up_at, .. } => {
                if *in_flight < self.config.half_open_max_calls {
                    *in_flight += 1;
                    *given_up_at = now + self.config.open_duration.max(PATIENCE);
                } else if now >= *given_up_at {
                    // Probes that never came back must not keep it half-open for ever: a new generation, in
                    // which they do not count.
                    self.probe(now);
                } else {
                    return (Err(None), None);
                }
                (Ok(self.pass()), None)
            }
        }
    }

    fn probe(&mut self, now: Instant) -> Option<BreakerTransition> {
        let given_up_at = now + self.config.open_duration.max(PATIENCE);
        self.enter(Inner::HalfOpen { in_flight: 1, succeeded: 0, given_up_at })
    }

    fn pass(&self) -> Pass {
        Pass { generation: self.generation }
    }

    /// Takes the result of a call that was let through; one of another generation is ignored.
    pub(super) fn record(
        &mut self,
        pass: Pass,
        weight: Weight,
        slow: bool,
        moment: &Moment<'_>,
    ) -> Option<BreakerTransition> {
        if pass.generation != self.generation {
            return None;
        }
        match &mut self.state {
            Inner::Closed { row, window } => {
                if weight == Weight::Neutral {
                    return None;
                }
                let failed = weight == Weight::Failure;
                *row = if failed { row.saturating_add(1) } else { 0 };
                let in_a_row = self.config.failure_threshold > 0 && *row >= self.config.failure_threshold;
                let rates =
                    window.as_mut().zip(self.config.window.as_ref()).is_some_and(|(window, config)| {
                        window.record(failed, slow, || moment.now());
                        window.exceeds(config)
                    });
                if in_a_row || rates { self.open(moment) } else { None }
            }
            Inner::HalfOpen { in_flight, succeeded, .. } => {
                *in_flight -= 1;
                match weight {
                    Weight::Neutral => None,
                    Weight::Success if !slow => {
                        *succeeded += 1;
                        if *succeeded < self.config.success_threshold {
                            return None;
                        }
                        self.openings = 0;
                        self.enter(Self::closed(&self.config, moment.now()))
                    }
                    // A slow answer is what slow_call_duration opened it for.
                    Weight::Success | Weight::Failure => self.open(moment),
                }
            }
            Inner::Open { .. } | Inner::ForcedOpen | Inner::ForcedClosed => None,
        }
    }

    fn open(&mut self, moment: &Moment<'_>) -> Option<BreakerTransition> {
        self.openings = self.openings.saturating_add(1);
        let jitter = self.config.jitter;
        let spread = 1.0 - jitter + 2.0 * jitter * moment.clock.random_unit();
        let time = self.config.open_time(self.openings).mul_f64(spread);
        self.enter(Inner::Open { until: moment.now() + time })
    }

    pub(super) fn force(&mut self, open: bool) -> Option<BreakerTransition> {
        self.enter(if open { Inner::ForcedOpen } else { Inner::ForcedClosed })
    }

    pub(super) fn reset(&mut self, now: Instant) -> Option<BreakerTransition> {
        self.openings = 0;
        self.enter(Self::closed(&self.config, now))
    }

    /// Other settings. An open breaker stays open until its time, a closed one begins to count anew where
    /// its window is another.
    pub(super) fn configure(&mut self, config: BreakerConfig, now: Instant) {
        let other_window = self.config.window != config.window;
        self.config = config;
        if other_window && matches!(self.state, Inner::Closed { .. }) {
            self.enter(Self::closed(&self.config, now));
        }
    }

    /// Every change of state is a new generation.
    fn enter(&mut self, state: Inner) -> Option<BreakerTransition> {
        let from = self.state();
        self.led_to_it = self.counted().unwrap_or(self.led_to_it);
        self.generation += 1;
        self.state = state;
        let to = self.state();
        (from != to).then_some(BreakerTransition { from, to })
    }

    pub(super) const fn state(&self) -> BreakerState {
        match self.state {
            Inner::Closed { .. } => BreakerState::Closed,
            Inner::Open { .. } => BreakerState::Open,
            Inner::HalfOpen { .. } => BreakerState::HalfOpen,
            Inner::ForcedOpen => BreakerState::ForcedOpen,
            Inner::ForcedClosed => BreakerState::ForcedClosed,
        }
    }

    pub(super) const fn mirror(&self) -> Mirror {
        match &self.state {
            Inner::Closed { row: 0, window: None } | Inner::ForcedClosed => Mirror::Quiet,
            Inner::Closed { .. } => Mirror::Counting,
            Inner::Open { .. } => Mirror::Open,
            Inner::HalfOpen { .. } => Mirror::HalfOpen,
            Inner::ForcedOpen => Mirror::Forced,
        }
    }

    pub(super) const fn generation(&self) -> u64 {
        self.generation
    }

    pub(super) const fn open_until(&self) -> Option<Instant> {
        match self.state {
            Inner::Open { until } => Some(until),
            _ => None,
        }
    }

    /// What is counted now, or was when the closed state was left.
    pub(super) fn counts(&mut self, now: Instant) -> (u32, Counts) {
        if let Inner::Closed { window: Some(window), .. } = &mut self.state {
            window.slide(now);
        }
        self.counted().unwrap_or(self.led_to_it)
    }

    fn counted(&self) -> Option<(u32, Counts)> {
        match &self.state {
            Inner::Closed { row, window } => {
                Some((*row, window.as_ref().map(Window::sums).unwrap_or_default()))
            }
            _ => None,
        }
    }
}
