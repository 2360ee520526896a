//! A connection of the hub: the bounded queue of what its client has not been sent, and the way to its socket.
//!
//! - `member.rs`: a connection in a topic.
//! - `queue.rs`: the queue, its limits, and what is removed from it when it is full.
//! - `peer.rs`: who the client is, and when it was last heard of.
//! - `waiting.rs`: the connections whose queue is not empty.
//! - `mod.rs`: writes to the socket from the publisher's side, and hands the rest to the task of the session.

mod member;
mod peer;
mod queue;
#[cfg(test)]
mod tests;
mod waiting;

pub(crate) use member::Member;
pub(crate) use queue::Item;
pub(crate) use waiting::{WaitingList, WeakConnections};

use std::{
    fmt, io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use tokio::net::TcpStream;
use uuid::Uuid;

use crate::{
    close::Close,
    environment::Environment,
    message::{Batch, Encoding},
    socket::Socket,
};
use peer::Peer;
use queue::{Queue, QueueLimits};

/// A client of the hub.
///
/// The flusher of a shard calls [`deliver`](Self::deliver), which writes to the socket at once if nothing waits. What
/// the socket does not take is queued, and the task of the session writes it later: it is woken for that, for a close, and
/// for nothing else.
pub(crate) struct Connection {
    pub(crate) id: u64,
    pub(crate) peer: Peer,
    pub(crate) encoding: Encoding,
    /// The socket, if the publisher's side may write to it.
    socket: Option<Socket>,
    out: Mutex<Out>,
    waker: AtomicWaker,
    attention: AtomicBool,
    env: Arc<Environment>,
    waiting: Arc<WaitingList>,
}

struct Out {
    queue: Queue,
    close: Option<Close>,
    /// The socket failed, or the session has ended.
    gone: bool,
    /// When the socket last took bytes while others waited.
    progress: u64,
    /// The connection stands in the list of those that the watch looks at because bytes wait.
    is_watched: bool,
}

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

/// The parts of a new connection.
pub(crate) struct Opening {
    pub(crate) id: u64,
    pub(crate) name: Uuid,
    pub(crate) principal: Option<Arc<str>>,
    pub(crate) encoding: Encoding,
    pub(crate) socket: Option<Socket>,
    pub(crate) expires: u64,
    pub(crate) env: Arc<Environment>,
    pub(crate) waiting: Arc<WaitingList>,
}

impl Connection {
    pub(crate) fn new(opening: Opening) -> Arc<Self> {
        let Opening { id, name, principal, encoding, socket, expires, env, waiting } = opening;
        let limits = QueueLimits { bytes: env.config.queue_bytes, frames: env.config.queue_frames };
        let queue = Queue::new(limits, encoding, env.meters.clone());
        let out = Out { queue, close: None, gone: false, progress: 0, is_watched: false };
        Arc::new(Self {
            id,
            peer: Peer::new(name, principal, expires, env.now()),
            encoding,
            socket,
            out: Mutex::new(out),
            waker: AtomicWaker::new(),
            attention: AtomicBool::new(false),
            env,
            waiting,
        })
    }

    /// Sends the messages of a turn. Never blocks. Returns the number of messages that the socket has taken.
    fn deliver(self: &Arc<Self>, batch: &Batch, has_left: impl FnOnce() -> bool) -> usize {
        let mut out = self.lock();
        if out.is_closing() || has_left() {
            return 0;
        }
        let written = match self.write_now(&out, || batch.bytes(self.encoding)) {
            Ok(written) => written,
            Err(_) => {
                self.fail(&mut out);
                return 0;
            }
        };
        let (mut skip, mut taken) = (written, 0);
        for message in batch.messages() {
            let len = message.encoded(self.encoding).len();
            if skip >= len {
                skip -= len;
                taken += 1;
                continue;
            }
            match std::mem::take(&mut skip) {
                0 => self.enqueue(&mut out, Item::Message(message.clone())),
                written => self.start(&mut out, message.encoded(self.encoding).slice(written..)),
            }
        }
        taken
    }

    /// Sends a frame for this client alone. Never blocks.
    pub(crate) fn send(self: &Arc<Self>, item: Item) {
        self.send_unless(item, || false);
    }

    fn send_unless(self: &Arc<Self>, item: Item, has_left: impl FnOnce() -> bool) {
        let mut out = self.lock();
        if out.is_closing() || has_left() {
            return;
        }
        let bytes = item.bytes(self.encoding, &self.env.cursor_keys);
        match self.write_now(&out, || bytes.clone()) {
            Ok(written) if written == bytes.len() => {}
            Ok(0) => self.enqueue(&mut out, item),
            Ok(written) => self.start(&mut out, bytes.slice(written..)),
            Err(_) => self.fail(&mut out),
        }
    }

    /// Writes to the socket if nothing waits before these bytes. Returns how many bytes it has taken.
    fn write_now(&self, out: &Out, bytes: impl FnOnce() -> Bytes) -> io::Result<usize> {
        let Some(socket) = self.socket().filter(|_| out.queue.is_empty()) else { return Ok(0) };
        match socket.try_write(&bytes()) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            result => result,
        }
    }

    fn enqueue(self: &Arc<Self>, out: &mut Out, item: Item) {
        if out.is_closing() {
            return;
        }
        let was_empty = out.queue.is_empty();
        if !out.queue.push(item) {
            self.close_locked(out, Close::TOO_SLOW);
        } else if was_empty {
            self.begin_waiting(out);
        }
    }

    /// Queues the rest of a frame of which the socket has taken some bytes.
    fn start(self: &Arc<Self>, out: &mut Out, rest: Bytes) {
        out.queue.start(rest);
        self.begin_waiting(out);
    }

    fn begin_waiting(self: &Arc<Self>, out: &mut Out) {
        out.progress = self.env.now();
        if !std::mem::replace(&mut out.is_watched, true) {
            self.waiting.push(self);
        }
        self.wake();
    }

    /// Ends the session with `close`. What is queued is still written if `close` is orderly, and discarded otherwise.
    pub(crate) fn close(&self, close: Close) {
        self.close_locked(&mut self.lock(), close);
    }

    fn close_locked(&self, out: &mut Out, close: Close) {
        if out.is_closing() {
            return;
        }
        if !close.is_orderly() {
            out.queue.discard();
        }
        out.close = Some(close);
        self.wake();
    }

    /// Ends the session without a close code: its socket has failed, or its client has gone.
    pub(crate) fn end(&self) {
        let mut out = self.lock();
        self.fail(&mut out);
    }

    fn fail(&self, out: &mut Out) {
        out.gone = true;
        out.queue.clear();
        self.wake();
    }

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

    fn wake(&self) {
        self.attention.store(true, Relaxed);
        self.waker.wake();
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

    /// Returns the socket that was given at the opening.
    pub(crate) fn socket(&self) -> Option<&TcpStream> {
        self.socket.as_ref().map(|socket| &socket.stream)
    }

    /// Returns whether the client can send anything: an event stream has no direction from the client.
    pub(crate) fn hears(&self) -> bool {
        self.encoding != Encoding::EventStream
    }

    /// Returns for how long the socket has taken nothing although bytes wait. `None`: nothing waits, and the watch does not
    /// look at this connection any more.
    pub(crate) fn stalled(&self) -> Option<Duration> {
        let mut out = self.lock();
        let waits = !out.queue.is_empty() && !out.is_closing();
        out.is_watched = waits;
        waits.then(|| Duration::from_millis(self.env.now().saturating_sub(out.progress)))
    }

    pub(crate) fn is_open(&self) -> bool {
        !self.lock().is_closing()
    }

    /// Returns the number of bytes and of frames in the queue.
    pub(crate) fn queued(&self) -> (usize, usize) {
        let out = self.lock();
        (out.queue.bytes(), out.queue.frames())
    }

    fn lock(&self) -> MutexGuard<'_, Out> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Out {
    fn is_closing(&self) -> bool {
        self.gone || self.close.is_some()
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("name", &self.peer.name).finish_non_exhaustive()
    }
}
