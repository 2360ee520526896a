//! An endpoint: an address, its connection, and the calls in flight on it.
//!
//! The files:
//! - `mod.rs`: the state of the connection, and its changes;
//! - `dial.rs`: one connection attempt, shared by all calls that wait for it;
//! - `health.rs`: the health that the peer reports on the connection;
//! - `load.rs`: the calls in flight and the guards of the endpoint;
//! - `ejection.rs`: the part of the endpoint in outlier detection;
//! - `recent_failures.rs`: the failures that count as load.

mod dial;
mod ejection;
mod health;
mod load;
mod recent_failures;

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use comms_core::{
    clock::Clock,
    resilience::{Backoff, Breaker, OutlierDetector, PolicyConfig},
};
use http::Uri;
use tokio::{
    runtime::Handle,
    sync::{Notify, watch},
};

use super::{
    connect::Connector,
    connection::{Connection, FreeStream},
    keep_alive::KeepAlive,
    request::Origin,
    snapshot::EndpointState,
};

pub(super) use health::HealthCheck;
pub(super) use load::{Admission, InFlight};

use self::{ejection::Ejection, health::Health, recent_failures::RecentFailures};

/// A connection that ends within this time, without an answer of the peer, is a useless connection.
const TRIAL: Duration = Duration::from_secs(1);
/// The number of useless connections in a row from which on each counts as a failed connection attempt. A server that
/// limits the age of its connections may close one at any time.
const USELESS: u32 = 4;

/// The settings that all endpoints of a channel share.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) peer: Arc<str>,
    pub(super) connector: Connector,
    pub(super) connect_timeout: Duration,
    pub(super) keep_alive: KeepAlive,
    pub(super) backoff: Backoff,
    /// The maximum number of calls that wait for one connection.
    pub(super) max_waiting: usize,
    /// The guards of each endpoint.
    pub(super) guards: PolicyConfig,
    /// Compares the endpoints, if there are several.
    pub(super) detector: Option<OutlierDetector>,
    pub(super) health_check: Option<Arc<HealthCheck>>,
    pub(super) clock: Clock,
    /// The runtime of the connections.
    pub(super) runtime: Handle,
    /// Notified when a connection is lost or cannot be made.
    pub(super) trouble: Notify,
}

/// An address of the peer.
pub(super) struct Endpoint {
    /// The address in logs and snapshots.
    pub(super) address: String,
    pub(super) origin: Origin,
    target: Uri,
    settings: Arc<Settings>,
    state: Mutex<State>,
    waiting: AtomicUsize,
    in_flight: Arc<AtomicUsize>,
    max_in_flight: usize,
    started: AtomicU64,
    failed: AtomicU64,
    recent_failures: RecentFailures,
    breaker: Option<Breaker>,
    /// Whether the peer has answered a call since the last loss of a connection. The calls of a connection may be answered
    /// after its GOAWAY, while another one is in use.
    answered: Arc<AtomicBool>,
    ejection: Option<Ejection>,
}

struct State {
    link: Link,
    /// Connection attempts that failed in a row.
    failures: u32,
    /// Useless connections in a row.
    useless: u32,
}

enum Link {
    Idle,
    Connecting { outcome: watch::Receiver<Option<Outcome>>, since: Instant },
    Ready(Live),
    Backoff { until: Instant, reason: Arc<str> },
}

/// An open connection, and the health of the peer if the channel checks it.
struct Live {
    connection: Connection,
    health: Option<Health>,
}

impl Live {
    /// Returns the connection, unless the peer reports that it does not serve. A closed connection has no health: it is
    /// returned, and the caller connects again.
    fn usable(&self) -> Outcome {
        let problem = |health: &Health| health.problem(self.connection.max_streams());
        match self.health.as_ref().and_then(problem) {
            Some(reason) if !self.connection.is_closed() => Err(dial::unreachable_because(&reason)),
            _ => Ok(self.connection.clone()),
        }
    }
}

/// The outcome of a connection attempt.
type Outcome = Result<Connection, Unreachable>;

/// Why an endpoint has no connection.
#[derive(Debug, Clone)]
pub(super) struct Unreachable {
    pub(super) reason: Arc<str>,
    /// The wait until the next connection attempt.
    pub(super) retry_after: Option<Duration>,
    /// Whether too many calls wait for the connection.
    pub(super) crowded: bool,
}

/// Whether a call can be sent to an endpoint.
pub(super) enum Readiness {
    Ready(Connection),
    /// A connection attempt is running.
    Connecting,
    Unreachable(Unreachable),
}

