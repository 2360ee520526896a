//! Readiness and liveness of a process, for the probes of an orchestrator.
//!
//! Readiness determines whether the orchestrator sends work to the process, liveness whether it restarts the process. A
//! process whose database is unavailable is not ready, and a restart would not help. A process with a loop that hangs
//! may be ready at every probe, and only a restart helps.
//!
//! Readiness has *parts*: components, checks and gauges, each with a name and a state. A part is *ready*, *degraded*
//! (it works badly, as with an open circuit breaker) or *unready*. An unready part takes the process out of rotation. A
//! degraded part is only reported, because all replicas usually share the cause and would leave the rotation together.
//!
//! [`Health::readiness`] lists every part by name, and [`Health::liveness`] every heartbeat, with the reason if the
//! state is not ready. Checks and gauges run at each readiness probe. A check that panics is unready. A check that
//! blocks delays the probe. A new part replaces an existing part of the same name.

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
    /// Creates a `Health` without parts, which is ready and live. Heartbeats are timed by the system clock.
    #[must_use]
    pub fn new() -> Self {
        Self::with_clock(Clock::system())
    }

    /// Creates a `Health` without parts whose heartbeats are timed by `clock`.
    #[must_use]
    pub fn with_clock(clock: Clock) -> Self {
        Self::made(clock, Status::Unready)
    }

    /// Creates a `Health` for which a degraded part makes the process unready.
    ///
    /// Use it for a process whose callers can go to another replica that does not share the cause. Heartbeats are timed
    /// by `clock`.
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

    /// Adds a check that runs at each readiness probe. `check` must not block.
    pub fn check(&self, name: &str, check: impl Fn() -> State + Send + Sync + 'static) {
        self.set(name, Part::Checked(Arc::new(check)));
    }

    /// Adds a number that is read at each readiness probe, such as the lag of a relay in seconds. `limit` has the unit
    /// of the number.
    ///
    /// The part is unready while the number is above `limit` or NaN. `read` must not block. For a part that is degraded
    /// instead of unready, use [`Health::check`] with [`State::over`].
    pub fn gauge(&self, name: &str, limit: f64, read: impl Fn() -> f64 + Send + Sync + 'static) {
        self.check(name, move || State::over(Status::Unready, read(), limit));
    }

    /// Adds a loop that calls [`Heartbeat::beat`] at each iteration. The process is not live if the last beat is older
    /// than `limit`. This call counts as the first beat.
    ///
    /// Dropping the handle removes the loop from the liveness probe. If the handle is dropped by a panic, the loop
    /// stays, and the probe fails after `limit`.
    #[must_use]
    pub fn heartbeat(&self, name: &str, limit: std::time::Duration) -> Heartbeat {
        Heartbeat::new(self.clone(), name.into(), limit)
    }

    /// Removes a component, check or gauge. Its [`Component`] has no effect afterwards.
    pub fn remove(&self, name: &str) {
        self.lock().remove(name);
    }

    /// Returns whether the process may receive work: no part is unready, and with [`Health::strict`] no part is
    /// degraded.
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

/// A handle that sets the state of one component, returned by [`Health::component`]. Clones set the same component.
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
