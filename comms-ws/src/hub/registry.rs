//! The open sessions of this process: admission within the limits, and the drain of all sessions.

use std::{
    collections::HashMap,
    hash::Hash,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use comms_core::clock::Clock;
use tokio_util::task::{TaskTracker, task_tracker::TaskTrackerToken};

use crate::{close::Close, config::HubConfig, connection::Connection, meters::Meters, refusal::Refusal};

pub(crate) struct Registry {
    state: Mutex<State>,
    open: TaskTracker,
    meters: Arc<Meters>,
    clock: Clock,
}

#[derive(Default)]
struct State {
    sessions: HashMap<u64, Slot>,
    by_principal: HashMap<Arc<str>, usize>,
    by_address: HashMap<IpAddr, usize>,
    next: u64,
    draining: bool,
}

/// A session of the registry.
#[derive(Default)]
struct Slot {
    /// Set after the handshake.
    connection: Weak<Connection>,
    principal: Option<Arc<str>>,
    /// When the principal began the session, since the Unix epoch.
    began: Duration,
    /// The sessions of the principal were ended during the handshake.
    is_disconnected: bool,
}

/// The permit of a session. Dropping it releases the session's share of the limits, also after a handshake that failed.
pub(crate) struct Admission {
    registry: Arc<Registry>,
    principal: Option<Arc<str>>,
    address: Option<IpAddr>,
    pub(crate) id: u64,
    _open: TaskTrackerToken,
}

impl Registry {
    pub(super) fn new(meters: Arc<Meters>, clock: Clock) -> Self {
        Self { state: Mutex::default(), open: TaskTracker::new(), meters, clock }
    }

    /// Admits a session. `principal` is `None` until its client has authenticated.
    pub(crate) fn admit(
        self: &Arc<Self>,
        principal: Option<&Arc<str>>,
        address: Option<IpAddr>,
        config: &HubConfig,
    ) -> Result<Admission, Refusal> {
        let mut state = self.lock();
        if state.draining {
            return Err(Refusal::Draining);
        }
        if state.sessions.len() >= config.max_sessions {
            return Err(Refusal::Full);
        }
        if address
            .is_some_and(|address| is_full(&state.by_address, &address, config.max_sessions_per_address))
        {
            return Err(Refusal::Address);
        }
        if principal.is_some_and(|name| is_full(&state.by_principal, name, config.max_sessions_per_principal))
        {
            return Err(Refusal::Principal);
        }
        if let Some(principal) = principal {
            *state.by_principal.entry(principal.clone()).or_default() += 1;
        }
        if let Some(address) = address {
            *state.by_address.entry(address).or_default() += 1;
        }
        let id = state.next;
        state.next += 1;
        state
            .sessions
            .insert(id, Slot { principal: principal.cloned(), began: self.clock.unix(), ..Slot::default() });
        self.meters.sessions(state.sessions.len());
        let (registry, principal) = (self.clone(), principal.cloned());
        Ok(Admission { registry, principal, address, id, _open: self.open.token() })
    }

    /// Refuses further sessions. Returns the open ones.
    pub(super) fn refuse_more(&self) -> Vec<Arc<Connection>> {
        self.lock().draining = true;
        self.connections()
    }

    /// Resolves when all sessions have ended, after [`refuse_more`](Self::refuse_more).
    pub(super) async fn ended(&self) {
        self.open.close();
        self.open.wait().await;
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.lock().draining
    }

    pub(crate) fn connections(&self) -> Vec<Arc<Connection>> {
        self.lock().sessions.values().filter_map(|slot| slot.connection.upgrade()).collect()
    }

    /// Ends the sessions of `principal` that began until `until`, since the Unix epoch; those in their handshake end after it.
    /// Returns their number.
    pub(super) fn disconnect(&self, principal: &str, until: Duration) -> usize {
        let (mut open, mut in_handshake) = (Vec::new(), 0);
        {
            let mut state = self.lock();
            // Most calls of other nodes concern no session of this one.
            if !state.by_principal.contains_key(principal) {
                return 0;
            }
            let of_principal =
                |slot: &&mut Slot| slot.principal.as_deref() == Some(principal) && slot.began <= until;
            for slot in state.sessions.values_mut().filter(of_principal) {
                match slot.connection.upgrade() {
                    Some(connection) => open.push(connection),
                    None => {
                        slot.is_disconnected = true;
                        in_handshake += 1;
                    }
                }
            }
        }
        open.iter().for_each(|connection| connection.close(Close::DISCONNECTED));
        open.len() + in_handshake
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().sessions.len()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Admission {
    /// Sets the connection of the session, so that a drain reaches it. Returns `false` if the sessions of its principal were
    /// ended during the handshake.
    pub(crate) fn set_connection(&self, connection: &Arc<Connection>) -> bool {
        let mut state = self.registry.lock();
        let slot = state.sessions.entry(self.id).or_default();
        slot.connection = Arc::downgrade(connection);
        !slot.is_disconnected
    }

    /// Counts the session towards the limit of `principal`, whose token was verified.
    pub(crate) fn assign(&mut self, principal: &Arc<str>, config: &HubConfig) -> Result<(), Refusal> {
        let mut state = self.registry.lock();
        if is_full(&state.by_principal, principal, config.max_sessions_per_principal) {
            return Err(Refusal::Principal);
        }
        *state.by_principal.entry(principal.clone()).or_default() += 1;
        let slot = state.sessions.entry(self.id).or_default();
        (slot.principal, slot.began) = (Some(principal.clone()), self.registry.clock.unix());
        drop(state);
        self.principal = Some(principal.clone());
        Ok(())
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let mut state = self.registry.lock();
        state.sessions.remove(&self.id);
        if let Some(principal) = &self.principal {
            release(&mut state.by_principal, principal);
        }
        if let Some(address) = &self.address {
            release(&mut state.by_address, address);
        }
        self.registry.meters.sessions(state.sessions.len());
    }
}

fn is_full<K: Hash + Eq>(counts: &HashMap<K, usize>, key: &K, max: usize) -> bool {
    counts.get(key).is_some_and(|count| *count >= max)
}

fn release<K: Hash + Eq>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}
