//! A session's queue: bounded in bytes and in frames, filled by publishers, drained by the session.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use axum::extract::ws::Utf8Bytes;
use tokio::sync::Notify;

use super::Meters;
use crate::close::Close;

/// Filling it never waits: a frame beyond the bound ends the session instead. Frames count until they
/// are written, not until they are taken.
pub(crate) struct Outbound {
    state: Mutex<State>,
    wake: Notify,
    bytes: AtomicUsize,
    frames: AtomicUsize,
    max_bytes: usize,
    max_frames: usize,
    meters: Arc<Meters>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Utf8Bytes>,
    close: Option<Close>,
}

/// What a session does next.
pub(crate) enum Next {
    Write(VecDeque<Utf8Bytes>),
    Close(Close),
}

impl Outbound {
    pub(crate) fn new(max_bytes: usize, max_frames: usize, meters: Arc<Meters>) -> Self {
        let (bytes, frames) = Default::default();
        Self { state: Mutex::default(), wake: Notify::new(), bytes, frames, max_bytes, max_frames, meters }
    }

    /// Puts `frame` behind the others, or ends the session where there is no room.
    pub(crate) fn push(&self, frame: &Utf8Bytes) {
        let mut state = self.lock();
        if state.close.is_some() {
            return;
        }
        let len = frame.as_str().len();
        let fits =
            self.bytes.load(Relaxed) + len <= self.max_bytes && self.frames.load(Relaxed) < self.max_frames;
        if !fits {
            state.close = Some(Close::TOO_SLOW);
            // What waits would only be late; the client is told to read it elsewhere.
            std::mem::take(&mut state.waiting).iter().for_each(|frame| self.written(frame));
            self.wake.notify_one();
            return;
        }
        self.bytes.fetch_add(len, Relaxed);
        self.frames.fetch_add(1, Relaxed);
        self.meters.queued(len);
        state.waiting.push_back(frame.clone());
        // The session sees everything that waits once it is awake.
        if state.waiting.len() == 1 {
            self.wake.notify_one();
        }
    }

    /// Ends the session once what waits is written.
    pub(crate) fn close(&self, close: Close) {
        self.lock().close.get_or_insert(close);
        self.wake.notify_one();
    }

    /// Takes all that waits; the end of the session when nothing does and it has been asked for.
    pub(crate) async fn next(&self) -> Next {
        loop {
            {
                let mut state = self.lock();
                if !state.waiting.is_empty() {
                    return Next::Write(std::mem::take(&mut state.waiting));
                }
                if let Some(close) = state.close {
                    return Next::Close(close);
                }
            }
            self.wake.notified().await;
        }
    }

    /// Resolves when the bound was broken. Must not run beside [`Self::next`]: one of them is woken.
    pub(crate) async fn overflowed(&self) -> Close {
        while self.lock().close != Some(Close::TOO_SLOW) {
            self.wake.notified().await;
        }
        Close::TOO_SLOW
    }

    /// Frees the room of a frame that has been handed to the socket.
    pub(crate) fn written(&self, frame: &Utf8Bytes) {
        let len = frame.as_str().len();
        self.bytes.fetch_sub(len, Relaxed);
        self.frames.fetch_sub(1, Relaxed);
        self.meters.dequeued(len);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Outbound {
    fn drop(&mut self) {
        self.meters.dequeued(self.bytes.load(Relaxed));
    }
}
