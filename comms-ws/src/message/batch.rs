//! The messages of one turn of a flusher, joined to one write for each encoding.

use std::sync::{Arc, OnceLock};

use bytes::{Bytes, BytesMut};

use super::{Encoding, Message};

/// The messages of a topic that are sent in one turn. All sessions with the same encoding share the bytes.
pub(crate) struct Batch {
    messages: Vec<Arc<Message>>,
    joined: [OnceLock<Bytes>; Encoding::COUNT],
}

impl Batch {
    /// Creates a batch of `messages`, which are not empty.
    pub(crate) fn new(messages: Vec<Arc<Message>>) -> Self {
        Self { messages, joined: Default::default() }
    }

    pub(crate) fn messages(&self) -> &[Arc<Message>] {
        &self.messages
    }

    /// Returns the messages as one write. They are joined at the first call.
    pub(crate) fn bytes(&self, encoding: Encoding) -> Bytes {
        if let [message] = self.messages.as_slice() {
            return message.encoded(encoding).clone();
        }
        let joined = self.joined[encoding as usize].get_or_init(|| {
            let parts = || self.messages.iter().map(|message| message.encoded(encoding));
            let mut joined = BytesMut::with_capacity(parts().map(Bytes::len).sum());
            parts().for_each(|part| joined.extend_from_slice(part));
            joined.freeze()
        });
        joined.clone()
    }
}
