//! Messages, and their delivery to a consumer group.

mod delivery;
mod parts;

use bytes::{Bytes, BytesMut};
use std::fmt;

use crate::{Headers, HeadersRef, wire};
pub use delivery::{Delivery, Position};
pub use parts::MessageParts;

/// An encoded message with an identity, a topic, an optional key, headers and a payload.
///
/// The payload stays encoded, so that a message that cannot be decoded can still be published, parked or dead-lettered.
///
/// The identity is (`source`, `id`), as in `CloudEvents`. It is not a topic and an offset, because a relay may publish
/// the same message at two offsets. It is not a UUID type, because foreign events have other ids.
///
/// All parts are in one immutable buffer. A clone increments one reference count, and copies nothing. To change a part,
/// make a new message from the [parts](Self::parts):
///
/// ```
/// use comms_core::{Message, MessageParts};
/// let message = Message::new(MessageParts {
///     source: "shop",
///     id: "1",
///     topic: "orders",
///     key: Some(b"order-7"),
///     payload: Some(b"{}"),
///     ..MessageParts::default()
/// });
/// assert_eq!((message.topic(), message.key()), ("orders", Some(&b"order-7"[..])));
/// let tombstone = Message::new(MessageParts { payload: None, ..message.parts() });
/// assert_eq!(tombstone.payload(), None);
/// ```
#[derive(Clone)]
pub struct Message {
    /// Source, id, topic, key, headers and payload, without gaps.
    buffer: Bytes,
    ends: Ends,
}

/// The positions in the buffer at which the parts end. The payload ends with the buffer.
#[derive(Clone, Copy)]
struct Ends {
    source: u32,
    id: u32,
    topic: u32,
    key: u32,
    headers: u32,
    has_key: bool,
    has_payload: bool,
}

impl Message {
    /// Creates a message in a buffer of its own, with copies of `parts`.
    ///
    /// # Panics
    /// Panics if the parts have more than 4 GiB.
    #[must_use]
    pub fn new(parts: MessageParts<'_>) -> Self {
        Self::in_buffer(parts, &mut BytesMut::with_capacity(parts.memory()))
    }

    /// Creates a message with copies of `parts` at the end of `buffer`, and removes it from `buffer`.
    ///
    /// Messages that are made in one buffer share its memory, and need no allocation each. The memory is freed when the
    /// last of them is dropped: [`compact`](Self::compact) a message that is kept for longer than the others. Content that
    /// was in `buffer` before stays there, but then the free memory behind the message is not used again.
    ///
    /// # Panics
    /// Panics if the parts have more than 4 GiB.
    #[must_use]
    pub fn in_buffer(parts: MessageParts<'_>, buffer: &mut BytesMut) -> Self {
        let start = buffer.len();
        let ends = parts.write(buffer);
        let message = match start {
            // Leaves the free memory to the next message.
            0 => buffer.split(),
            _ => buffer.split_off(start),
        };
        Self { buffer: message.freeze(), ends }
    }

