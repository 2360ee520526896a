//! The measurement of a call of a channel.

use std::{sync::Arc, time::Instant};

use comms_core::clock::Clock;
use http::HeaderMap;
use tonic::Code;

use crate::method_meter::{MethodMeter, code_of};

/// The measurement of one call, recorded on drop. A call that is dropped before a code was set counts as CANCELLED.
pub(in crate::client) struct CallMeter {
    method: Arc<MethodMeter>,
    code: Option<Code>,
    started: Instant,
    clock: Clock,
}

impl CallMeter {
    pub(super) fn start(method: Arc<MethodMeter>, clock: &Clock) -> Self {
        Self { method, code: None, started: clock.now(), clock: clock.clone() }
    }

    pub(in crate::client) const fn started(&self) -> Instant {
        self.started
    }

    pub(in crate::client) const fn set_code(&mut self, code: Code) {
        self.code = Some(code);
    }

    /// Takes the code from trailers, or from the headers of a response without a body. Headers without a status change
    /// nothing.
    pub(in crate::client) fn set_code_from(&mut self, headers: &HeaderMap) {
        self.code = code_of(headers).or(self.code);
    }

    /// Sets UNKNOWN if the response ended without a status.
    pub(in crate::client) fn end_of_stream(&mut self) {
        self.code.get_or_insert(Code::Unknown);
    }
}

impl Drop for CallMeter {
    fn drop(&mut self) {
        let duration = self.clock.now().saturating_duration_since(self.started);
        self.method.record(self.code.unwrap_or(Code::Cancelled), duration);
    }
}
