//! The bounded queue of a session. Publishers fill it, the task of the session drains it, and a session whose queue is
//! full is closed as too slow.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use axum::extract::ws::Utf8Bytes;
use tokio::sync::Notify;

use super::meters::Meters;
use crate::close::Close;

/// The queue of a session.
///
/// A push never blocks: a frame over the limit closes the session instead. A frame counts towards the limit until it is
/// written, not only until it is taken from the queue.
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

/// The next action of a session.
pub(crate) enum Next {
    Write(VecDeque<Utf8Bytes>),
    Close(Close),
}

impl Outbound {
    pub(crate) fn new(max_bytes: usize, max_frames: usize, meters: Arc<Meters>) -> Self {
        let (bytes, frames) = Default::default();
        Self { state: Mutex::default(), wake: Notify::new(), bytes, frames, max_bytes, max_frames, meters }
    }

    /// Appends `frame`, or closes the session if the frame exceeds a limit.
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
            // The queued frames are dropped. The close code requests the client to read by REST what it missed.
            std::mem::take(&mut state.waiting).iter().for_each(|frame| self.written(frame));
            self.wake.notify_one();
            return;
        }
        self.bytes.fetch_add(len, Relaxed);
        self.frames.fetch_add(1, Relaxed);
        self.meters.queued(len);
        state.waiting.push_back(frame.clone());
        // A task that is awake takes all queued frames, so only the first frame wakes it.
        if state.waiting.len() == 1 {
            self.wake.notify_one();
        }
    }

    /// Closes the session after the queued frames are written.
    pub(crate) fn close(&self, close: Close) {
        self.lock().close.get_or_insert(close);
        self.wake.notify_one();
    }

    /// Takes all queued frames. Returns the close code if the queue is empty and the session is being closed.
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

    /// Resolves when a limit was exceeded. Must not run concurrently with [`Self::next`], because only one of them is
    /// woken.
    pub(crate) async fn overflowed(&self) -> Close {
        while self.lock().close != Some(Close::TOO_SLOW) {
            self.wake.notified().await;
        }
        Close::TOO_SLOW
    }

    /// Releases the share of a frame that was written to the socket.
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
