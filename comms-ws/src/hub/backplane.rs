//! Delivery of frames to the hubs of all nodes.

use axum::extract::ws::Utf8Bytes;

use super::topics::Topics;

/// Delivers frames to the hubs of all nodes. An implementation never blocks in `publish`: one that uses the network has
/// a bounded queue and a task.
pub(crate) trait Backplane: Send + Sync + 'static {
    /// Delivers `frame` to every session of `topic`, and to the sessions of this node through `local`.
    fn publish(&self, local: &Topics, topic: &str, frame: &Utf8Bytes);
}

/// A backplane of a single node.
pub(crate) struct Memory;

impl Backplane for Memory {
    fn publish(&self, local: &Topics, topic: &str, frame: &Utf8Bytes) {
        local.deliver(topic, frame);
    }
}
