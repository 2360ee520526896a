//! A handle for operators: pauses, resumes and moves the topics of a running consumer.

use std::{collections::HashMap, fmt, sync::Arc};

use super::{
    assignment::Assignments,
    position::{Seeks, Start},
    topic::Topic,
};
use comms_core::Error;

/// Pauses, resumes and moves the topics of a [`Consumer`](super::Consumer), see [`Consumer::handle`](super::Consumer::handle).
/// Clones refer to the same consumer.
#[derive(Clone)]
pub struct ConsumerHandle {
    pub(super) group: Arc<str>,
    pub(super) topics: Arc<HashMap<Arc<str>, Arc<Topic>>>,
    pub(super) assigned: Arc<Assignments>,
    pub(super) seeks: Arc<Seeks>,
}

impl ConsumerHandle {
    /// Pauses `topic` in this member: it begins no further record of the topic.
    ///
    /// Records that were received before may still be handled: up to
    /// [`buffer_records`](super::ConsumerBuilder::buffer_records). The partitions stay with this member. The pause ends
    /// with [`resume`](Self::resume) or the process.
    ///
    /// # Errors
    /// Returns [`ErrorKind::NotFound`](comms_core::ErrorKind::NotFound) if the consumer is not subscribed to `topic`.
    pub fn pause(&self, topic: &str) -> Result<(), Error> {
        self.topic(topic)?.set_paused(true);
        tracing::info!(group = %self.group, topic, "topic paused");
        Ok(())
    }

    /// Resumes `topic` in this member. Has no effect if the topic is not paused.
    ///
    /// # Errors
    /// Returns [`ErrorKind::NotFound`](comms_core::ErrorKind::NotFound) if the consumer is not subscribed to `topic`.
    pub fn resume(&self, topic: &str) -> Result<(), Error> {
        self.topic(topic)?.set_paused(false);
        self.assigned.wake(topic);
        tracing::info!(group = %self.group, topic, "topic resumed");
        Ok(())
    }

    /// Returns whether `topic` is paused in this member.
    ///
    /// # Errors
    /// Returns [`ErrorKind::NotFound`](comms_core::ErrorKind::NotFound) if the consumer is not subscribed to `topic`.
    pub fn is_paused(&self, topic: &str) -> Result<bool, Error> {
        Ok(self.topic(topic)?.is_paused())
    }

    /// Moves the partitions of `topic` that this member has now to `start`. The new position is committed.
    ///
    /// Running attempts are cancelled, and records between the old and the new position are handled again, or not
    /// handled. Partitions that [`Start::Offsets`] does not name are not moved. Each member moves its own partitions
    /// only; [`seek`](crate::seek) moves a group without members.
    ///
    /// # Errors
    /// - Returns [`ErrorKind::NotFound`](comms_core::ErrorKind::NotFound) if the consumer is not subscribed to `topic`.
    /// - Returns [`ErrorKind::NotExecuted`](comms_core::ErrorKind::NotExecuted) if the consumer ends first. Before
    ///   [`Consumer::run`](super::Consumer::run) the call waits.
    /// - Returns another error if the cluster does not answer, or refuses. If some partitions may have moved, the consumer
    ///   ends with [`ErrorKind::Indeterminate`](comms_core::ErrorKind::Indeterminate).
    pub async fn seek(&self, topic: &str, start: Start) -> Result<(), Error> {
        let topic = self.topic(topic)?.name.clone();
        let ended = || Error::not_executed(format!("the consumer of group {} has ended", self.group));
        self.seeks.request(topic, start).await.unwrap_or_else(|_| Err(ended()))
    }

    fn topic(&self, topic: &str) -> Result<&Arc<Topic>, Error> {
        let missing = || Error::not_found(format!("group {} is not subscribed to {topic}", self.group));
        self.topics.get(topic).ok_or_else(missing)
    }
}

impl fmt::Debug for ConsumerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsumerHandle").field("group", &self.group).finish_non_exhaustive()
    }
}
