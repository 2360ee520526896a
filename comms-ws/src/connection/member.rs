//! A connection as a member of a topic.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use tokio::sync::Notify;

use super::{Connection, Item};
use crate::message::Batch;

/// A connection in a topic. After it has left, nothing of the topic is sent to it: a flusher or a join that still has the
/// member checks this under the lock of the connection.
pub(crate) struct Member {
    pub(crate) connection: Arc<Connection>,
    left: AtomicBool,
    /// Wakes the task of a join.
    leaving: Notify,
}

impl Member {
    pub(crate) fn new(connection: &Arc<Connection>) -> Arc<Self> {
        let (left, leaving) = (AtomicBool::new(false), Notify::new());
        Arc::new(Self { connection: connection.clone(), left, leaving })
    }

    /// Leaves the topic. Returns `false` if the member has left before. What is sent to the connection afterwards follows the
    /// last message of the topic.
    pub(crate) fn leave(&self) -> bool {
        let is_first = !self.left.swap(true, Relaxed);
        self.leaving.notify_waiters();
        is_first
    }

    /// Awaits `task` until the member leaves the topic. Returns `None` if it has left before the end of `task`, which is
    /// dropped then, whatever it waits for.
    pub(crate) async fn unless_left<T>(&self, task: impl Future<Output = T>) -> Option<T> {
        // Before the check, so that no leave is missed between both.
        let leaving = self.leaving.notified();
        if self.has_left() {
            return None;
        }
        tokio::select! {
            biased;
            () = leaving => None,
            result = task => Some(result),
        }
    }

    pub(crate) fn has_left(&self) -> bool {
        self.left.load(Relaxed)
    }

    /// Sends the messages of a turn, as [`Connection::deliver`].
    pub(crate) fn deliver(&self, batch: &Batch) -> usize {
        self.connection.deliver(batch, || self.has_left())
    }

    /// Sends a frame of the topic, as [`Connection::send`].
    pub(crate) fn send(&self, item: Item) {
        self.connection.send_unless(item, || self.has_left());
    }
}
