//! The open sessions of this process: admission within the limits, and the drain of all sessions.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio_util::task::{TaskTracker, task_tracker::TaskTrackerToken};

use super::{config::HubConfig, meters::Meters, outbound::Outbound};
use crate::{close::Close, handshake::Refusal};

pub(crate) struct Registry {
    state: Mutex<State>,
    open: TaskTracker,
    meters: Arc<Meters>,
}

#[derive(Default)]
struct State {
    sessions: HashMap<u64, Arc<Outbound>>,
    per_principal: HashMap<Arc<str>, usize>,
    next: u64,
    draining: bool,
}

/// The permit of a session. Dropping it releases the session's share of the limits, also after a handshake that failed.
pub(crate) struct Admission {
    registry: Arc<Registry>,
    principal: Arc<str>,
    pub(crate) id: u64,
    _open: TaskTrackerToken,
}

impl Registry {
    pub(crate) fn new(meters: Arc<Meters>) -> Self {
        Self { state: Mutex::default(), open: TaskTracker::new(), meters }
    }

    pub(crate) fn admit(
        self: &Arc<Self>,
        principal: &Arc<str>,
        queue: &Arc<Outbound>,
        config: &HubConfig,
    ) -> Result<Admission, Refusal> {
        let mut state = self.lock();
        if state.draining {
            return Err(Refusal::Draining);
        }
        if state.sessions.len() >= config.max_sessions {
            return Err(Refusal::Full);
        }
        let own = state.per_principal.get(principal).copied().unwrap_or_default();
        if own >= config.max_sessions_per_principal {
            return Err(Refusal::Principal);
        }
        state.per_principal.insert(principal.clone(), own + 1);
        let id = state.next;
        state.next += 1;
        state.sessions.insert(id, queue.clone());
        self.meters.sessions(state.sessions.len());
        Ok(Admission { registry: self.clone(), principal: principal.clone(), id, _open: self.open.token() })
    }

    /// Refuses further sessions, closes all open sessions, and resolves when they have ended.
    pub(crate) async fn drained(&self) {
        let queues: Vec<_> = {
            let mut state = self.lock();
            state.draining = true;
            state.sessions.values().cloned().collect()
        };
        queues.iter().for_each(|queue| queue.close(Close::GOING_AWAY));
        drop(queues);
        self.open.close();
        self.open.wait().await;
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().sessions.len()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let mut state = self.registry.lock();
        state.sessions.remove(&self.id);
        if let Some(own) = state.per_principal.get_mut(&self.principal) {
            *own -= 1;
            if *own == 0 {
                state.per_principal.remove(&self.principal);
            }
        }
        self.registry.meters.sessions(state.sessions.len());
    }
}
