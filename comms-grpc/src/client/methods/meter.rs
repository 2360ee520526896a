//! The duration and the status code of a call, recorded once, when the last part of the call is dropped.

use std::{
    sync::{Arc, OnceLock},
    time::Instant,
};

use comms_core::{clock::Clock, telemetry};
use http::HeaderMap;
use metrics::{Histogram, Label};
use tonic::{Code, Status};

use crate::status::code_name;

/// The codes of gRPC, 0 to 16.
const CODES: usize = 17;

/// The histograms of one method. A handle is created at its first use, with the recorder installed at that time: install
/// the recorder before the first call.
pub(super) struct MethodMeter {
    method: Arc<str>,
    peer: Arc<str>,
    durations: [OnceLock<Histogram>; CODES],
}

impl MethodMeter {
    pub(super) fn new(path: &str, peer: &Arc<str>) -> Self {
        let method = path.trim_start_matches('/').into();
        Self { method, peer: peer.clone(), durations: Default::default() }
    }

    fn histogram(&self, code: Code) -> Histogram {
        let labels = || {
            vec![
                Label::new("rpc.method", self.method.clone()),
                Label::from_static_parts("rpc.response.status_code", code_name(code)),
                Label::new("server.address", self.peer.clone()),
            ]
        };
        let new = || metrics::histogram!(telemetry::RPC_CLIENT_DURATION, labels());
        match self.durations.get(code as usize) {
            Some(slot) => slot.get_or_init(new).clone(),
            None => new(),
        }
    }
}

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
        self.code = headers.get(Status::GRPC_STATUS).map(|v| Code::from_bytes(v.as_bytes())).or(self.code);
    }

    /// Sets UNKNOWN if the response ended without a status.
    pub(in crate::client) fn end_of_stream(&mut self) {
        self.code.get_or_insert(Code::Unknown);
    }
}

impl Drop for CallMeter {
    fn drop(&mut self) {
        let duration = self.clock.now().saturating_duration_since(self.started);
        let code = self.code.unwrap_or(Code::Cancelled);
        self.method.histogram(code).record(duration.as_secs_f64());
    }
}
