//! Counters of one connection. The socket, the requests and the responses write them; the watchdog in the task of the
//! connection reads them.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
    task::Waker,
};

/// The number of open operations, and a number that changes with each step of progress of one of them.
#[derive(Debug, Default)]
pub(super) struct ProgressCounter {
    open: AtomicU32,
    steps: AtomicU32,
}

impl ProgressCounter {
    /// Counts an operation as open. Returns whether it is the only one.
    pub(super) fn begin(&self) -> bool {
        self.open.fetch_add(1, Relaxed) == 0
    }

    /// Records progress.
    pub(super) fn step(&self) {
        self.steps.fetch_add(1, Relaxed);
    }

    /// Counts an operation as ended. The end of the last open operation is progress.
    pub(super) fn end(&self) {
        if self.open.fetch_sub(1, Relaxed) == 1 {
            self.step();
        }
    }

    pub(super) fn open(&self) -> u32 {
        self.open.load(Relaxed)
    }

    pub(super) fn steps(&self) -> u32 {
        self.steps.load(Relaxed)
    }
}

/// The activity of one connection.
///
/// Loads and stores are relaxed. A change that starts a time limit also wakes the task of the connection, which orders
/// the change before the next read.
#[derive(Debug, Default)]
pub(super) struct Activity {
    /// Requests in flight: from the end of the request head to the end of the response body.
    pub(super) requests: ProgressCounter,
    /// Chunks of response bodies that are not completely written. A write of bytes of a chunk is progress.
    pub(super) chunks: ProgressCounter,
    /// Writes that the socket does not accept, 0 or 1. A write that the socket accepts is progress.
    pub(super) blocked_writes: ProgressCounter,
    /// Request bodies that a handler waits for. A frame that arrives is progress.
    pub(super) uploads: ProgressCounter,
    /// Whether the peer can speak no other protocol than HTTP/2.
    requires_http2: AtomicBool,
    http2: AtomicBool,
    reset: AtomicBool,
    between_requests: AtomicBool,
    /// Whether a handler left a part of its request unread.
    unread: AtomicBool,
    lingering: AtomicBool,
    shutting_down: AtomicBool,
    /// The waker of the connection's task.
    waker: OnceLock<Waker>,
}

impl Activity {
    /// Sets the waker of the connection's task, for [`Self::wake`].
    pub(super) fn set_waker(&self, waker: &Waker) {
        self.waker.get_or_init(|| waker.clone());
    }

    /// Wakes the connection's task, so that the watchdog reads the counters again.
    ///
    /// The tasks of HTTP/2 streams call this, because nothing else polls a connection on which no frame moves. HTTP/1
    /// requests are polled by the connection's task.
    pub(super) fn wake(&self) {
        if self.is_http2()
            && let Some(waker) = self.waker.get()
        {
            waker.wake_by_ref();
        }
    }

    /// Records that the listener shuts down.
    pub(super) fn shut_down(&self) {
        self.shutting_down.store(true, Relaxed);
    }

    /// Records that the peer can speak no other protocol than HTTP/2.
    pub(super) fn require_http2(&self) {
        self.requires_http2.store(true, Relaxed);
    }

    /// Returns whether the HTTP/2 handshake has still to come. A peer that sends its first request with the handshake needs
    /// a GOAWAY before the connection is closed, which proves that the request was not executed.
    pub(super) fn awaits_http2(&self) -> bool {
        self.requires_http2.load(Relaxed) && !self.is_http2()
    }

    /// Records that the HTTP/2 handshake is complete.
    pub(super) fn complete_handshake(&self) {
        self.http2.store(true, Relaxed);
    }

    /// Returns whether the HTTP/2 handshake is complete.
    pub(super) fn is_http2(&self) -> bool {
        self.http2.load(Relaxed)
    }

    /// Requests that the socket is closed by a reset, so that the kernel keeps no data for a peer that does not read.
    pub(super) fn request_reset(&self) {
        self.reset.store(true, Relaxed);
    }

    pub(super) fn is_reset_requested(&self) -> bool {
        self.reset.load(Relaxed)
    }

    /// Records that bytes of the peer arrived.
    pub(super) fn receive(&self) {
        if self.is_between_requests() {
            self.between_requests.store(false, Relaxed);
        }
    }

    /// Returns whether a response has ended and the peer has sent nothing since.
    pub(super) fn is_between_requests(&self) -> bool {
        self.between_requests.load(Relaxed)
    }

    /// Records that a handler left a part of its request unread.
    pub(super) fn leave_unread(&self) {
        self.unread.store(true, Relaxed);
    }

    /// Records that the sending side is closed. A lingering close follows if a handler left a part of its request
    /// unread, and for HTTP/2: a call that crosses the GOAWAY would otherwise reset the socket, and the peer would lose
    /// the GOAWAY, which proves that the call was not executed.
    pub(super) fn close_writes(&self) {
        self.receive();
        self.lingering.store(self.is_http2() || self.unread.load(Relaxed), Relaxed);
    }

    /// Returns whether the connection only discards what the peer still sends.
    pub(super) fn is_lingering(&self) -> bool {
        self.lingering.load(Relaxed)
    }

    /// Returns whether no request is in flight and no response data is unwritten.
    pub(super) fn is_idle(&self) -> bool {
        self.requests.open() == 0 && self.chunks.open() == 0 && self.blocked_writes.open() == 0
    }
}

/// A request in flight, counted until it is dropped.
#[derive(Debug)]
pub(super) struct RequestGuard(Arc<Activity>);

impl RequestGuard {
    pub(super) fn begin(activity: &Arc<Activity>) -> Self {
        activity.requests.begin();
        Self(activity.clone())
    }

    pub(super) fn activity(&self) -> &Arc<Activity> {
        &self.0
    }
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        self.0.between_requests.store(true, Relaxed);
        self.0.requests.end();
        // The end of a request starts a limit in two cases: all remaining requests wait for their bodies, or the
        // listener shuts down.
        if self.0.uploads.open() > 0 || self.0.shutting_down.load(Relaxed) {
            self.0.wake();
        }
    }
}
