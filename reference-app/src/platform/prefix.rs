//! Several systems on one cluster: a prefix before the names of their topics and groups.

use std::{collections::VecDeque, sync::Arc};

use comms_core::{Error, Message, Publisher, async_trait, transport::Acks};

/// Publishes to the prefixed topics. Outbox rows and events keep the plain names: only the cluster sees the
/// prefix.
pub struct Prefixed {
    /// What stands before each name; may be empty.
    pub prefix: String,
    /// Who carries the messages.
    pub inner: Arc<dyn Publisher>,
}

#[async_trait]
impl Publisher for Prefixed {
    fn enqueue(&self, batch: &mut VecDeque<Message>) -> Acks {
        for message in batch.iter_mut() {
            message.topic = format!("{}{}", self.prefix, message.topic).into();
        }
        let acks = self.inner.enqueue(batch);
        // What was not taken stays with the caller, under the name it came with.
        for message in batch.iter_mut() {
            if let Some(plain) = message.topic.strip_prefix(&self.prefix) {
                message.topic = plain.into();
            }
        }
        acks
    }

    async fn ready(&self) -> Result<(), Error> {
        self.inner.ready().await
    }

    async fn flush(&self) -> Result<(), Error> {
        self.inner.flush().await
    }
}
