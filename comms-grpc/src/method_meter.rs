//! The durations of the calls of one method, by status code.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use http::HeaderMap;
use metrics::{Histogram, Label};
use tonic::{Code, Status};

use crate::status::code_name;

/// The codes of gRPC, 0 to 16.
const CODES: usize = 17;

/// The histograms of one method. A handle is created at its first use, with the recorder installed at that time: install
/// the recorder before the first call.
pub(crate) struct MethodMeter {
    histogram: &'static str,
    method: Arc<str>,
    peer: Option<Arc<str>>,
    durations: [OnceLock<Histogram>; CODES],
}

impl MethodMeter {
    /// Returns the meter of the method at `path`, with the address of the peer as a label if there is one.
    pub(crate) fn new(histogram: &'static str, path: &str, peer: Option<Arc<str>>) -> Self {
        let method = path.trim_start_matches('/').into();
        Self { histogram, method, peer, durations: Default::default() }
    }

    pub(crate) fn record(&self, code: Code, duration: Duration) {
        let seconds = duration.as_secs_f64();
        match self.durations.get(code as usize) {
            Some(slot) => slot.get_or_init(|| self.register(code)).record(seconds),
            None => self.register(code).record(seconds),
        }
    }

    fn register(&self, code: Code) -> Histogram {
        let mut labels = vec![
            Label::new("rpc.method", self.method.clone()),
            Label::from_static_parts("rpc.response.status_code", code_name(code)),
        ];
        labels.extend(self.peer.clone().map(|peer| Label::new("server.address", peer)));
        metrics::histogram!(self.histogram, labels)
    }
}

/// Returns the code of the status in `headers` or trailers.
pub(crate) fn code_of(headers: &HeaderMap) -> Option<Code> {
    headers.get(Status::GRPC_STATUS).map(|value| Code::from_bytes(value.as_bytes()))
}
