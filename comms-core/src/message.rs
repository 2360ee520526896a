//! A message, and its delivery to a consumer group.

use bytes::Bytes;
use std::sync::Arc;

use crate::{Headers, wire};

/// An encoded message with an identity, a topic, an optional key, headers and a payload.
///
/// The payload stays encoded, so that a message that cannot be decoded can still be carried, parked or written to the
/// dead letters.
///
/// The identity is (`source`, `id`), as in `CloudEvents`. Both are text: an identity is never a topic and an offset,
/// because a relay may publish the same message at two offsets, and never a UUID type, because foreign events have other
/// ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The service that made the message.
    pub source: Arc<str>,
    /// Unique within `source`. An [`EventSource`](crate::event::EventSource) makes `UUIDv7`s.
    pub id: Arc<str>,
    /// The topic, exchange or queue to publish to.
    pub topic: Arc<str>,
    /// Messages with the same key keep their order. `None`: the message has no order.
    pub key: Option<Bytes>,
    /// All headers but `ce_id` and `ce_source`, which stand in `id` and `source`.
    pub headers: Headers,
    /// The encoded event. `None` is a tombstone, which is not an empty payload.
    pub payload: Option<Bytes>,
}

impl Message {
    /// Returns the same message with another topic.
    #[must_use]
    pub fn to(mut self, topic: impl Into<Arc<str>>) -> Self {
        self.topic = topic.into();
        self
    }

    /// Returns the `CloudEvents` type, if the message has one.
    #[must_use]
    pub fn event_type(&self) -> Option<&str> {
        self.headers.text(wire::CE_TYPE)
    }

    /// Returns the size in bytes of source, id, topic, key, headers and payload: the size that limits in bytes count.
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

/// One delivery of a message to a handler of a consumer group.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The message.
    pub message: Message,
    /// The consumer group.
    pub group: Arc<str>,
    /// The handler within the group: the topic it is subscribed to, unless the application names it with
    /// [`named`](crate::named). An inbox row stands for the effect of (`group`, `handler`). A delivery that reaches the
    /// same handler through another topic, such as a retry topic, keeps the handler of the first one.
    pub handler: Arc<str>,
    /// The position in the transport, for logs and dead letters: `orders/3@512` is offset 512 of partition 3.
    pub origin: Arc<str>,
    /// The number of the attempt, from 1. A restart of the process begins again at 1.
    pub attempt: u32,
}

impl Delivery {
    /// Returns the first delivery of `message` to the handler of its topic in `group`.
    pub fn new(message: Message, group: impl Into<Arc<str>>, origin: impl Into<Arc<str>>) -> Self {
        let handler = message.topic.clone();
        Self { message, group: group.into(), handler, origin: origin.into(), attempt: 1 }
    }

    /// Returns the same delivery to the handler named `handler`.
    #[must_use]
    pub fn to_handler(self, handler: impl Into<Arc<str>>) -> Self {
        Self { handler: handler.into(), ..self }
    }
}
