//! Liveness: loops that report each iteration.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::{Health, Report, State};
use crate::clock::{Clock, rounded};

pub(super) struct Beats {
    clock: Clock,
    next: AtomicU64,
    loops: Mutex<BTreeMap<Arc<str>, Beat>>,
}

#[derive(Clone, Copy)]
struct Beat {
    /// The number of the handle that owns this entry: of handles with the same name the last one counts.
    number: u64,
    /// The time of the last beat. `None`: the loop is paused.
    last: Option<Instant>,
    limit: Duration,
}

impl Beats {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, next: AtomicU64::new(0), loops: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Beat>> {
        self.loops.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn report(&self) -> Report {
        let loops = self.lock();
        // The clock is read under the lock, so that no beat is later than `now`.
        let now = self.clock.now();
        Report::of(loops.iter().map(|(name, beat)| (name.to_string(), beat.state(now))))
    }
}

impl Beat {
    fn state(self, now: Instant) -> State {
        let silent = self.last.map_or(Duration::ZERO, |last| now.saturating_duration_since(last));
        if silent <= self.limit {
            return State::ready();
        }
        State::unready(format!(
            "no sign of life for {}, the limit is {}",
            rounded(silent),
            rounded(self.limit)
        ))
    }
}

/// A handle by which a loop reports that it runs, returned by [`Health::heartbeat`].
///
/// If two handles have the same name, the later one counts: the beats and the drop of the earlier handle have no
/// effect.
///
/// ```
/// use comms_core::{clock::Clock, health::Health};
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
    number: u64,
}

impl Heartbeat {
    pub(super) fn new(health: Health, name: Arc<str>, limit: Duration) -> Self {
        let beats = &health.0.beats;
        let number = beats.next.fetch_add(1, Ordering::Relaxed);
        let mut loops = beats.lock();
        loops.insert(name.clone(), Beat { number, last: Some(beats.clock.now()), limit });
        drop(loops);
        Self { health, name, number }
    }

    /// Reports an iteration of the loop. Costs a lock and a reading of the clock.
    pub fn beat(&self) {
        let beats = &self.health.0.beats;
        self.set(Some(beats.clock.now()));
    }

    /// Counts the loop as live until its next beat. For a loop that waits before its next iteration for longer than the
    /// limit.
    pub fn pause(&self) {
        self.set(None);
    }

    fn set(&self, last: Option<Instant>) {
        let mut loops = self.health.0.beats.lock();
        if let Some(beat) = loops.get_mut(&self.name).filter(|beat| beat.number == self.number) {
            beat.last = last;
        }
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        // A loop that ended is not stuck. The entry of a loop that panicked stays, and fails the probe after its limit.
        if !std::thread::panicking() {
            self.health.0.beats.lock().retain(|_, beat| beat.number != self.number);
        }
    }
}
