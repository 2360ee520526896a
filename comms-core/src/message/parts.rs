//! The parts of a message, borrowed: what a message is made from, and what it is read as.

use std::fmt;

use bytes::{BufMut, BytesMut};

use super::Ends;
use crate::HeadersRef;

/// The parts of a [`Message`](super::Message). [`Message::new`](super::Message::new) makes a message of them, and
/// [`Message::parts`](super::Message::parts) returns them.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct MessageParts<'a> {
    /// The service that made the message.
    pub source: &'a str,
    /// The id, unique within `source`.
    pub id: &'a str,
    /// The topic, exchange or queue to publish to.
    pub topic: &'a str,
    /// The key. Default: none.
    pub key: Option<&'a [u8]>,
    /// All headers except `ce_id` and `ce_source`. Default: none. [`Headers::view`](crate::Headers::view) makes the
    /// view.
    pub headers: HeadersRef<'a>,
    /// The encoded event. Default: none, which is a tombstone.
    pub payload: Option<&'a [u8]>,
}

impl MessageParts<'_> {
    /// Returns the bytes of a message of these parts in memory, as [`Message::memory`](super::Message::memory).
    #[must_use]
    pub fn memory(&self) -> usize {
        let key = self.key.unwrap_or_default();
        let payload = self.payload.unwrap_or_default();
        let texts = self.source.len() + self.id.len() + self.topic.len();
        texts + key.len() + self.headers.encoded().len() + payload.len()
    }

    /// Appends the parts to `buffer`, and returns where they end, relative to the first byte.
    #[allow(clippy::expect_used, reason = "a message of 4 GiB is documented to panic")]
    pub(super) fn write(&self, buffer: &mut BytesMut) -> Ends {
        let start = buffer.len();
        buffer.reserve(self.memory());
        let mut put = |part: &[u8]| {
            buffer.put_slice(part);
            u32::try_from(buffer.len() - start).expect("a message is smaller than 4 GiB")
        };
        let ends = Ends {
            source: put(self.source.as_bytes()),
            id: put(self.id.as_bytes()),
            topic: put(self.topic.as_bytes()),
            key: put(self.key.unwrap_or_default()),
            headers: put(self.headers.encoded()),
            has_key: self.key.is_some(),
            has_payload: self.payload.is_some(),
        };
        put(self.payload.unwrap_or_default());
        ends
    }
}

impl fmt::Debug for MessageParts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("source", &self.source)
            .field("id", &self.id)
            .field("topic", &self.topic)
            .field("key", &self.key.map(String::from_utf8_lossy))
            .field("headers", &self.headers)
            .field("payload", &self.payload.map(String::from_utf8_lossy))
            .finish()
    }
}
