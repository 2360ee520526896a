//! Stops calling a peer that does not answer, and finds out when it does again.
//!
//! The rules are in the pure machine of `machine.rs`, under a lock; beside it stands one word that says how
//! the machine stands. While it is closed and nothing is wrong, calls only read that word: a success
//! writes nothing that is shared, and no clock is read. A rejection while it is open takes no lock either.

mod config;
mod machine;
mod permit;
mod state;
mod window;

pub use config::{BreakerConfig, WindowConfig, WindowKind};
pub(super) use machine::{Pass, Weight};
pub use permit::BreakerPermit;
pub use state::{BreakerSnapshot, BreakerState, BreakerTransition};

use machine::{Machine, Mirror, Moment};
use std::{
    fmt,
    time::{Duration, Instant},
};

use super::{Guard, Rejection, name::intern};
use crate::{
    Error,
    clock::Clock,
    sync::{Arc, AtomicU64, Mutex, MutexGuard, Ordering, PoisonError},
    telemetry,
};

/// A circuit breaker. Clones share it.
///
/// Closed, it counts failures: so many in a row, or a share of the calls in a window. Open, it rejects for a
/// time. Half-open, it lets a set number of probes through; so many successes close it, one failure opens
/// it again. A call that was cancelled or says nothing about the peer counts as neither, and gives its probe
/// back. A result that began in an earlier state is ignored.
///
/// ```
/// use comms_core::{clock::Clock, resilience::{Breaker, BreakerConfig, BreakerState}};
/// let clock = Clock::manual(Default::default());
/// let breaker = Breaker::new("payments", BreakerConfig::default(), clock.clone())?;
/// for _ in 0..5 {
///     breaker.acquire()?.failure();
/// }
/// assert_eq!(breaker.state(), BreakerState::Open);
/// assert!(breaker.acquire().unwrap_err().retry_after.is_some());
///
/// clock.advance(std::time::Duration::from_secs(66));
/// breaker.acquire()?.success();
/// assert_eq!(breaker.state(), BreakerState::HalfOpen);
/// breaker.acquire()?.success();
/// assert_eq!(breaker.state(), BreakerState::Closed);
/// # Ok::<(), comms_core::Error>(())
/// ```
#[derive(Clone)]
pub struct Breaker(Arc<Shared>);

struct Shared {
    /// The machine's generation above, its [`Mirror`] in the low three bits. Written under the lock only.
    mirror: AtomicU64,
    /// Nanoseconds from `epoch` to the end of the time open: written before the mirror says open.
    until: AtomicU64,
    epoch: Instant,
    /// Nanoseconds after which a call is slow; 0 where none is.
    slow_call_duration: AtomicU64,
    machine: Mutex<Machine>,
    listeners: Mutex<Vec<Listener>>,
    name: &'static str,
    clock: Clock,
}

type Listener = std::sync::Arc<dyn Fn(BreakerTransition) + Send + Sync>;

impl Breaker {
    /// A closed breaker; `name` stands in rejections, metrics and logs.
    ///
    /// # Errors
    /// `Invalid` for settings that make no sense.
    pub fn new(name: &str, config: BreakerConfig, clock: Clock) -> Result<Self, Error> {
        config.validate()?;
        Ok(Self::unchecked(name, config, clock))
    }

    /// A breaker of settings that are known to be valid.
    pub(super) fn unchecked(name: &str, config: BreakerConfig, clock: Clock) -> Self {
        let (slow_call_duration, epoch) = (slow_word(&config), clock.now());
        let machine = Machine::new(config, epoch);
        Self(Arc::new(Shared {
            mirror: AtomicU64::new(word(&machine)),
            until: AtomicU64::new(0),
            slow_call_duration: AtomicU64::new(slow_call_duration),
            epoch,
            machine: Mutex::new(machine),
            listeners: Mutex::default(),
            name: intern(name),
            clock,
        }))
    }

