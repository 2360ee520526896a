//! The open sessions of this process: admission within the limits, and the drain of all sessions.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use comms_core::clock::Clock;
use tokio_util::task::{TaskTracker, task_tracker::TaskTrackerToken};

use super::principals::Principals;
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
    by_principal: Principals,
    by_address: HashMap<IpAddr, usize>,
    /// The number of sessions without a principal.
    unauthenticated: usize,
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
    /// The session was ended during the handshake.
    close: Option<Close>,
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
        if principal.is_none() && state.unauthenticated >= config.unauthenticated_limit() {
            return Err(Refusal::Unauthenticated);
        }
        let of_address = address.and_then(|address| state.by_address.get(&address));
        if of_address.is_some_and(|count| *count >= config.max_sessions_per_address) {
            return Err(Refusal::Address);
        }
        let id = state.next;
        let replaced = match principal {
            Some(principal) => state.replace(principal, id, config)?,
            None => {
                state.unauthenticated += 1;
                None
            }
        };
        if let Some(address) = address {
            *state.by_address.entry(address).or_default() += 1;
        }
        state.next += 1;
        state
            .sessions
            .insert(id, Slot { principal: principal.cloned(), began: self.clock.unix(), ..Slot::default() });
        self.meters.sessions(state.sessions.len());
        drop(state);
        if let Some(replaced) = replaced {
            replaced.close(Close::REPLACED);
        }
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
            if !state.by_principal.contains(principal) {
                return 0;
            }
            let of_principal =
                |slot: &&mut Slot| slot.principal.as_deref() == Some(principal) && slot.began <= until;
            for slot in state.sessions.values_mut().filter(of_principal) {
                match slot.end(Close::DISCONNECTED) {
                    Some(connection) => open.push(connection),
                    None => in_handshake += 1,
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
    /// Sets the connection of the session, so that a drain reaches it. Returns the close code if the session was ended during
    /// the handshake.
    pub(crate) fn set_connection(&self, connection: &Arc<Connection>) -> Option<Close> {
        let mut state = self.registry.lock();
        let slot = state.sessions.entry(self.id).or_default();
        slot.connection = Arc::downgrade(connection);
        slot.close
    }

    /// Counts the session towards the limit of `principal`, whose token was verified.
    pub(crate) fn assign(&mut self, principal: &Arc<str>, config: &HubConfig) -> Result<(), Refusal> {
        let mut state = self.registry.lock();
        let replaced = state.replace(principal, self.id, config)?;
        state.unauthenticated -= 1;
        let slot = state.sessions.entry(self.id).or_default();
        (slot.principal, slot.began) = (Some(principal.clone()), self.registry.clock.unix());
        drop(state);
        self.principal = Some(principal.clone());
        if let Some(replaced) = replaced {
            replaced.close(Close::REPLACED);
        }
        Ok(())
    }
}

impl State {
    /// Counts the session `id` towards the limit of `principal`. Returns the connection of the session that it replaces, to be
    /// closed.
    fn replace(
        &mut self,
        principal: &Arc<str>,
        id: u64,
        config: &HubConfig,
    ) -> Result<Option<Arc<Connection>>, Refusal> {
        let replaced = self.by_principal.add(principal, id, config)?;
        let slot = replaced.and_then(|id| self.sessions.get_mut(&id));
        Ok(slot.and_then(|slot| slot.end(Close::REPLACED)))
    }
}

impl Slot {
    /// Returns the connection, to be closed. A session in its handshake is closed with `close` after it.
    fn end(&mut self, close: Close) -> Option<Arc<Connection>> {
        let connection = self.connection.upgrade();
        if connection.is_none() {
            self.close = Some(close);
        }
        connection
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let mut state = self.registry.lock();
        state.sessions.remove(&self.id);
        match &self.principal {
            Some(principal) => state.by_principal.remove(principal, self.id),
            None => state.unauthenticated -= 1,
        }
        if let Some(address) = &self.address
            && let Some(count) = state.by_address.get_mut(address)
        {
            *count -= 1;
            if *count == 0 {
                state.by_address.remove(address);
            }
        }
        self.registry.meters.sessions(state.sessions.len());
    }
}
