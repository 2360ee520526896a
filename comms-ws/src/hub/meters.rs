//! The metrics of the hub. Their handles are created once, because deliveries update them.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use comms_core::telemetry;
use metrics::{Counter, Gauge};

pub(crate) struct Meters {
    sessions: Gauge,
    delivered: Counter,
    slow_closed: Counter,
    queued_gauge: Gauge,
    queued: AtomicUsize,
}

impl Meters {
    pub(super) fn new() -> Self {
        Self {
            sessions: metrics::gauge!(telemetry::WS_SESSIONS),
            delivered: metrics::counter!(telemetry::WS_DELIVERED),
            slow_closed: metrics::counter!(telemetry::WS_SLOW_CLOSED),
            queued_gauge: metrics::gauge!(telemetry::WS_QUEUED_BYTES),
            queued: AtomicUsize::new(0),
        }
    }

    pub(super) fn sessions(&self, open: usize) {
        self.sessions.set(open as f64);
    }

    pub(super) fn queued(&self, bytes: usize) {
        self.queued.fetch_add(bytes, Relaxed);
    }

    pub(super) fn dequeued(&self, bytes: usize) {
        self.queued.fetch_sub(bytes, Relaxed);
    }

    pub(super) fn queued_bytes(&self) -> usize {
        self.queued.load(Relaxed)
    }

    pub(crate) fn delivered(&self, frames: usize) {
        self.delivered.increment(frames as u64);
        self.queued_gauge.set(self.queued_bytes() as f64);
    }

    pub(crate) fn slow_closed(&self) {
        self.slow_closed.increment(1);
    }
}
