//! What a projection reports: status, metrics and readiness.

use std::time::Duration;

use comms_core::{health, telemetry};
use tokio::sync::watch;

use super::ParkedEvent;

/// What a projection does.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProjectionState {
    /// Another process has the lease, or the projection does not run.
    Standby,
    /// The projection applies events, and has not come to the last one yet.
    CatchingUp,
    /// The last read ended at the last committed event.
    Live,
    /// The database or the handler failed for a reason outside the events. The projection retries without a limit.
    Retrying {
        /// The last failure.
        reason: String,
    },
    /// The projection cannot apply an event, and waits for an operator.
    Parked(Box<ParkedEvent>),
}

/// The status of a projection in this process.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ProjectionStatus {
    /// What the projection does.
    pub state: ProjectionState,
    /// The revision of this projection.
    pub revision: u32,
    /// Whether this revision, or a later one, has become the live one.
    pub live: bool,
    /// The events that this process has applied.
    pub applied: u64,
    /// The events that are newer than the last applied one, estimated by their ids: events of other categories and
    /// transactions that were rolled back count. 0 after a read that ended at the last committed event.
    pub lag_events: u64,
    /// The age of the oldest event that was read and is not applied.
    pub lag: Duration,
    /// The part of the events that is applied, from 0 to 1, estimated by their ids.
    pub progress: f64,
}

/// Reports changes of the status.
pub(super) struct Reporter {
    status: watch::Sender<ProjectionStatus>,
    health: Option<health::Component>,
    lag: metrics::Gauge,
    lag_seconds: metrics::Gauge,
    applied: metrics::Counter,
    parked: metrics::Gauge,
}

impl Reporter {
    pub(super) fn new(name: &str, revision: u32, health: Option<health::Component>) -> Self {
        let labels = [("projection", name.to_owned()), ("revision", revision.to_string())];
        let status = ProjectionStatus {
            state: ProjectionState::Standby,
            revision,
            live: false,
            applied: 0,
            lag_events: 0,
            lag: Duration::ZERO,
            progress: 0.0,
        };
        Self {
            status: watch::Sender::new(status),
            health,
            lag: metrics::gauge!(telemetry::PROJECTION_LAG, &labels),
            lag_seconds: metrics::gauge!(telemetry::PROJECTION_LAG_SECONDS, &labels),
            applied: metrics::counter!(telemetry::PROJECTION_APPLIED, &labels),
            parked: metrics::gauge!(telemetry::PROJECTION_PARKED, &labels),
        }
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<ProjectionStatus> {
        self.status.subscribe()
    }

    pub(super) fn state(&self, state: ProjectionState) {
        self.parked.set(f64::from(matches!(state, ProjectionState::Parked(_))));
        if let Some(health) = &self.health {
            match &state {
                ProjectionState::Parked(event) => health.degraded(event.text()),
                ProjectionState::Retrying { reason } => health.degraded(reason.clone()),
                _ => health.ready(),
            }
        }
        self.status.send_modify(|status| status.state = state);
    }

    /// The session failed: the process cannot read or write.
    pub(super) fn failed(&self, reason: String) {
        if let Some(health) = &self.health {
            health.unready(reason.clone());
        }
        self.status.send_modify(|status| status.state = ProjectionState::Retrying { reason });
    }

    pub(super) fn live(&self, live: bool) {
        self.status.send_modify(|status| status.live = live);
    }

    pub(super) fn applied(&self, events: u64) {
        self.applied.increment(events);
        self.status.send_modify(|status| status.applied += events);
    }

    /// Reports how far the projection is, if `applied` is the id of the last applied event and `last` that of the last one.
    #[allow(clippy::cast_precision_loss)]
    pub(super) fn lag(&self, applied: i64, last: i64, age: Duration) {
        let events = u64::try_from(last.saturating_sub(applied)).unwrap_or(0);
        self.lag.set(events as f64);
        self.lag_seconds.set(age.as_secs_f64());
        self.status.send_modify(|status| {
            status.lag_events = events;
            status.lag = age;
            status.progress = if events == 0 { 1.0 } else { applied as f64 / last as f64 };
        });
    }

    /// Another process reports the lag.
    pub(super) fn standby(&self) {
        self.lag.set(0.0);
        self.lag_seconds.set(0.0);
        self.status.send_modify(|status| (status.lag_events, status.lag) = (0, Duration::ZERO));
        self.state(ProjectionState::Standby);
    }
}
