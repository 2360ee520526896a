//! Readiness and liveness of a process, for the probes of an orchestrator.
//!
//! Readiness decides whether the process gets work, liveness whether it is restarted. A process whose database is away is
//! not ready, and a restart would not help it. A process with a loop that hangs may answer every readiness probe, and only
//! a restart helps it. A part that works badly, such as an open circuit breaker, is *degraded*: it is shown, and the process
//! stays in rotation, because all replicas share the cause and would leave the rotation together.
//!
//! [`Health::readiness`] and [`Health::liveness`] list every part by name, with the reason if it is not ready. Checks and
//! gauges run at each probe; a check that panics is unready. A check that blocks delays the probe. Of two parts with the
//! same name the last one counts.

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

/// The readiness and liveness of a process. Clones share the same state.
///
/// ```
/// use comms_core::health::{Health, Status};
/// let health = Health::new();
/// let relay = health.component("relay");
/// assert!(!health.is_ready());
/// relay.ready();
/// assert!(health.is_ready());
/// relay.degraded("the breaker of payment is open");
/// assert!(health.is_ready(), "a degraded part keeps the process in rotation");
/// health.gauge("outbox lag", 60.0, || 61.0);
/// assert!(!health.is_ready());
/// assert_eq!(health.readiness().reason("outbox lag"), Some("61 is over the limit of 60"));
/// ```
#[derive(Clone)]
pub struct Health(Arc<Inner>);

struct Inner {
    parts: Mutex<BTreeMap<String, Part>>,
    beats: Beats,
    /// The mildest status that takes the process out of rotation.
    out: Status,
}

#[derive(Clone)]
enum Part {
    Set(State),
    Checked(Check),
}

impl Health {
    /// Makes a health without parts, which is ready and live. Heartbeats are timed by the system clock.
    #[must_use]
    pub fn new() -> Self {
        Self::with_clock(Clock::system())
    }

    /// Makes a health without parts whose heartbeats are timed by `clock`.
    #[must_use]
    pub fn with_clock(clock: Clock) -> Self {
        Self::made(clock, Status::Unready)
    }

    /// Makes a health for which a degraded part is unready. For a process whose callers can go to another replica that does
    /// not share the cause.
    #[must_use]
    pub fn strict(clock: Clock) -> Self {
        Self::made(clock, Status::Degraded)
    }

    fn made(clock: Clock, out: Status) -> Self {
        Self(Arc::new(Inner { parts: Mutex::default(), beats: Beats::new(clock), out }))
    }

    /// Adds a component. It is unready with the reason "starting" until its [`Component`] sets another state.
    #[must_use]
    pub fn component(&self, name: &str) -> Component {
        self.set(name, Part::Set(State::unready("starting")));
        Component { health: self.clone(), name: name.into() }
    }

    /// Adds a check that runs at each readiness probe. It must not block.
    pub fn check(&self, name: &str, check: impl Fn() -> State + Send + Sync + 'static) {
        self.set(name, Part::Checked(Arc::new(check)));
    }

    /// Adds a number that is read at each readiness probe, such as the lag of a relay. The part is unready while the number
    /// is above `limit` or not a number. `read` must not block. [`Health::check`] with [`State::over`] makes a part that is
    /// degraded instead.
    pub fn gauge(&self, name: &str, limit: f64, read: impl Fn() -> f64 + Send + Sync + 'static) {
        self.check(name, move || State::over(Status::Unready, read(), limit));
    }

    /// Adds a loop that calls [`Heartbeat::beat`] at each turn. The process is not live if the last beat is older than
    /// `limit`. This call counts as the first beat.
    ///
    /// Dropping the handle removes the loop, except during a panic: then the entry stays, and the probe fails after `limit`.
    #[must_use]
    pub fn heartbeat(&self, name: &str, limit: std::time::Duration) -> Heartbeat {
        Heartbeat::new(self.clone(), name.into(), limit)
    }

    /// Removes a component, check or gauge. Its [`Component`] has no effect afterwards.
    pub fn remove(&self, name: &str) {
        self.lock().remove(name);
    }

    /// Returns whether the process may get work: no part is unready (with [`Health::strict`]: nor degraded).
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.readiness().status < self.0.out
    }

    /// Returns whether every heartbeat is younger than its limit.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.liveness().status == Status::Ready
    }

    /// Returns every component, check and gauge by name: the body of `/readyz`.
    #[must_use]
    pub fn readiness(&self) -> Report {
        // Checks run outside the lock, because a check may read this health.
        let parts = self.lock().clone();
        Report::of(parts.into_iter().map(|(name, part)| (name, part.state())))
    }

    /// Returns every heartbeat by name: the body of `/livez`.
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
            Self::Set(state) => state.clone(),
            Self::Checked(check) => check::run(check),
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

/// A handle that sets the state of one component; made by [`Health::component`]. Clones set the same component.
#[derive(Debug, Clone)]
pub struct Component {
    health: Health,
    name: Arc<str>,
}

impl Component {
    /// Sets the component ready.
    pub fn ready(&self) {
        self.set(State::ready());
    }

    /// Sets the component degraded for `reason`: it works, but badly, as with an open circuit breaker or a stale cache.
    pub fn degraded(&self, reason: impl Into<String>) {
        self.set(State::degraded(reason));
    }

    /// Sets the component unready for `reason`.
    pub fn unready(&self, reason: impl Into<String>) {
        self.set(State::unready(reason));
    }

    fn set(&self, state: State) {
        if let Some(Part::Set(current)) = self.health.lock().get_mut(&*self.name) {
            *current = state;
        }
    }
}

#[cfg(test)]
mod tests;
