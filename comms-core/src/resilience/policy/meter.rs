//! The metrics of a policy. Handles are cached, because a look-up by name costs more than all guards of a call.

use metrics::{Counter, Histogram};
use std::{sync::OnceLock, time::Duration};

use crate::{
    ErrorKind,
    resilience::{Guard, retry::DenialReason},
    telemetry,
};

/// The metric handles of one policy. A handle is created at its first use, with the recorder installed at that time:
/// install the recorder before the first call.
pub(super) struct Meter {
    name: &'static str,
    success: OnceLock<Histogram>,
    failures: [OnceLock<Histogram>; ErrorKind::ALL.len()],
    retries: OnceLock<Counter>,
    denials: [OnceLock<Counter>; 4],
    rejections: [OnceLock<Counter>; 7],
}

impl Meter {
    pub(super) fn new(name: &'static str) -> Self {
        Self {
            name,
            success: OnceLock::new(),
            failures: Default::default(),
            retries: OnceLock::new(),
            denials: Default::default(),
            rejections: Default::default(),
        }
    }

    /// Records the duration of a finished call; `failure` is the kind of its error.
    pub(super) fn record_call(&self, failure: Option<ErrorKind>, duration: Duration) {
        let (slot, outcome) = match failure {
            None => (&self.success, "success"),
            Some(kind) => (&self.failures[kind as usize], kind.as_str()),
        };
        slot.get_or_init(
            || metrics::histogram!(telemetry::CALL_DURATION, "name" => self.name, "outcome" => outcome),
        )
        .record(duration.as_secs_f64());
    }

    pub(super) fn count_retry(&self) {
        let handle = || metrics::counter!(telemetry::CALL_RETRIES, "name" => self.name);
        self.retries.get_or_init(handle).increment(1);
    }

    pub(super) fn count_denial(&self, reason: DenialReason) {
        let label = reason.as_str();
        let handle =
            || metrics::counter!(telemetry::CALL_RETRIES_DENIED, "name" => self.name, "reason" => label);
        self.denials[reason as usize].get_or_init(handle).increment(1);
    }

    pub(super) fn count_rejection(&self, guard: Guard) {
        let label = guard.as_str();
        let handle = || metrics::counter!(telemetry::CALL_REJECTIONS, "name" => self.name, "guard" => label);
        self.rejections[guard as usize].get_or_init(handle).increment(1);
    }
}
