//! A connection as a member of a topic.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use super::{Connection, Item};
use crate::message::Batch;

/// A connection in a topic. After it has left, nothing of the topic is sent to it: a flusher or a join that still has the
/// member checks this under the lock of the connection.
pub(crate) struct Member {
    pub(crate) connection: Arc<Connection>,
    left: AtomicBool,
}

impl Member {
    pub(crate) fn new(connection: &Arc<Connection>) -> Arc<Self> {
        Arc::new(Self { connection: connection.clone(), left: AtomicBool::new(false) })
    }

    /// Leaves the topic. Returns `false` if the member has left before. What is sent to the connection afterwards follows the
    /// last message of the topic.
    pub(crate) fn leave(&self) -> bool {
        !self.left.swap(true, Relaxed)
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
