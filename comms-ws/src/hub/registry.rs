//! Who is here: admission within the limits, and the way to reach everyone.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio_util::task::{TaskTracker, task_tracker::TaskTrackerToken};

use super::{HubConfig, Meters, outbound::Outbound};
use crate::close::Close;

/// Why a handshake is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    Origin,
    Principal,
    Full,
    Draining,
}

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

/// A session's place. It is given back when this is dropped, also by a handshake that came to nothing.
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

    /// Lets nobody in any more and asks everyone to leave; resolves when they have.
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
