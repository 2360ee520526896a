//! How a frame reaches the sessions of every node.

use axum::extract::ws::Utf8Bytes;

use super::topics::Topics;

/// Carries frames to the hubs of all nodes. Taking one never waits: a backplane with a network in it has a
/// bounded queue and a task of its own.
pub(crate) trait Backplane: Send + Sync + 'static {
    /// Carries `frame` to every session of `topic`; to those of this node through `local`.
    fn publish(&self, local: &Topics, topic: &str, frame: &Utf8Bytes);
}

/// One node is all there is.
pub(crate) struct Memory;

impl Backplane for Memory {
    fn publish(&self, local: &Topics, topic: &str, frame: &Utf8Bytes) {
        local.deliver(topic, frame);
    }
}
