//! A handle for operators: pauses and resumes the topics of a running consumer.

use std::{collections::HashMap, fmt, sync::Arc};

use super::{assignments::Assignments, topic::Topic};
use comms_core::Error;

/// Pauses and resumes the topics of a [`Consumer`](super::Consumer), see [`Consumer::handle`](super::Consumer::handle).
/// Clones refer to the same consumer.
#[derive(Clone)]
pub struct ConsumerHandle {
    pub(super) group: Arc<str>,
    pub(super) topics: Arc<HashMap<Arc<str>, Arc<Topic>>>,
    pub(super) assigned: Arc<Assignments>,
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
