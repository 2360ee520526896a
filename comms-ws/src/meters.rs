//! The metrics of the hub. Their handles are created once, because deliveries update them.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use comms_core::telemetry;
use metrics::{Counter, Gauge};

use crate::{close::Close, message::Encoding, refusal::Refusal};

pub(crate) struct Meters {
    sessions: Gauge,
    direct: AtomicUsize,
    delivered: Counter,
    slow_closed: Counter,
    dropped: Counter,
    joining: Gauge,
    queued_gauge: Gauge,
    full_windows: Gauge,
    queued: AtomicUsize,
    held: AtomicUsize,
}

impl Meters {
    pub(crate) fn new() -> Self {
        Self {
            sessions: metrics::gauge!(telemetry::WS_SESSIONS),
            direct: AtomicUsize::new(0),
            delivered: metrics::counter!(telemetry::WS_DELIVERED),
            slow_closed: metrics::counter!(telemetry::WS_SLOW_CLOSED),
            dropped: metrics::counter!(telemetry::WS_DROPPED),
            joining: metrics::gauge!(telemetry::WS_JOINING),
            queued_gauge: metrics::gauge!(telemetry::WS_QUEUED_BYTES),
            full_windows: metrics::gauge!(telemetry::WS_FULL_WINDOWS),
            queued: AtomicUsize::new(0),
            held: AtomicUsize::new(0),
        }
    }

    pub(crate) fn sessions(&self, open: usize) {
        self.sessions.set(open as f64);
    }

    /// Notes that a session on a bare socket has begun.
    pub(crate) fn direct_opened(&self) {
        self.direct.fetch_add(1, Relaxed);
    }

    pub(crate) fn direct_ended(&self) {
        self.direct.fetch_sub(1, Relaxed);
    }

    /// Returns the number of sessions on bare sockets.
    pub(crate) fn direct(&self) -> usize {
        self.direct.load(Relaxed)
    }

    /// Notes that the queue of a session has `after` bytes in place of `before`.
    pub(crate) fn queued(&self, before: usize, after: usize) {
        match after.checked_sub(before) {
            Some(0) => return,
            Some(more) => drop(self.queued.fetch_add(more, Relaxed)),
            None => drop(self.queued.fetch_sub(before - after, Relaxed)),
        }
        self.queued_gauge.set(self.queued_bytes() as f64);
    }

    pub(crate) fn queued_bytes(&self) -> usize {
        self.queued.load(Relaxed)
    }

    /// Notes that a message occupies `bytes` more.
    pub(crate) fn held(&self, bytes: usize) {
        self.held.fetch_add(bytes, Relaxed);
    }

    pub(crate) fn released(&self, bytes: usize) {
        self.held.fetch_sub(bytes, Relaxed);
    }

    pub(crate) fn held_bytes(&self) -> usize {
        self.held.load(Relaxed)
    }

    pub(crate) fn delivered(&self, frames: usize) {
        self.delivered.increment(frames as u64);
    }

    pub(crate) fn dropped(&self) {
        self.dropped.increment(1);
    }

    /// Notes that a session was opened with `encoding`.
    pub(crate) fn opened(&self, encoding: Encoding) {
        let transport = match encoding {
            Encoding::WebSocket | Encoding::WebSocketDeflate => "websocket",
            Encoding::EventStream => "event_stream",
            Encoding::Json => "other",
        };
        metrics::counter!(telemetry::WS_OPENED, "transport" => transport).increment(1);
    }

    /// Notes that a session was refused.
    pub(crate) fn refused(&self, refusal: Refusal) {
        metrics::counter!(telemetry::WS_REFUSED, "reason" => refusal.label()).increment(1);
    }

    /// Notes that a session has ended. `None`: its client has ended it, or the connection is lost.
    pub(crate) fn closed(&self, close: Option<Close>) {
        if close == Some(Close::TOO_SLOW) {
            self.slow_closed.increment(1);
        }
        let code = close.map_or_else(|| "none".to_owned(), |close| close.code.to_string());
        metrics::counter!(telemetry::WS_CLOSED, "code" => code).increment(1);
    }

    /// Notes that a session begins to join a topic.
    pub(crate) fn join_begins(&self) {
        self.joining.increment(1.0);
    }

    /// Notes that a session takes part in a topic, or has left it before.
    pub(crate) fn join_ends(&self) {
        self.joining.decrement(1.0);
    }

    /// Counts a subscription whose window is full, until the result is dropped.
    pub(crate) fn full_window(&self) -> FullWindow {
        self.full_windows.increment(1.0);
        FullWindow(self.full_windows.clone())
    }
}

/// A subscription whose window is full.
pub(crate) struct FullWindow(Gauge);

impl Drop for FullWindow {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}