    /// Returns all parts.
    #[must_use]
    pub fn parts(&self) -> MessageParts<'_> {
        MessageParts {
            source: self.source(),
            id: self.id(),
            topic: self.topic(),
            key: self.key(),
            headers: self.headers(),
            payload: self.payload(),
        }
    }

    /// Returns the name of the service that made the message.
    #[must_use]
    pub fn source(&self) -> &str {
        self.text(0, self.ends.source)
    }

    /// Returns the id, unique within the source. An [`EventSource`](crate::event::EventSource) makes `UUIDv7`s.
    #[must_use]
    pub fn id(&self) -> &str {
        self.text(self.ends.source, self.ends.id)
    }

    /// Returns the topic, exchange or queue to publish to.
    #[must_use]
    pub fn topic(&self) -> &str {
        self.text(self.ends.id, self.ends.topic)
    }

    /// Returns the topic as bytes, which need no check.
    #[inline]
    pub(crate) fn topic_bytes(&self) -> &[u8] {
        self.slice(self.ends.id, self.ends.topic)
    }

    /// Returns the key. Messages with the same key keep their order; a message without a key has none.
    #[must_use]
    pub fn key(&self) -> Option<&[u8]> {
        self.ends.has_key.then(|| self.slice(self.ends.topic, self.ends.key))
    }

    /// Returns all headers except `ce_id` and `ce_source`, whose values are the id and the source.
    #[must_use]
    pub fn headers(&self) -> HeadersRef<'_> {
        HeadersRef::trusted(self.slice(self.ends.key, self.ends.headers))
    }

    /// Returns the encoded event. `None` is a tombstone, which is not an empty payload.
    #[must_use]
    pub fn payload(&self) -> Option<&[u8]> {
        self.ends.has_payload.then(|| &self.buffer[self.ends.headers as usize..])
    }

    /// Returns the key as a part of the message's buffer, without a copy.
    #[must_use]
    pub fn key_bytes(&self) -> Option<Bytes> {
        self.ends.has_key.then(|| self.buffer.slice(self.ends.topic as usize..self.ends.key as usize))
    }

    /// Returns the payload as a part of the message's buffer, without a copy.
    #[must_use]
    pub fn payload_bytes(&self) -> Option<Bytes> {
        self.ends.has_payload.then(|| self.buffer.slice(self.ends.headers as usize..))
    }

    /// Returns a copy of the message with `topic` as its topic.
    #[must_use]
    pub fn to(&self, topic: impl AsRef<str>) -> Self {
        Self::new(MessageParts { topic: topic.as_ref(), ..self.parts() })
    }

    /// Returns a copy of the message with the headers that `change` makes of its headers.
    ///
    /// ```
    /// # use comms_core::{Message, MessageParts};
    /// let message = Message::new(MessageParts::default()).with_headers(|headers| headers.append("tenant", "a"));
    /// assert_eq!(message.headers().text("tenant"), Some("a"));
    /// ```
    #[must_use]
    pub fn with_headers(&self, change: impl FnOnce(&mut Headers)) -> Self {
        let mut headers = Headers::from(self.headers());
        change(&mut headers);
        Self::new(MessageParts { headers: headers.view(), ..self.parts() })
    }

    /// Returns a copy of the message in a buffer of its exact size, so that the message keeps no other memory alive.
    #[must_use]
    pub fn compact(&self) -> Self {
        Self { buffer: Bytes::copy_from_slice(&self.buffer), ends: self.ends }
    }

    /// Returns the message in memory of its own at the end of the empty `buffer`, and removes it from `buffer`.
    pub(crate) fn compact_into(&self, buffer: &mut BytesMut) -> Self {
        buffer.extend_from_slice(&self.buffer);
        Self { buffer: buffer.split().freeze(), ends: self.ends }
    }

    /// Returns the `CloudEvents` type of the message, if the header `ce_type` is present and UTF-8.
    #[must_use]
    pub fn event_type(&self) -> Option<&str> {
        self.headers().text(wire::CE_TYPE)
    }

    /// Returns the size in bytes of source, id, topic, key, headers and payload together. The Kafka publisher
    /// compares this size with `message.max.bytes`.
    #[must_use]
    pub fn size(&self) -> usize {
        self.buffer.len() - (self.headers().encoded().len() - self.headers().size())
    }

    /// Returns the bytes of the message in memory: its size and 8 bytes for each header. The limits of the outbox and of
    /// a [`Budget`](crate::transport::Budget) use this number.
    #[must_use]
    pub const fn memory(&self) -> usize {
        self.buffer.len()
    }

    fn slice(&self, start: u32, end: u32) -> &[u8] {
        &self.buffer[start as usize..end as usize]
    }

    /// Returns a part that was written as text.
    fn text(&self, start: u32, end: u32) -> &str {
        std::str::from_utf8(self.slice(start, end)).unwrap_or_default()
    }
}

impl PartialEq for Message {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

impl Eq for Message {}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts().fmt(f)
    }
}

#[cfg(test)]
mod tests;
