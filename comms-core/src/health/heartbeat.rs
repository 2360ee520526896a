//! Liveness: loops that say that they turn.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::{Health, Report, State};
use crate::Clock;

pub(super) struct Beats {
    clock: Clock,
    loops: Mutex<BTreeMap<Arc<str>, Beat>>,
}

#[derive(Clone, Copy)]
struct Beat {
    last: Instant,
    limit: Duration,
}

impl Beats {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, loops: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Beat>> {
        self.loops.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn report(&self) -> Report {
        let loops = self.lock();
        // After the lock: a beat is never later than now.
        let now = self.clock.now();
        Report::of(loops.iter().map(|(name, beat)| (name.to_string(), beat.state(now))))
    }
}

impl Beat {
    fn state(self, now: Instant) -> State {
        let silent = now.saturating_duration_since(self.last);
        if silent <= self.limit {
            return State::ready();
        }
        State::unready(format!("no sign of life for {silent:.1?}, the limit is {:?}", self.limit))
    }
}

/// A loop's sign of life, made by [`Health::heartbeat`].
///
/// ```
/// use comms_core::{Clock, health::Health};
/// use std::time::Duration;
/// let clock = Clock::manual(Duration::ZERO);
/// let health = Health::with_clock(clock.clone());
/// let poll = health.heartbeat("poll loop", Duration::from_secs(30));
/// clock.advance(Duration::from_secs(31));
/// assert!(!health.is_live());
/// poll.beat();
/// assert!(health.is_live());
/// ```
#[derive(Debug)]
pub struct Heartbeat {
    health: Health,
    name: Arc<str>,
    limit: Duration,
}

impl Heartbeat {
    pub(super) fn new(health: Health, name: Arc<str>, limit: Duration) -> Self {
        let heartbeat = Self { health, name, limit };
        heartbeat.beat();
        heartbeat
    }

    /// The loop turns. Cheap: a lock and a look at the clock.
    pub fn beat(&self) {
        let beats = &self.health.0.beats;
        let beat = Beat { last: beats.clock.now(), limit: self.limit };
        beats.lock().insert(self.name.clone(), beat);
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        // A loop that ended in order is not stuck; one that panicked falls silent.
        if !std::thread::panicking() {
            self.health.0.beats.lock().remove(&self.name);
        }
    }
}
