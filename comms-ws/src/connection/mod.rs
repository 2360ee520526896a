//! A connection of the hub: the bounded queue of what its client has not been sent, and the way to its socket.
//!
//! - `member.rs`: a connection in a topic.
//! - `item.rs`, `queue.rs`: a frame; the queue, its limits, and what is removed from it when it is full.
//! - `peer.rs`: who the client is, and when it was last heard of.
//! - `waiting.rs`: the connections whose queue is not empty.
//! - `send.rs`: the publisher's side, which writes to the socket and queues what the socket does not take.
//! - `duty.rs`: the side of the session's task, which writes the queue.
//! - `mod.rs`: the state that both sides share, and its end.

mod duty;
mod item;
mod member;
mod peer;
mod queue;
mod send;
#[cfg(test)]
mod tests;
mod waiting;

pub(crate) use duty::Duty;
pub(crate) use item::Item;
pub(crate) use member::Member;
pub(crate) use waiting::{WaitingList, WeakConnections};

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use futures_util::task::AtomicWaker;
use tokio::{
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
};
use uuid::Uuid;

use crate::{close::Close, environment::Environment, message::Encoding, socket::Socket};
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
    /// The end of the session is counted.
    is_counted: AtomicBool,
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
    /// One permit, for the topic that holds a page of the history. Created when the first topic reads one.
    page: Option<Arc<Semaphore>>,
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
        let out = Out { queue, close: None, gone: false, progress: 0, is_watched: false, page: None };
        Arc::new(Self {
            id,
            peer: Peer::new(name, principal, expires, env.now()),
            encoding,
            socket,
            out: Mutex::new(out),
            waker: AtomicWaker::new(),
            attention: AtomicBool::new(false),
            is_counted: AtomicBool::new(false),
            env,
            waiting,
        })
    }

    /// Ends the session with `close`. What is queued is still written if `close` is orderly, and discarded otherwise.
    pub(crate) fn close(self: &Arc<Self>, close: Close) {
        self.close_locked(&mut self.lock(), close);
    }

    fn close_locked(self: &Arc<Self>, out: &mut Out, close: Close) {
        if out.is_closing() {
            return;
        }
        // A server that cannot write does not ask for the end of an event stream either.
        if !self.hears() && !out.is_watched {
            self.begin_waiting(out);
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

    fn wake(&self) {
        self.attention.store(true, Relaxed);
        self.waker.wake();
    }

    /// Returns the socket that was given at the opening.
    pub(crate) fn socket(&self) -> Option<&TcpStream> {
        self.socket.as_ref().map(|socket| &socket.stream)
    }

    /// Returns whether the client can send anything: an event stream has no direction from the client.
    pub(crate) fn hears(&self) -> bool {
        self.encoding != Encoding::EventStream
    }

    /// Returns for how long the socket has taken nothing although bytes wait, or the end of an event stream. `None`: nothing
    /// waits, and the watch does not look at this connection any more.
    pub(crate) fn stalled(&self) -> Option<Duration> {
        let mut out = self.lock();
        let waits = match out.close {
            None => !out.gone && !out.queue.is_empty(),
            Some(_) => !out.gone && !self.hears(),
        };
        out.is_watched = waits;
        waits.then(|| Duration::from_millis(self.env.now().saturating_sub(out.progress)))
    }

    /// Returns `true` at the first call, which counts the end of the session.
    pub(crate) fn is_first_end(&self) -> bool {
        !self.is_counted.swap(true, Relaxed)
    }

    pub(crate) fn is_open(&self) -> bool {
        !self.lock().is_closing()
    }

    /// Returns the number of bytes and of frames in the queue.
    pub(crate) fn queued(&self) -> (usize, usize) {
        let out = self.lock();
        (out.queue.bytes(), out.queue.frames())
    }

    /// Waits until no other topic of the session holds a page of the history. The topic may hold one until it drops the permit.
    pub(crate) async fn page(&self) -> Option<OwnedSemaphorePermit> {
        let page = self.lock().page.get_or_insert_with(|| Arc::new(Semaphore::new(1))).clone();
        // The semaphore is never closed.
        page.acquire_owned().await.ok()
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
