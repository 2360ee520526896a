//! What a policy measures: handles made once, because looking one up by name costs more than the call's guards.

use metrics::{Counter, Histogram};
use std::{sync::OnceLock, time::Duration};

use crate::{
    ErrorKind,
    resilience::{Guard, retry::Denied},
    telemetry,
};

/// The handles of one policy. Each is made at its first use: install the recorder before the first call.
pub(super) struct Meter {
    name: &'static str,
    success: OnceLock<Histogram>,
    failures: [OnceLock<Histogram>; ErrorKind::ALL.len()],
    retries: OnceLock<Counter>,
    denied: [OnceLock<Counter>; 4],
    rejected: [OnceLock<Counter>; 6],
}

impl Meter {
    pub(super) fn new(name: &'static str) -> Self {
        Self {
            name,
            success: OnceLock::new(),
            failures: Default::default(),
            retries: OnceLock::new(),
            denied: Default::default(),
            rejected: Default::default(),
        }
    }

    /// Records a call that has ended, with the kind of its failure if it failed.
    pub(super) fn call(&self, failure: Option<ErrorKind>, took: Duration) {
        let (slot, outcome) = match failure {
            None => (&self.success, "success"),
            Some(kind) => (&self.failures[kind as usize], kind.as_str()),
        };
        slot.get_or_init(
            || metrics::histogram!(telemetry::CALL_DURATION, "name" => self.name, "outcome" => outcome),
        )
        .record(took.as_secs_f64());
    }

    pub(super) fn retry(&self) {
        let handle = || metrics::counter!(telemetry::CALL_RETRIES, "name" => self.name);
        self.retries.get_or_init(handle).increment(1);
    }

    pub(super) fn denied(&self, denied: Denied) {
        let reason = denied.as_str();
        let handle =
            || metrics::counter!(telemetry::CALL_RETRIES_DENIED, "name" => self.name, "reason" => reason);
        self.denied[denied as usize].get_or_init(handle).increment(1);
    }

    pub(super) fn rejected(&self, guard: Guard) {
        let label = guard.as_str();
        let handle = || metrics::counter!(telemetry::CALL_REJECTIONS, "name" => self.name, "guard" => label);
        self.rejected[guard as usize].get_or_init(handle).increment(1);
    }
}
