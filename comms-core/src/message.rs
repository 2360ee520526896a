//! What is said: a message with an identity, and its delivery to one group.

use bytes::Bytes;
use std::sync::Arc;

use crate::{Headers, wire};

/// A message on its way: raw, so that an undecodable payload is still carried.
///
/// Its identity is (`source`, `id`), the `CloudEvents` pair, both text: never a topic and an offset
/// (a relay's duplicate has another offset), never a UUID type (foreign events have none).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Who says it: the service.
    pub source: Arc<str>,
    /// Unique within `source`; `UUIDv7` where this house makes it.
    pub id: Arc<str>,
    /// Topic, exchange or queue.
    pub topic: Arc<str>,
    /// Messages of one key keep their order. `None`: no order.
    pub key: Option<Bytes>,
    /// All headers but `ce_id` and `ce_source`, which stand in the fields.
    pub headers: Headers,
    /// The encoded event. `None` is a tombstone, which is not an empty payload.
    pub payload: Option<Bytes>,
}

impl Message {
    /// The same message to another topic.
    #[must_use]
    pub fn to(mut self, topic: impl Into<Arc<str>>) -> Self {
        self.topic = topic.into();
        self
    }

    /// The `CloudEvents` type, if the message has one.
    #[must_use]
    pub fn event_type(&self) -> Option<&str> {
        self.headers.text(wire::CE_TYPE)
    }

    /// Bytes of key, headers and payload: what a bound in bytes counts.
    #[must_use]
    pub fn size(&self) -> usize {
        self.key.as_ref().map_or(0, Bytes::len)
            + self.headers.size()
            + self.payload.as_ref().map_or(0, Bytes::len)
            + self.source.len()
            + self.id.len()
            + self.topic.len()
    }
}

/// A message in the hands of one consumer group.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// What was said.
    pub message: Message,
    /// The consumer group.
    pub group: Arc<str>,
    /// The handler within the group: the topic it is subscribed to, unless the application names it
    /// ([`named`](crate::named)). With `group` it says whose effect an inbox row stands for. A delivery that comes
    /// from another topic on its way to the same handler (a retry topic) keeps the handler of the first one.
    pub handler: Arc<str>,
    /// Where it stood, for logs and dead letters: `orders/3@512`.
    pub origin: Arc<str>,
    /// 1 for the first try in this process.
    pub attempt: u32,
}

impl Delivery {
    /// A first delivery of `message` to the handler of its topic in `group`.
    pub fn new(message: Message, group: impl Into<Arc<str>>, origin: impl Into<Arc<str>>) -> Self {
        let handler = message.topic.clone();
        Self { message, group: group.into(), handler, origin: origin.into(), attempt: 1 }
    }

    /// The same delivery to the handler named `handler`.
    #[must_use]
    pub fn to_handler(self, handler: impl Into<Arc<str>>) -> Self {
        Self { handler: handler.into(), ..self }
    }
}
