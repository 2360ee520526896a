//! The duration and the status code of a call, recorded once, when the last part of the call is dropped.

use std::{fmt, sync::Arc, time::Instant};

use comms_core::clock::Clock;
use http::HeaderMap;
use tonic::Code;

use super::method_labels::{Label, MethodLabels};
use crate::method_meter::{MethodMeter, code_of};

/// The meters of a server or of a layer.
pub(super) struct Meters {
    histogram: &'static str,
    labels: MethodLabels,
    other: MethodMeter,
}

impl Meters {
    pub(super) fn new(histogram: &'static str) -> Self {
        let other = MethodMeter::new(histogram, "_OTHER", None);
        Self { histogram, labels: MethodLabels::new(histogram), other }
    }

    /// Starts the measurement of a call to the method at `path`, which may be no method of this server.
    pub(super) fn start(self: &Arc<Self>, path: &str, clock: &Clock) -> CallMetrics {
        let method = self.labels.get(path).map_or_else(|| Method::New(path.into()), Method::Known);
        let (started, clock) = (clock.now(), clock.clone());
        CallMetrics { meters: self.clone(), method, is_label: false, code: None, started, clock }
    }
}

impl fmt::Debug for Meters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meters").field("histogram", &self.histogram).finish_non_exhaustive()
    }
}

enum Method {
    Known(Arc<Label>),
    /// The path of a method without a label.
    New(Box<str>),
}

/// The measurement of one call, recorded on drop. A call that is dropped before a code was set counts as CANCELLED.
pub(super) struct CallMetrics {
    meters: Arc<Meters>,
    method: Method,
    /// Whether the call is recorded under its method.
    is_label: bool,
    code: Option<Code>,
    started: Instant,
    clock: Clock,
}

impl CallMetrics {
    /// Records the call under its method, if the method is a label. Without this call, the method is `_OTHER`. `answered`: a
    /// handler has answered the call.
    pub(super) fn set_method(&mut self, answered: bool) {
        let labels = &self.meters.labels;
        match &self.method {
            Method::Known(label) => labels.prove(label, answered),
            Method::New(path) => match labels.admit(path, answered) {
                Some(label) => self.method = Method::Known(label),
                None => return,
            },
        }
        self.is_label = true;
    }

    /// Records the call under its method if the method already is a label, for a call that no handler has answered: a peer can
    /// send any path.
    pub(super) const fn set_known_method(&mut self) {
        self.is_label = matches!(self.method, Method::Known(_));
    }

    pub(super) const fn code(&self) -> Option<Code> {
        self.code
    }

    pub(super) const fn set_code(&mut self, code: Code) {
        self.code = Some(code);
    }

    /// Takes the code from trailers, or from the headers of a response without a body. Headers without a status change
    /// nothing.
    pub(super) fn set_code_from(&mut self, headers: &HeaderMap) {
        self.code = code_of(headers).or(self.code);
    }

    /// Sets UNKNOWN if the response ended without a status.
    pub(super) fn end_of_stream(&mut self) {
        self.code.get_or_insert(Code::Unknown);
    }
}

impl Drop for CallMetrics {
    fn drop(&mut self) {
        let duration = self.clock.now().saturating_duration_since(self.started);
        let meter = match &self.method {
            Method::Known(label) if self.is_label => label.meter(),
            _ => &self.meters.other,
        };
        meter.record(self.code.unwrap_or(Code::Cancelled), duration);
    }
}
