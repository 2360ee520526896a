//! A circuit breaker: rejects calls to a peer that fails, and probes the peer until it recovers.
//!
//! The rules are in the pure state machine of `machine.rs`, under a lock. Beside the machine, one atomic word holds a
//! summary of its state. While the breaker is closed and no failure is counted, a call only reads that word: a success
//! writes no shared memory and reads no clock. A rejection in the open state takes no lock either.

mod config;
mod listeners;
mod machine;
mod permit;
mod state;
mod window;

pub use config::{BreakerConfig, WindowConfig, WindowKind};
pub(super) use machine::{AdmittedCall, CallOutcome};
pub use permit::BreakerPermit;
pub use state::{BreakerSnapshot, BreakerState, BreakerTransition};

use listeners::Listeners;
use machine::{LazyNow, Machine, StateTag};
use std::{
    fmt,
    time::{Duration, Instant},
};

use super::{Guard, Rejection, name::intern};
use crate::{
    Error,
    clock::Clock,
    sync::{Arc, AtomicU64, Mutex, MutexGuard, Ordering, PoisonError},
};

/// A circuit breaker. Clones share their state.
///
/// - *Closed*: calls are permitted. Consecutive failures, or a failure or slow-call rate over a window, open the
///   breaker.
/// - *Open*: calls are rejected until the open duration has passed.
/// - *Half-open*: a few calls are permitted as probes. Successful probes close the breaker, one failed probe opens it
///   again.
///
/// [`ErrorKind::is_peer_failure`](crate::ErrorKind::is_peer_failure) determines which errors are failures of the peer.
/// A call that is cancelled, or that fails with another error, counts as neither a success nor a failure and releases
/// its probe slot. The breaker ignores the result of a call that was admitted in an earlier state.
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
/// // The open duration is 60 s, varied by at most 10 %.
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
    /// The machine's generation, and its [`StateTag`] in the low three bits. Written only under the lock.
    state_word: AtomicU64,
    /// Nanoseconds from `epoch` to the end of the open state. Written before the tag in `state_word` becomes open.
    open_until_nanos: AtomicU64,
    epoch: Instant,
    /// Nanoseconds above which a call is slow; 0: no call is slow.
    slow_call_nanos: AtomicU64,
    machine: Mutex<Machine>,
    listeners: Listeners,
    name: &'static str,
    clock: Clock,
}

impl Breaker {
    /// Creates a closed breaker. `name` identifies the breaker in rejections, metrics and logs, and is never freed.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if [`BreakerConfig::validate`] fails.
    pub fn new(name: &str, config: BreakerConfig, clock: Clock) -> Result<Self, Error> {
        config.validate()?;
        Ok(Self::unchecked(name, config, clock))
    }

    /// Creates a breaker from validated settings.
    pub(super) fn unchecked(name: &str, config: BreakerConfig, clock: Clock) -> Self {
        let (slow_call_nanos, epoch) = (slow_call_nanos(&config), clock.now());
        let machine = Machine::new(config, epoch);
        Self(Arc::new(Shared {
            state_word: AtomicU64::new(state_word(&machine)),
            open_until_nanos: AtomicU64::new(0),
            slow_call_nanos: AtomicU64::new(slow_call_nanos),
            epoch,
            machine: Mutex::new(machine),
            listeners: Listeners::default(),
            name: intern(name),
            clock,
        }))
    }

