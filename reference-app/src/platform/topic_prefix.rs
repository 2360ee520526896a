//! Prefixes topics, so that several systems can share a Kafka cluster.

use std::{collections::VecDeque, sync::Arc};

use comms_core::{Error, Message, Publisher, async_trait, transport::Acks};

/// Publishes each message to the topic with the prefix. Outbox rows and events keep the name without the prefix.
pub struct PrefixedPublisher {
    /// The prefix. May be empty.
    pub prefix: String,
    /// The publisher of the messages.
    pub inner: Arc<dyn Publisher>,
}

#[async_trait]
impl Publisher for PrefixedPublisher {
    fn enqueue(&self, batch: &mut VecDeque<Message>) -> Acks {
        if self.prefix.is_empty() {
            return self.inner.enqueue(batch);
        }
        for message in batch.iter_mut() {
            *message = message.to(format!("{}{}", self.prefix, message.topic()));
        }
        let acks = self.inner.enqueue(batch);
        // Messages that the inner publisher did not accept stay with the caller, under the name without the prefix.
        for message in batch.iter_mut() {
            if let Some(plain) = message.topic().strip_prefix(&self.prefix) {
                *message = message.to(plain);
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
