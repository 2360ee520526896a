//! Readiness and liveness: what an orchestrator asks a process.
//!
//! The problem: *ready* ("send me work") and *live* ("do not kill me") are two questions. A process whose
//! database is away is not ready, and must not be killed for it; one whose loop hangs answers every probe, and
//! must be. And a part that limps (an open circuit breaker) takes every replica out at once where it counts as
//! unready: it is *degraded*, which is shown and stays in rotation.
//!
//! The promise: [`Health::readiness`] and [`Health::liveness`] name every part with its reason, in the order of the
//! names; checks and gauges are read when asked, and one that panics is unready.
//!
//! What breaks it: a check that blocks (a probe waits for it), and two parts of one name: the last one counts.

mod check;
mod heartbeat;
mod report;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::clock::Clock;
use check::Check;
use heartbeat::Beats;
pub use heartbeat::Heartbeat;
pub use report::{Report, State, Status};

/// The readiness and liveness of a process. Clones share it.
///
/// ```
/// use comms_core::health::{Health, Status};
/// let health = Health::new();
/// let relay = health.component("relay");
/// assert!(!health.is_ready());
/// relay.ready();
/// assert!(health.is_ready());
/// relay.degraded("the breaker of payment is open");
/// assert!(health.is_ready(), "degraded is ready, and shown");
/// health.gauge("outbox lag", 60.0, || 61.0);
/// assert!(!health.is_ready());
/// assert_eq!(health.readiness().reason("outbox lag"), Some("61 is over the limit of 60"));
/// ```
#[derive(Clone)]
pub struct Health(Arc<Inner>);

struct Inner {
    parts: Mutex<BTreeMap<String, Part>>,
    beats: Beats,
    /// The least status that takes the process out of rotation.
    out: Status,
}

#[derive(Clone)]
enum Part {
    ShutdownSignal(State),
    Asked(Check),
}

impl Health {
    /// No components: ready and live. Heartbeats are timed by the system clock.
    #[must_use]
    pub fn new() -> Self {
        Self::with_clock(Clock::system())
    }

    /// Heartbeats are timed by `clock`.
    #[must_use]
    pub fn with_clock(clock: Clock) -> Self {
        Self::made(clock, Status::Unready)
    }

    /// As [`Health::with_clock`], but a degraded part makes the process unready. For a process whose callers
    /// have somewhere better to go; where all replicas share what is degraded, nobody is left.
    #[must_use]
    pub fn strict(clock: Clock) -> Self {
        Self::made(clock, Status::Degraded)
    }

    fn made(clock: Clock, out: Status) -> Self {
        Self(Arc::new(Inner { parts: Mutex::default(), beats: Beats::new(clock), out }))
    }

    /// Adds a component, not ready ("starting") until it says so.
    #[must_use]
    pub fn component(&self, name: &str) -> Component {
        self.set(name, Part::ShutdownSignal(State::unready("starting")));
        Component { health: self.clone(), name: name.into() }
    }

    /// Adds a part that is asked whenever readiness is: what it returns counts. It must not block.
    pub fn check(&self, name: &str, check: impl Fn() -> State + Send + Sync + 'static) {
        self.set(name, Part::Asked(Arc::new(check)));
    }

    /// Adds a number that is read whenever readiness is: unready while it is over `limit`, or not a number.
    /// For lag: of a relay, of a consumer group. It must not block. With [`Health::check`] and
    /// [`State::over`] the same limit only degrades.
    pub fn gauge(&self, name: &str, limit: f64, read: impl Fn() -> f64 + Send + Sync + 'static) {
        self.check(name, move || State::over(Status::Unready, read(), limit));
    }

    /// Adds a loop that says at each turn that it lives: not live where it has not for `limit`. Beats once now.
    /// Dropping the handle in order takes the loop off the list; a panic leaves it there to be noticed.
    #[must_use]
    pub fn heartbeat(&self, name: &str, limit: std::time::Duration) -> Heartbeat {
        Heartbeat::new(self.clone(), name.into(), limit)
    }

    /// Takes a component, check or gauge off the list. What its [`Component`] says afterwards changes nothing.
    pub fn remove(&self, name: &str) {
        self.lock().remove(name);
    }

    /// Whether work may be sent here: no part is unready (with [`Health::strict`], nor degraded).
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.readiness().status < self.0.out
    }

    /// Whether every heartbeat is younger than its limit.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.liveness().status == Status::Ready
    }

    /// Every component, check and gauge by name: the body of `/readyz`.
    #[must_use]
    pub fn readiness(&self) -> Report {
        // Asked outside the lock: a check may look at this health.
        let parts = self.lock().clone();
        Report::of(parts.into_iter().map(|(name, part)| (name, part.state())))
    }

    /// Every heartbeat by name: the body of `/livez`.
    #[must_use]
    pub fn liveness(&self) -> Report {
        self.0.beats.report()
    }

    fn set(&self, name: &str, part: Part) {
        self.lock().insert(name.to_owned(), part);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Part>> {
        self.0.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Part {
    fn state(&self) -> State {
        match self {
            Self::ShutdownSignal(state) => state.clone(),
            Self::Asked(check) => check::ask(check),
        }
    }
}

impl Default for Health {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Health").field("parts", &self.lock().keys()).finish_non_exhaustive()
    }
}

/// A component's own switch. Clones turn the same one.
#[derive(Debug, Clone)]
pub struct Component {
    health: Health,
    name: Arc<str>,
}

impl Component {
    /// It can do its work.
    pub fn ready(&self) {
        self.set(State::ready());
    }

    /// It does its work, but not as it should, and why: an open circuit breaker, a stale cache.
    pub fn degraded(&self, reason: impl Into<String>) {
        self.set(State::degraded(reason));
    }

    /// It cannot, and why.
    pub fn unready(&self, reason: impl Into<String>) {
        self.set(State::unready(reason));
    }

    fn set(&self, state: State) {
        if let Some(Part::ShutdownSignal(told)) = self.health.lock().get_mut(&*self.name) {
            *told = state;
        }
    }
}

#[cfg(test)]
mod tests;
