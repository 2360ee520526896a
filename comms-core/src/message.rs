//! Messages, and their delivery to a consumer group.

use bytes::Bytes;
use std::sync::Arc;

use crate::{Headers, wire};

/// An encoded message with an identity, a topic, an optional key, headers and a payload.
///
/// An [`EventSource`](crate::event::EventSource) makes a message from an event. The payload stays encoded, so that a
/// message that cannot be decoded can still be published, parked by a relay, or dead-lettered by a consumer.
///
/// The identity is (`source`, `id`), as in `CloudEvents`. It is not a topic and an offset, because the relay of an
/// outbox may publish the same message at two offsets. The id is text and not a UUID, because other systems use other
/// ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The service that made the message.
    pub source: Arc<str>,
    /// The id, unique within `source`. An [`EventSource`](crate::event::EventSource) makes `UUIDv7`s.
    pub id: Arc<str>,
    /// The topic, exchange or queue to publish to.
    pub topic: Arc<str>,
    /// The ordering key. Messages of a topic with the same key are delivered in order. Messages without a key have no
    /// order.
    pub key: Option<Bytes>,
    /// All headers except `ce_id` and `ce_source`, whose values are the fields `id` and `source`.
    pub headers: Headers,
    /// The encoded event. `None` is a tombstone: a record without a value, which differs from an empty payload.
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

    /// Returns the size in bytes of source, id, topic, key, headers and payload together. The limits on the size of a
    /// message in `comms-outbox` and `comms-kafka` use this size.
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

/// One delivery of a message to a handler of a consumer group: the input of a [`Handler`](crate::Handler).
///
/// Delivery is at least once: a message can be delivered again after a crash, a rebalance or a lost acknowledgement.
/// Each further delivery has the same message identity.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The message.
    pub message: Message,
    /// The consumer group.
    pub group: Arc<str>,
    /// The name of the handler within the group. Default: the topic of the message; [`named`](crate::named) and
    /// [`to_handler`](Self::to_handler) set another name.
    ///
    /// An inbox row records that (`group`, `handler`) has applied the message. A delivery through another topic, such
    /// as a retry topic, must have the name from the original topic, or the handler applies the message again.
    pub handler: Arc<str>,
    /// The position in the transport, for logs and dead letters: `orders/3@512` is offset 512 of partition 3.
    pub origin: Arc<str>,
    /// The number of the attempt, starting at 1. An attempt during a hold does not increase the number. After a restart
    /// of the process the number starts at 1 again.
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
