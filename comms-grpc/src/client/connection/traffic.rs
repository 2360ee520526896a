//! What a connection has sent and received.

use std::{
    sync::{
        OnceLock,
        atomic::{
            AtomicU32, AtomicU64,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
    time::{Duration, Instant},
};

use comms_core::clock::Clock;
use tokio::sync::Notify;

/// The traffic of one connection. The byte stream of the connection writes it.
#[derive(Debug)]
pub(super) struct Traffic {
    opened: Instant,
    clock: Clock,
    /// The id of the newest stream whose headers may have left this process. h2 writes the headers of streams in the order
    /// of their ids, as HTTP/2 requires (RFC 9113, section 5.1.1).
    newest_stream: AtomicU32,
    /// The time of the last read, in nanoseconds since `opened`.
    last_read: AtomicU64,
    /// Why this process has given the connection up.
    given_up: OnceLock<String>,
    give_up: Notify,
}

impl Traffic {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            opened: clock.now(),
            clock,
            newest_stream: AtomicU32::new(0),
            last_read: AtomicU64::new(0),
            given_up: OnceLock::new(),
            give_up: Notify::new(),
        }
    }

    /// Records that the headers of `stream` may have left this process.
    pub(super) fn send_headers(&self, stream: u32) {
        self.newest_stream.store(stream, Release);
    }

    /// Returns whether the headers of `stream` may have left this process.
    pub(super) fn has_sent(&self, stream: u32) -> bool {
        self.newest_stream.load(Acquire) >= stream
    }

    /// Records that bytes of the peer arrived.
    pub(super) fn receive(&self) {
        let since = self.clock.now().saturating_duration_since(self.opened);
        self.last_read.store(since.as_nanos() as u64, Relaxed);
    }

    /// Returns when bytes of the peer arrived last.
    pub(super) fn last_read(&self) -> Instant {
        self.opened + Duration::from_nanos(self.last_read.load(Relaxed))
    }

    /// Ends the connection, because the peer does not answer. The calls of the connection report `reason`.
    pub(super) fn give_up(&self, reason: String) {
        let _ = self.given_up.set(reason);
        self.give_up.notify_one();
    }

    /// Resolves when the connection was given up.
    pub(super) async fn gave_up(&self) {
        self.give_up.notified().await;
    }

    /// Returns why the connection was given up, if it was.
    pub(super) fn reason(&self) -> Option<&str> {
        self.given_up.get().map(String::as_str)
    }
}