impl Endpoint {
    pub(super) fn new(address: String, origin: Origin, target: Uri, settings: Arc<Settings>) -> Self {
        let breaker = settings.guards.breaker.clone().and_then(|config| {
            // The configuration was validated when the channel was built.
            Breaker::new(&settings.peer, config, settings.clock.clone()).ok()
        });
        let max = settings.guards.bulkhead.as_ref().map(|bulkhead| bulkhead.max_concurrent as usize);
        let ejection = settings.detector.as_ref().map(|detector| Ejection::new(detector.add(&address)));
        Self {
            address,
            origin,
            target,
            state: Mutex::new(State { link: Link::Idle, failures: 0, useless: 0 }),
            waiting: AtomicUsize::new(0),
            in_flight: Arc::default(),
            max_in_flight: max.unwrap_or(load::MAX_IN_FLIGHT),
            started: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            recent_failures: RecentFailures::new(&settings.clock),
            breaker,
            answered: Arc::default(),
            ejection,
            settings,
        }
    }

    /// Returns the connection, and starts a connection attempt if there is none and the backoff has passed. Never
    /// waits.
    pub(super) fn readiness(self: &Arc<Self>) -> Readiness {
        let mut state = self.lock();
        if let Link::Ready(live) = &state.link {
            if !live.connection.is_closed() {
                return live.usable().map_or_else(Readiness::Unreachable, Readiness::Ready);
            }
            self.lose_connection(&mut state);
        }
        if let Link::Backoff { until, reason } = &state.link {
            let left = until.saturating_duration_since(self.settings.clock.now());
            if !left.is_zero() {
                let reason = reason.clone();
                return Readiness::Unreachable(Unreachable {
                    reason,
                    retry_after: Some(left),
                    crowded: false,
                });
            }
        }
        if let Link::Connecting { outcome, .. } = &state.link
            && outcome.has_changed().is_ok()
        {
            return Readiness::Connecting;
        }
        // A connection attempt whose runtime has ended is replaced as well.
        state.link = Link::Connecting { outcome: dial::start(self), since: self.settings.clock.now() };
        Readiness::Connecting
    }

    /// Ends the use of a connection that the peer closed.
    fn lose_connection(&self, state: &mut State) {
        let Link::Ready(Live { connection, .. }) = &state.link else { return };
        let now = self.settings.clock.now();
        let lasted = now.saturating_duration_since(connection.opened()) >= TRIAL;
        let useful = self.answered.swap(false, Relaxed) || lasted;
        state.useless = if useful { 0 } else { state.useless.saturating_add(1) };
        if state.useless < USELESS {
            state.failures = 0;
            state.link = Link::Idle;
        } else {
            self.back_off(state, now, "the peer closes connections before it answers a call".into());
        }
        self.settings.trouble.notify_one();
    }

    fn back_off(&self, state: &mut State, now: Instant, reason: Arc<str>) -> Duration {
        state.failures = state.failures.saturating_add(1);
        let delay = self.settings.backoff.delay(state.failures, &self.settings.clock);
        state.link = Link::Backoff { until: now + delay, reason };
        delay
    }

    /// Returns the connection, and waits for the connection attempt if one is needed.
    ///
    /// During the backoff after a failed attempt the wait fails at once, unless the call waits `for_ready`. A call
    /// that is dropped while it waits does not stop the attempt.
    pub(super) async fn ready(self: &Arc<Self>, for_ready: bool) -> Result<Connection, Unreachable> {
        loop {
            let failure = match self.readiness() {
                Readiness::Ready(connection) => return Ok(connection),
                Readiness::Unreachable(failure) => failure,
                Readiness::Connecting => match dial::outcome(self).await {
                    Some(Ok(connection)) => return Ok(connection),
                    Some(Err(failure)) => failure,
                    None => continue,
                },
            };
            if !for_ready || failure.crowded {
                return Err(failure);
            }
            let _waiting = load::Waiting::enter(self)?;
            self.settings.clock.sleep(failure.retry_after.unwrap_or(TRIAL)).await;
        }
    }

    /// Returns a free stream of the connection, and waits for the connection and for a stream if needed.
    pub(super) async fn stream(self: &Arc<Self>, for_ready: bool) -> Result<FreeStream, Unreachable> {
        loop {
            let connection = self.ready(for_ready).await?;
            if let Some(stream) = connection.clone().try_stream() {
                return Ok(stream);
            }
            let _waiting = load::Waiting::enter(self)?;
            if let Some(stream) = connection.stream().await {
                return Ok(stream);
            }
            // The connection takes no further call.
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the state of the connection, for a snapshot.
    pub(super) fn link_state(&self) -> EndpointState {
        match &self.lock().link {
            Link::Ready(live) if !live.connection.is_closed() => match live.usable() {
                Ok(_) => EndpointState::Ready,
                Err(_) => EndpointState::NotServing,
            },
            Link::Idle | Link::Ready(_) => EndpointState::Idle,
            Link::Connecting { .. } => EndpointState::Connecting,
            Link::Backoff { .. } => EndpointState::Backoff,
        }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").field("address", &self.address).finish_non_exhaustive()
    }
}
