//! What happens on one connection, counted by its socket, its requests and its responses, and read by the connection's task.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
    task::Waker,
};

/// How many are open of something, and a number that changes with each step of one of them.
#[derive(Debug, Default)]
pub(super) struct Count {
    open: AtomicU32,
    steps: AtomicU32,
}

impl Count {
    /// Begins one. Returns whether it is the only one.
    pub(super) fn begin(&self) -> bool {
        self.open.fetch_add(1, Relaxed) == 0
    }

    pub(super) fn step(&self) {
        self.steps.fetch_add(1, Relaxed);
    }

    /// Ends one. The end of the last one is a step.
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

/// The state of a connection. Stores are relaxed: a change that begins a limit wakes the connection's task, which orders them.
#[derive(Debug, Default)]
pub(super) struct Activity {
    /// Requests between their head and the end of their response body.
    pub(super) calls: Count,
    /// Chunks of response bodies that are not written; a step is a chunk of which bytes were written.
    pub(super) chunks: Count,
    /// Writes that the socket does not accept, 0 or 1; a step is a write that it did accept.
    pub(super) writes: Count,
    /// Request bodies that a handler waits for; a step is a frame that arrived.
    pub(super) uploads: Count,
    http2: AtomicBool,
    reset: AtomicBool,
    /// Whether a response has ended, and the peer has sent nothing since.
    between: AtomicBool,
    /// Whether a handler left a part of its request unread.
    unread: AtomicBool,
    /// Whether the sending side is closed, while the peer sends what was not read.
    lingers: AtomicBool,
    ending: AtomicBool,
    /// Of the connection's task.
    waker: OnceLock<Waker>,
}

impl Activity {
    /// Lets [`Self::wake`] wake the connection's task.
    pub(super) fn watched_by(&self, waker: &Waker) {
        self.waker.get_or_init(|| waker.clone());
    }

    /// Wakes the connection's task, so that it reads the counts. The task of an HTTP/2 stream calls it: a connection on which
    /// no frame moves has no other cause to be polled. The requests of HTTP/1 are polled by the connection's task itself.
    pub(super) fn wake(&self) {
        if self.is_http2()
            && let Some(waker) = self.waker.get()
        {
            waker.wake_by_ref();
        }
    }

    /// The listener ends.
    pub(super) fn end(&self) {
        self.ending.store(true, Relaxed);
    }

    /// The HTTP/2 handshake is complete.
    pub(super) fn complete_handshake(&self) {
        self.http2.store(true, Relaxed);
    }

    /// Whether the HTTP/2 handshake is complete.
    pub(super) fn is_http2(&self) -> bool {
        self.http2.load(Relaxed)
    }

    /// Lets the socket be closed by a reset, so that the kernel keeps nothing for a peer that does not read.
    pub(super) fn reset(&self) {
        self.reset.store(true, Relaxed);
    }

    pub(super) fn is_reset(&self) -> bool {
        self.reset.load(Relaxed)
    }

    /// Bytes of the peer arrived.
    pub(super) fn receive(&self) {
        if self.is_between() {
            self.between.store(false, Relaxed);
        }
    }

    /// Whether a response has ended, and the peer has sent nothing since.
    pub(super) fn is_between(&self) -> bool {
        self.between.load(Relaxed)
    }

    /// A handler left a part of its request unread.
    pub(super) fn leave_unread(&self) {
        self.unread.store(true, Relaxed);
    }

    /// The sending side is closed; the peer may still send what no handler has read.
    pub(super) fn linger(&self) {
        self.receive();
        self.lingers.store(self.unread.load(Relaxed) && !self.is_http2(), Relaxed);
    }

    pub(super) fn lingers(&self) -> bool {
        self.lingers.load(Relaxed)
    }

    /// Whether no request is in flight and no response is waiting to be written.
    pub(super) fn is_idle(&self) -> bool {
        self.calls.open() == 0 && self.chunks.open() == 0 && self.writes.open() == 0
    }
}

/// A request in flight.
#[derive(Debug)]
pub(super) struct Call(Arc<Activity>);

impl Call {
    pub(super) fn begin(activity: &Arc<Activity>) -> Self {
        activity.calls.begin();
        Self(activity.clone())
    }

    pub(super) fn activity(&self) -> &Arc<Activity> {
        &self.0
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.0.between.store(true, Relaxed);
        self.0.calls.end();
        // The end of a call begins a limit only for those that are left and wait for their bodies, and at the end.
        if self.0.uploads.open() > 0 || self.0.ending.load(Relaxed) {
            self.0.wake();
        }
    }
}
