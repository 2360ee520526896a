//! The reports of ejections and returns: log, metrics and listeners, in the order of the changes.

use super::OutlierDetector;
use crate::{sync::PoisonError, telemetry};

pub(super) type Listener = std::sync::Arc<dyn Fn(&OutlierChange) + Send + Sync>;

/// The ejection of a host, or its return to rotation.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OutlierChange {
    /// The name of the host.
    pub host: std::sync::Arc<str>,
    /// The rule that ejected the host. `None`: the host is in rotation again.
    pub ejected: Option<EjectionReason>,
}

/// The rule that ejected a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EjectionReason {
    /// The success rate is far below that of the other hosts.
    SuccessRate,
    /// Most calls failed.
    FailurePercentage,
    /// The last calls failed, one after the other.
    ConsecutiveFailures,
}

impl EjectionReason {
    /// Returns the value of the `reason` label of metrics, for example `success_rate`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SuccessRate => "success_rate",
            Self::FailurePercentage => "failure_percentage",
            Self::ConsecutiveFailures => "consecutive_failures",
        }
    }
}

impl OutlierDetector {
    /// Reports the changes that are not reported yet. If another thread is reporting, that thread reports them.
    pub(super) fn report_changes(&self) {
        let Some(mut turn) = Turn::begin(self) else { return };
        while let Some(change) = turn.next() {
            self.report(&change);
            let listeners = self.0.listeners.lock().unwrap_or_else(PoisonError::into_inner).clone();
            listeners.iter().for_each(|listener| listener(&change));
        }
    }

    fn report(&self, change: &OutlierChange) {
        let (name, host) = (self.0.name, &*change.host);
        match change.ejected {
            Some(reason) => {
                let reason = reason.as_str();
                tracing::warn!(service = name, host, reason, "host ejected from rotation");
                metrics::counter!(telemetry::OUTLIER_EJECTIONS, "name" => name, "reason" => reason)
                    .increment(1);
            }
            None => tracing::info!(service = name, host, "host returned to rotation"),
        }
    }
}

/// The right of one thread to report changes. A listener that panics gives it back.
struct Turn<'a> {
    detector: &'a OutlierDetector,
    ended: bool,
}

impl<'a> Turn<'a> {
    fn begin(detector: &'a OutlierDetector) -> Option<Self> {
        let was_reporting = std::mem::replace(&mut detector.lock().is_reporting, true);
        (!was_reporting).then_some(Self { detector, ended: false })
    }

    /// Returns the next change, or ends the turn: a later change begins a turn of its own.
    fn next(&mut self) -> Option<OutlierChange> {
        let mut state = self.detector.lock();
        let change = state.unreported.pop_front();
        (self.ended, state.is_reporting) = (change.is_none(), change.is_some());
        change
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.detector.lock().is_reporting = false;
        }
    }
}
