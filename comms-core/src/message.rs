//! Messages, and their delivery to a consumer group.

use bytes::Bytes;
use std::sync::Arc;

use crate::{Headers, wire};

/// An encoded message with an identity, a topic, an optional key, headers and a payload.
///
/// The payload stays encoded, so that a message that cannot be decoded can still be published, parked or dead-lettered.
///
/// The identity is (`source`, `id`), as in `CloudEvents`. It is not a topic and an offset, because a relay may publish
/// the same message at two offsets. It is not a UUID type, because foreign events have other ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The service that made the message.
    pub source: Arc<str>,
    /// The id, unique within `source`. An [`EventSource`](crate::event::EventSource) makes `UUIDv7`s.
    pub id: Arc<str>,
    /// The topic, exchange or queue to publish to.
    pub topic: Arc<str>,
    /// The key. Messages with the same key keep their order; a message without a key has none.
    pub key: Option<Bytes>,
    /// All headers except `ce_id` and `ce_source`, whose values are the fields `id` and `source`.
    pub headers: Headers,
    /// The encoded event. `None` is a tombstone, which is not an empty payload.
    pub payload: Option<Bytes>,
}

impl Message {
    /// Returns the message with `topic` as its topic.
    #[must_use]
    pub fn to(mut self, topic: impl Into<Arc<str>>) -> Self {
        self.topic = topic.into();
        self
    }

    /// Returns the `CloudEvents` type of the message, if the header `ce_type` is present and UTF-8.
    #[must_use]
    pub fn event_type(&self) -> Option<&str> {
        self.headers.text(wire::CE_TYPE)
    }

    /// Returns the size in bytes of source, id, topic, key, headers and payload together. All limits in bytes use this
    /// size.
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
    /// The handler within the group: the topic it is subscribed to, unless the application names the handler with
    /// [`named`](crate::named). An inbox row records the effect of (`group`, `handler`). A delivery that reaches the
    /// same handler through another topic, such as a retry topic, keeps the handler of the original topic.
    pub handler: Arc<str>,
    /// The position in the transport, for logs and dead letters: `orders/3@512` is offset 512 of partition 3.
    pub origin: Arc<str>,
    /// The number of the attempt, starting at 1. After a restart of the process the number starts at 1 again.
    pub attempt: u32,
}

impl Delivery {
    /// Makes a delivery of `message`, with attempt 1, to the handler of its topic in `group`.
    pub fn new(message: Message, group: impl Into<Arc<str>>, origin: impl Into<Arc<str>>) -> Self {
        let handler = message.topic.clone();
        Self { message, group: group.into(), handler, origin: origin.into(), attempt: 1 }
    }

    /// Returns the delivery with `handler` as its handler.
    #[must_use]
    pub fn to_handler(self, handler: impl Into<Arc<str>>) -> Self {
        Self { handler: handler.into(), ..self }
    }
}
