//! The side of the session's task of a connection.

use std::{
    io,
    sync::atomic::Ordering::Relaxed,
    task::{Context, Poll},
    time::Duration,
};

use super::{Connection, Item};
use crate::close::Close;

/// What the task of a session has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Duty {
    /// Nothing until the client sends something or [`Connection::poll_attention`] resolves.
    Idle,
    /// Write the queue when the socket takes bytes.
    Write,
    /// Send this close code after what is still queued, and end the session.
    Close(Close),
    /// End the session: the socket failed.
    Gone,
}

impl Connection {
    /// Returns what the session's task has to do now.
    pub(crate) fn duty(&self) -> Duty {
        let out = self.lock();
        match (out.gone, out.close) {
            (true, _) => Duty::Gone,
            (_, Some(close)) => Duty::Close(close),
            _ if out.queue.is_empty() => Duty::Idle,
            _ => Duty::Write,
        }
    }

    /// Resolves when [`duty`](Self::duty) has changed. Only one task may wait.
    pub(crate) fn poll_attention(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.waker.register(cx.waker());
        if self.attention.swap(false, Relaxed) { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Writes what is queued through `write`, which returns how many bytes it has taken. Returns the number of messages
    /// that were written completely.
    ///
    /// # Errors
    /// Returns the error of `write`, which includes `WouldBlock`.
    pub(crate) fn flush(
        &self,
        mut write: impl FnMut(&[io::IoSlice<'_>]) -> io::Result<usize>,
    ) -> (usize, io::Result<()>) {
        let mut out = self.lock();
        let mut messages = 0;
        while !out.queue.is_empty() {
            match out.queue.write(&self.env.cursor_keys, &mut write) {
                Ok(done) => {
                    messages += done;
                    out.progress = self.env.now();
                }
                Err(error) => return (messages, Err(error)),
            }
        }
        (messages, Ok(()))
    }

    /// Takes queued items for a transport that is polled for them, until they have `max_bytes` or more.
    pub(crate) fn pull(&self, max_bytes: usize) -> Vec<Item> {
        let mut out = self.lock();
        out.progress = self.env.now();
        out.queue.pull(max_bytes)
    }

    /// Notes that the transport has written bytes that it had taken.
    pub(crate) fn note_progress(&self) {
        self.lock().progress = self.env.now();
    }

    /// Leaves out a time in which the session did not write: the client does not count as stalled in it.
    pub(crate) fn excuse(&self, paused: Duration) {
        let mut out = self.lock();
        let millis = u64::try_from(paused.as_millis()).unwrap_or(u64::MAX);
        out.progress = out.progress.saturating_add(millis).min(self.env.now());
    }
}