    /// Lets a call through. Give the permit its result; dropped without one, it counts as cancelled.
    ///
    /// # Errors
    /// A [`Rejection`] while it is open, or half-open with all probes under way.
    #[inline]
    pub fn acquire(&self) -> Result<BreakerPermit<'_>, Rejection> {
        let pass = self.admit(None)?;
        let started = self.times_calls().then(|| self.0.clock.now());
        Ok(BreakerPermit { breaker: self, pass: Some(pass), started })
    }

    /// `now` where the caller has read the clock already; it is read here only when it is needed.
    #[inline]
    pub(super) fn admit(&self, now: Option<Instant>) -> Result<Pass, Rejection> {
        let shared = &*self.0;
        let word = shared.mirror.load(Ordering::Acquire);
        let state = (word & 7) as u8;
        if state == Mirror::Quiet as u8 || state == Mirror::Counting as u8 {
            return Ok(Pass { generation: word >> 3 });
        }
        if state == Mirror::Forced as u8 {
            return Err(self.rejection(None));
        }
        let now = now.unwrap_or_else(|| shared.clock.now());
        if state == Mirror::Open as u8 {
            let until = shared.epoch + Duration::from_nanos(shared.until.load(Ordering::Relaxed));
            if now < until {
                return Err(self.rejection(Some(until - now)));
            }
        }
        let (answer, transition) = self.change(|machine| machine.admit(now));
        self.tell(transition);
        answer.map_err(|wait| self.rejection(wait))
    }

    /// Takes the result of a call. `now` as for [`admit`](Self::admit).
    #[inline]
    pub(super) fn record(&self, pass: Pass, weight: Weight, slow: bool, now: Option<Instant>) {
        let word = self.0.mirror.load(Ordering::Acquire);
        let says_nothing = match (word & 7) as u8 {
            state if state == Mirror::Quiet as u8 => weight != Weight::Failure,
            state if state == Mirror::Counting as u8 => weight == Weight::Neutral,
            _ => false,
        };
        if says_nothing || word >> 3 != pass.generation {
            return;
        }
        let moment = Moment { clock: &self.0.clock, now };
        let transition = self.change(|machine| machine.record(pass, weight, slow, &moment));
        self.tell(transition);
    }

    /// Whether a call that took this long is slow. Zero in the word means that none is.
    #[inline]
    pub(super) fn is_slow(&self, took: impl FnOnce() -> Duration) -> bool {
        let limit = self.0.slow_call_duration.load(Ordering::Relaxed);
        limit != 0 && took() > Duration::from_nanos(limit)
    }

    /// Whether results need to know how long the call took.
    #[inline]
    pub(super) fn times_calls(&self) -> bool {
        self.0.slow_call_duration.load(Ordering::Relaxed) != 0
    }

    /// The state now. An open breaker whose time is over says `Open` until a call comes.
    #[must_use]
    pub fn state(&self) -> BreakerState {
        self.lock().state()
    }

    /// The state with what led to it.
    #[must_use]
    pub fn snapshot(&self) -> BreakerSnapshot {
        let now = self.0.clock.now();
        let mut machine = self.lock();
        let (consecutive_failures, counts) = machine.counts(now);
        let left = |until: Instant| until.saturating_duration_since(now).as_millis() as u64;
        BreakerSnapshot {
            state: machine.state(),
            consecutive_failures,
            calls: counts.calls,
            failed: counts.failed,
            slow: counts.slow,
            remaining_open_ms: machine.open_until().map(left),
        }
    }

    /// Rejects every call until [`reset`](Self::reset).
    pub fn force_open(&self) {
        let transition = self.change(|machine| machine.force(true));
        self.tell(transition);
    }

    /// Lets every call pass until [`reset`](Self::reset).
    pub fn force_closed(&self) {
        let transition = self.change(|machine| machine.force(false));
        self.tell(transition);
    }

    /// Closed, with nothing counted. What is under way no longer counts.
    pub fn reset(&self) {
        let now = self.0.clock.now();
        let transition = self.change(|machine| machine.reset(now));
        self.tell(transition);
    }

    /// Other settings, keeping the state. What is counted is kept, too, but for a window that changed.
    ///
    /// # Errors
    /// `Invalid` for settings that make no sense; the old ones stay.
    pub fn configure(&self, config: BreakerConfig) -> Result<(), Error> {
        config.validate()?;
        self.configure_unchecked(config);
        Ok(())
    }

    /// Takes settings that are known to be valid.
    pub(super) fn configure_unchecked(&self, config: BreakerConfig) {
        let now = self.0.clock.now();
        self.change(|machine| {
            self.0.slow_call_duration.store(slow_word(&config), Ordering::Relaxed);
            machine.configure(config, now);
        });
    }

    /// Calls `listener` after every change of state, on the thread of the call that brought it about: it
    /// must not block. Two changes close together may be told out of order.
    pub fn on_transition(&self, listener: impl Fn(BreakerTransition) + Send + Sync + 'static) {
        let mut listeners = self.0.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.push(std::sync::Arc::new(listener));
    }

    /// The name it was made with.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.0.name
    }

    fn now(&self) -> Instant {
        self.0.clock.now()
    }

    fn lock(&self) -> MutexGuard<'_, Machine> {
        self.0.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets `work` change the machine, and the mirror follow it.
    fn change<T>(&self, work: impl FnOnce(&mut Machine) -> T) -> T {
        let mut machine = self.lock();
        let answer = work(&mut machine);
        let (old, new) = (self.0.mirror.load(Ordering::Relaxed), word(&machine));
        if old != new {
            if let Some(until) = machine.open_until() {
                let nanos = until.saturating_duration_since(self.0.epoch).as_nanos();
                self.0.until.store(u64::try_from(nanos).unwrap_or(u64::MAX), Ordering::Relaxed);
            }
            self.0.mirror.store(new, Ordering::Release);
        }
        answer
    }

    /// Listeners are called outside the locks, so that they may ask the breaker.
    fn tell(&self, transition: Option<BreakerTransition>) {
        let Some(transition) = transition else { return };
        let (name, from, to) = (self.0.name, transition.from.as_str(), transition.to.as_str());
        tracing::warn!(breaker = name, from, to, "circuit breaker");
        metrics::counter!(telemetry::BREAKER_TRANSITIONS, "name" => name, "state" => to).increment(1);
        let listeners = self.0.listeners.lock().unwrap_or_else(PoisonError::into_inner).clone();
        listeners.iter().for_each(|listener| listener(transition));
    }

    fn rejection(&self, retry_after: Option<Duration>) -> Rejection {
        Rejection::new(self.0.name, Guard::Breaker, retry_after)
    }
}

fn word(machine: &Machine) -> u64 {
    machine.generation() << 3 | machine.mirror() as u64
}

fn slow_word(config: &BreakerConfig) -> u64 {
    let slow_call_duration = config.window.as_ref().and_then(|w| w.slow_call_duration);
    slow_call_duration.map_or(0, |d| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX).max(1))
}

impl fmt::Debug for Breaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Breaker").field("name", &self.name()).field("state", &self.state()).finish()
    }
}

#[cfg(test)]
mod tests;
