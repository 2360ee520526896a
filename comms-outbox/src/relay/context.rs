//! Settings and collaborators of a relay, and the state that outlives its sessions.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use comms_core::{
    Error, Publisher,
    clock::Clock,
    health::{self, State, Status},
    resilience::Backoff,
    transport::Holds,
};

use super::{in_flight::RowAge, metrics::Metrics, start::Start, store::Store};
use crate::CommitSignal;

/// Settings of a relay, checked by its builder.
pub(super) struct Settings {
    pub(super) name: Arc<str>,
    pub(super) topics: Option<Arc<[String]>>,
    pub(super) owner: String,
    pub(super) lease: Duration,
    pub(super) page: u32,
    pub(super) page_bytes: usize,
    pub(super) start: Start,
    pub(super) parked_limit: usize,
    pub(super) in_flight: usize,
    pub(super) in_flight_bytes: usize,
    pub(super) poll_interval: Duration,
    pub(super) drain: Duration,
}

/// Everything that a session of the relay uses and does not own.
pub(super) struct RelayContext {
    pub(super) settings: Settings,
    pub(super) store: Arc<dyn Store>,
    pub(super) publisher: Arc<dyn Publisher>,
    pub(super) commit_signal: CommitSignal,
    pub(super) clock: Clock,
    pub(super) backoff: Backoff,
    pub(super) metrics: Metrics,
    pub(super) health: Option<health::Component>,
    pub(super) heartbeat: Option<health::Heartbeat>,
    /// The deliveries that the publisher holds, if it has such a list.
    pub(super) holds: Option<Holds>,
    /// Called when another owner has the lease.
    pub(super) on_standby: Option<Box<dyn Fn() + Send + Sync>>,
    /// The last read succeeded. After a failure the relay stays unready until a read succeeds.
    pub(super) reads_succeed: AtomicBool,
    /// The oldest unsettled row when the last session failed. Reported as lag until the next session has read.
    pub(super) oldest_unsettled: Mutex<Option<RowAge>>,
}

impl RelayContext {
    pub(super) fn beat(&self) {
        if let Some(heartbeat) = &self.heartbeat {
            heartbeat.beat();
        }
    }

    /// Sets the lag to zero: no row is unsettled, or another relay has the lease.
    pub(super) fn clear_lag(&self) {
        self.set_oldest_unsettled(None);
        self.metrics.lag.set(0.0);
    }

    pub(super) fn set_oldest_unsettled(&self, oldest: Option<RowAge>) {
        *self.oldest_unsettled.lock().unwrap_or_else(PoisonError::into_inner) = oldest;
    }

    pub(super) fn oldest_unsettled(&self) -> Option<RowAge> {
        *self.oldest_unsettled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records that a read succeeded. Returns whether the read before it had failed.
    pub(super) fn read_succeeded(&self) -> bool {
        !self.reads_succeed.swap(true, Ordering::Relaxed)
    }

    /// Reports `state` as readiness, unless the last read failed.
    pub(super) fn set_state(&self, state: State) {
        let Some(health) = self.health.as_ref().filter(|_| self.reads_succeed.load(Ordering::Relaxed)) else {
            return;
        };
        let holds = self.holds.as_ref().filter(|_| state.status == Status::Ready);
        let state = holds.map_or(state, Holds::state);
        match (state.status, state.reason) {
            (Status::Ready, _) => health.ready(),
            (_, reason) => health.degraded(reason.unwrap_or_default()),
        }
    }

    /// Reports the relay as unready, with `error` as the reason, until a read succeeds.
    pub(super) fn set_unready(&self, error: &Error) {
        self.reads_succeed.store(false, Ordering::Relaxed);
        if let Some(health) = &self.health {
            health.unready(error.chain().to_string());
        }
    }
}