    /// Admits a call. Complete the permit with the call's result; a dropped permit counts as a cancelled call.
    ///
    /// # Errors
    /// Returns a [`Rejection`] of [`Guard::Breaker`] if the breaker is open, forced open, or half-open with all probes
    /// in flight. `retry_after` is the remaining open duration; it is `None` if the breaker is forced open or
    /// half-open.
    #[inline]
    pub fn acquire(&self) -> Result<BreakerPermit<'_>, Rejection> {
        let call = self.admit(None)?;
        let started = self.measures_duration().then(|| self.0.clock.now());
        Ok(BreakerPermit { breaker: self, call: Some(call), started })
    }

    /// Admits a call. Pass `now` if the caller has read the clock already; else the clock is read only if it is needed.
    #[inline]
    pub(super) fn admit(&self, now: Option<Instant>) -> Result<AdmittedCall, Rejection> {
        let shared = &*self.0;
        let word = shared.state_word.load(Ordering::Acquire);
        let tag = (word & 7) as u8;
        if tag == StateTag::ClosedIdle as u8 || tag == StateTag::ClosedCounting as u8 {
            return Ok(AdmittedCall { generation: word >> 3 });
        }
        if tag == StateTag::ForcedOpen as u8 {
            return Err(self.rejection(None));
        }
        let now = now.unwrap_or_else(|| shared.clock.now());
        if tag == StateTag::Open as u8 {
            let until = shared.epoch + Duration::from_nanos(shared.open_until_nanos.load(Ordering::Relaxed));
            if now < until {
                return Err(self.rejection(Some(until - now)));
            }
        }
        let (result, transition) = self.with_machine(|machine| machine.admit(now));
        self.notify(transition);
        result.map_err(|wait| self.rejection(wait))
    }

    /// Records the result of a call. `now` as for [`admit`](Self::admit).
    #[inline]
    pub(super) fn record(&self, call: AdmittedCall, outcome: CallOutcome, slow: bool, now: Option<Instant>) {
        let word = self.0.state_word.load(Ordering::Acquire);
        let changes_nothing = match (word & 7) as u8 {
            tag if tag == StateTag::ClosedIdle as u8 => outcome != CallOutcome::Failure,
            tag if tag == StateTag::ClosedCounting as u8 => outcome == CallOutcome::Ignored,
            _ => false,
        };
        if changes_nothing || word >> 3 != call.generation {
            return;
        }
        let now = LazyNow { clock: &self.0.clock, now };
        let transition = self.with_machine(|machine| machine.record(call, outcome, slow, &now));
        self.notify(transition);
    }

    /// Returns whether a call of this duration is slow. `elapsed` is called only if slow calls are counted.
    #[inline]
    pub(super) fn is_slow(&self, elapsed: impl FnOnce() -> Duration) -> bool {
        let limit = self.0.slow_call_nanos.load(Ordering::Relaxed);
        limit != 0 && elapsed() > Duration::from_nanos(limit)
    }

    /// Returns whether the duration of calls must be measured.
    #[inline]
    pub(super) fn measures_duration(&self) -> bool {
        self.0.slow_call_nanos.load(Ordering::Relaxed) != 0
    }

    /// Returns the state. It remains `Open` after the open duration has passed, until the next call.
    #[must_use]
    pub fn state(&self) -> BreakerState {
        self.lock().state()
    }

    /// Returns the state and the counts that led to it.
    #[must_use]
    pub fn snapshot(&self) -> BreakerSnapshot {
        let now = self.0.clock.now();
        let mut machine = self.lock();
        let (consecutive_failures, counts) = machine.counts(now);
        let remaining = |until: Instant| until.saturating_duration_since(now).as_millis() as u64;
        BreakerSnapshot {
            state: machine.state(),
            consecutive_failures,
            calls: counts.calls,
            failed: counts.failed,
            slow: counts.slow,
            remaining_open_ms: machine.open_until().map(remaining),
        }
    }

    /// Rejects every call until [`reset`](Self::reset).
    pub fn force_open(&self) {
        let transition = self.with_machine(|machine| machine.force(true));
        self.notify(transition);
    }

    /// Permits every call, whatever its result, until [`reset`](Self::reset).
    pub fn force_closed(&self) {
        let transition = self.with_machine(|machine| machine.force(false));
        self.notify(transition);
    }

    /// Closes the breaker and discards its counts. Results of calls in flight are ignored.
    pub fn reset(&self) {
        let now = self.0.clock.now();
        let transition = self.with_machine(|machine| machine.reset(now));
        self.notify(transition);
    }

    /// Replaces the settings and keeps the state. A closed breaker keeps its counts unless `window` changes.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if [`BreakerConfig::validate`] fails; the old settings
    /// stay in effect.
    pub fn configure(&self, config: BreakerConfig) -> Result<(), Error> {
        config.validate()?;
        self.configure_unchecked(config);
        Ok(())
    }

    /// Replaces the settings by validated ones.
    pub(super) fn configure_unchecked(&self, config: BreakerConfig) {
        let now = self.0.clock.now();
        self.with_machine(|machine| {
            self.0.slow_call_nanos.store(slow_call_nanos(&config), Ordering::Relaxed);
            machine.configure(config, now);
        });
    }

    /// Registers a listener that is called after every transition, on the thread of the call that caused it.
    ///
    /// A listener must not block; it may call the breaker. Two transitions in quick succession may be reported out of
    /// order.
    pub fn on_transition(&self, listener: impl Fn(BreakerTransition) + Send + Sync + 'static) {
        self.0.listeners.add(listener);
    }

    /// Returns the name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.0.name
    }

    fn lock(&self) -> MutexGuard<'_, Machine> {
        self.0.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `update` under the lock, then updates the state word.
    fn with_machine<T>(&self, update: impl FnOnce(&mut Machine) -> T) -> T {
        let mut machine = self.lock();
        let result = update(&mut machine);
        let (old, new) = (self.0.state_word.load(Ordering::Relaxed), state_word(&machine));
        if old != new {
            if let Some(until) = machine.open_until() {
                let nanos = until.saturating_duration_since(self.0.epoch).as_nanos();
                self.0.open_until_nanos.store(u64::try_from(nanos).unwrap_or(u64::MAX), Ordering::Relaxed);
            }
            self.0.state_word.store(new, Ordering::Release);
        }
        result
    }

    fn notify(&self, transition: Option<BreakerTransition>) {
        transition.into_iter().for_each(|transition| self.0.listeners.notify(self.0.name, transition));
    }

    fn rejection(&self, retry_after: Option<Duration>) -> Rejection {
        Rejection::new(self.0.name, Guard::Breaker, retry_after)
    }
}

fn state_word(machine: &Machine) -> u64 {
    machine.generation() << 3 | machine.tag() as u64
}

fn slow_call_nanos(config: &BreakerConfig) -> u64 {
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
