//! The name of a stream.

use std::{fmt, sync::Arc};

use crate::{Message, MessageParts};

/// The name of a stream: the events of one entity.
///
/// A backend may limit the length of both parts. comms-outbox accepts 1 to 512 bytes without NUL.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stream {
    /// The kind of entity, [`Aggregate::CATEGORY`](super::Aggregate::CATEGORY): the topic of the events.
    pub category: Arc<str>,
    /// The id of the entity within the category: the key of the events.
    pub id: Arc<str>,
}

impl Stream {
    /// Returns the name of the stream of the entity `id` in `category`.
    pub fn new(category: impl Into<Arc<str>>, id: impl Into<Arc<str>>) -> Self {
        Self { category: category.into(), id: id.into() }
    }

    /// Returns a copy of `message` as an event of this stream: the category is its topic, and the id is its key.
    #[must_use]
    pub fn event(&self, message: &Message) -> Message {
        let key = Some(self.id.as_bytes());
        Message::new(MessageParts { topic: &self.category, key, ..message.parts() })
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.category, self.id)
    }
}
