//! A message on its way to the sessions of this node, encoded once for each [`Encoding`].

mod batch;
mod encoding;

pub(crate) use batch::Batch;
pub use encoding::Encoding;

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use serde::Deserialize;

use crate::{
    backplane::Position,
    cursor::{self, CursorKey},
    meters::Meters,
    protocol::ServerFrame,
    topic::{Filter, Topic},
};

/// The parts of a message that the hub reads.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Head {
    pub(crate) event: String,
    #[serde(default)]
    pub(crate) key: Option<String>,
}

/// A message of a topic, shared by all its sessions.
pub(crate) struct Message {
    pub(crate) topic: Arc<Topic>,
    pub(crate) position: Option<Position>,
    /// `None`: a frame of the hub for all sessions of the topic, whatever their filter.
    pub(crate) head: Option<Head>,
    encoded: [OnceLock<Bytes>; Encoding::COUNT],
    text: Bytes,
    token: OnceLock<Box<str>>,
    meters: Arc<Meters>,
}

impl Message {
    /// Creates the message of a [`Push`](crate::Push) that the backplane delivered as JSON.
    ///
    /// # Errors
    /// Returns an error if `body` is not a JSON object with an `event`.
    pub(crate) fn event(
        topic: Arc<Topic>,
        position: Option<Position>,
        body: &[u8],
        meters: &Arc<Meters>,
    ) -> Result<Self, serde_json::Error> {
        let head: Head = serde_json::from_slice(body)?;
        let offset = position.map(|position| position.offset);
        let text = ServerFrame::event(&topic.name, offset, body);
        Ok(Self::new(topic, position, Some(head), text, meters))
    }

    /// Creates a frame `missed` for all sessions of `topic`: what was published up to `position` may not have reached
    /// them.
    pub(crate) fn missed(
        topic: Arc<Topic>,
        position: Option<Position>,
        reason: &'static str,
        keys: &[CursorKey],
        meters: &Arc<Meters>,
    ) -> Self {
        let (text, cursor) = missed(&topic, position, reason, keys);
        let message = Self::new(topic, position, None, text, meters);
        if let Some(cursor) = cursor {
            let _ = message.token.set(cursor.into());
        }
        message
    }

    /// Creates a frame of the hub for one session, which takes its place among the messages of `topic` after `position`.
    pub(crate) fn control(
        topic: Arc<Topic>,
        position: Option<Position>,
        text: Bytes,
        meters: &Arc<Meters>,
    ) -> Self {
        Self::new(topic, position, None, text, meters)
    }

    fn new(
        topic: Arc<Topic>,
        position: Option<Position>,
        head: Option<Head>,
        text: Bytes,
        meters: &Arc<Meters>,
    ) -> Self {
        meters.held(text.len());
        let (encoded, token, meters) = (Default::default(), OnceLock::new(), meters.clone());
        Self { topic, position, head, encoded, text, token, meters }
    }

    /// Returns the message for a transport. It is encoded at the first call.
    pub(crate) fn encoded(&self, encoding: Encoding) -> &Bytes {
        self.encoded[encoding as usize].get_or_init(|| {
            let bytes = encoding.encode(&self.text);
            self.meters.held(bytes.len());
            bytes
        })
    }

    /// Returns the cursor token after this message, or `None` in a topic without history.
    pub(crate) fn token(&self, keys: &[CursorKey]) -> Option<&str> {
        let position = self.position?;
        Some(self.token.get_or_init(|| cursor::token(keys, &self.topic.name, position).into()))
    }

    /// Returns whether the message passes `filter`. Frames of the hub pass every filter.
    pub(crate) fn passes(&self, filter: Option<&Filter>) -> bool {
        match (filter, &self.head) {
            (Some(filter), Some(head)) => filter.passes(&head.event, head.key.as_deref()),
            _ => true,
        }
    }

    /// Returns the length of the JSON text in bytes.
    pub(crate) fn size(&self) -> usize {
        self.text.len()
    }

    pub(crate) fn key(&self) -> Option<&str> {
        self.head.as_ref().and_then(|head| head.key.as_deref())
    }
}

/// Returns the text of a frame `missed`, and the cursor token in it.
pub(crate) fn missed(
    topic: &Topic,
    position: Option<Position>,
    reason: &'static str,
    keys: &[CursorKey],
) -> (Bytes, Option<String>) {
    let cursor = position.map(|position| cursor::token(keys, &topic.name, position));
    let frame = ServerFrame::Missed { topic: &topic.name, cursor: cursor.as_deref(), reason };
    (frame.encode(), cursor)
}

impl Drop for Message {
    fn drop(&mut self) {
        let encoded: usize = self.encoded.iter().filter_map(OnceLock::get).map(Bytes::len).sum();
        self.meters.released(self.text.len() + encoded);
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (topic, position) = (&self.topic.name, self.position);
        f.debug_struct("Message").field("topic", topic).field("position", &position).finish_non_exhaustive()
    }
}
