//! The duration and the status code of a call, recorded once, when the last part of the call is dropped.

use std::time::Instant;

use comms_core::clock::Clock;
use http::HeaderMap;
use metrics::Label;
use tonic::{Code, Status};

use crate::status::code_name;

/// The measurement of one call, recorded on drop. A call that is dropped before a code was set counts as CANCELLED.
#[derive(Debug)]
pub(crate) struct CallMetrics {
    histogram: &'static str,
    /// `None` until the path is known to be a method of this server, so that a peer cannot create label values.
    method: Option<String>,
    code: Option<Code>,
    started: Instant,
    clock: Clock,
}

impl CallMetrics {
    pub(crate) fn start(histogram: &'static str, clock: &Clock) -> Self {
        Self { histogram, method: None, code: None, started: clock.now(), clock: clock.clone() }
    }

    pub(crate) fn set_method(&mut self, path: &str) {
        self.method = Some(path.trim_start_matches('/').to_owned());
    }

    pub(crate) fn code(&self) -> Option<Code> {
        self.code
    }

    pub(crate) fn set_code(&mut self, code: Code) {
        self.code = Some(code);
    }

    /// Takes the code from trailers, or from the headers of a response without a body. Headers without a status change
    /// nothing.
    pub(crate) fn set_code_from(&mut self, headers: &HeaderMap) {
        self.code = headers.get(Status::GRPC_STATUS).map(|v| Code::from_bytes(v.as_bytes())).or(self.code);
    }

    /// Sets UNKNOWN if the response ended without a status.
    pub(crate) fn end_of_stream(&mut self) {
        self.code.get_or_insert(Code::Unknown);
    }
}

impl Drop for CallMetrics {
    fn drop(&mut self) {
        let method = self.method.take().map_or_else(|| "_OTHER".into(), metrics::SharedString::from);
        let labels = vec![
            Label::new("rpc.method", method),
            Label::from_static_parts(
                "rpc.response.status_code",
                code_name(self.code.unwrap_or(Code::Cancelled)),
            ),
        ];
        let duration = self.clock.now().saturating_duration_since(self.started);
        metrics::histogram!(self.histogram, labels).record(duration.as_secs_f64());
    }
}
