//! How long a call took and how it ended, recorded once, when the call's last part is dropped.

use std::{sync::Arc, time::Instant};

use comms_core::clock::Clock;
use http::HeaderMap;
use metrics::Label;
use tonic::{Code, Status};

use crate::status::code_name;

/// The measurement of one call. Without a recorded end the call was dropped: CANCELLED.
#[derive(Debug)]
pub(crate) struct Measure {
    metric: &'static str,
    /// `None` until the name is known to be a method: a label must not be what a stranger sends.
    method: Option<String>,
    peer: Option<Arc<str>>,
    code: Option<Code>,
    started: Instant,
    clock: Clock,
}

impl Measure {
    pub(crate) fn start(metric: &'static str, clock: &Clock) -> Self {
        Self { metric, method: None, peer: None, code: None, started: clock.now(), clock: clock.clone() }
    }

    pub(crate) fn method(&mut self, path: &str) {
        self.method = Some(path.trim_start_matches('/').to_owned());
    }

    pub(crate) fn peer(&mut self, peer: &Arc<str>) {
        self.peer = Some(peer.clone());
    }

    #[cfg(feature = "server")]
    pub(crate) fn code(&self) -> Option<Code> {
        self.code
    }

    pub(crate) fn ended(&mut self, code: Code) {
        self.code = Some(code);
    }

    /// Takes the status from trailers, or from the headers of a response that has nothing else.
    pub(crate) fn ended_by(&mut self, trailers: &HeaderMap) {
        self.code = trailers.get(Status::GRPC_STATUS).map(|v| Code::from_bytes(v.as_bytes())).or(self.code);
    }

    /// A response that ends without a status: UNKNOWN.
    pub(crate) fn ended_without_trailers(&mut self) {
        self.code.get_or_insert(Code::Unknown);
    }
}

impl Drop for Measure {
    fn drop(&mut self) {
        let method = self.method.take().map_or_else(|| "_OTHER".into(), metrics::SharedString::from);
        let mut labels = vec![
            Label::new("rpc.method", method),
            Label::from_static_parts(
                "rpc.response.status_code",
                code_name(self.code.unwrap_or(Code::Cancelled)),
            ),
        ];
        if let Some(peer) = self.peer.take() {
            labels.push(Label::new("server.address", peer));
        }
        let took = self.clock.now().saturating_duration_since(self.started);
        metrics::histogram!(self.metric, labels).record(took.as_secs_f64());
    }
}
