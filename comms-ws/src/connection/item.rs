//! A frame in a queue.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    backplane::Position,
    cursor::{self, CursorKey},
    message::{self, Encoding, Message},
    protocol::{JoinedTopic, ServerFrame},
    topic::Topic,
};

/// What a frame `missed` counts in the queue, in bytes.
pub(super) const MISSED_BYTES: usize = 256;

/// A topic with its cursor token.
pub(crate) type Token = (Arc<str>, Box<str>);

/// A frame in a queue.
#[derive(Debug, Clone)]
pub(crate) enum Item {
    Message(Arc<Message>),
    /// A frame for this client alone: its JSON text, and the cursor tokens that it carries.
    Control(Bytes, Vec<Token>),
    /// A frame of the transport itself, such as a ping, encoded.
    Raw(Bytes),
    /// Messages of a topic up to a position were removed from the queue.
    Missed(Arc<Topic>, Option<Position>),
}

impl Item {
    /// Returns a frame without a cursor.
    pub(crate) fn control(frame: &ServerFrame<'_>) -> Self {
        Self::Control(frame.encode(), Vec::new())
    }

    /// Returns a frame that carries the cursors of `topics`.
    pub(crate) fn with_cursors<'a>(
        frame: &ServerFrame<'_>,
        topics: impl IntoIterator<Item = &'a JoinedTopic>,
    ) -> Self {
        let token = |joined: &JoinedTopic| {
            joined.cursor.as_ref().map(|cursor| (joined.topic.as_str().into(), cursor.as_str().into()))
        };
        Self::Control(frame.encode(), topics.into_iter().filter_map(token).collect())
    }

    pub(crate) fn bytes(&self, encoding: Encoding, keys: &[CursorKey]) -> Bytes {
        match self {
            Self::Message(message) => message.encoded(encoding).clone(),
            Self::Control(text, _) => encoding.encode(text),
            Self::Raw(bytes) => bytes.clone(),
            Self::Missed(topic, position) => {
                encoding.encode(&message::missed(topic, *position, "slow", keys).0)
            }
        }
    }

    /// Returns the cursor tokens that the frame carries.
    pub(crate) fn tokens(&self, keys: &[CursorKey]) -> Vec<Token> {
        match self {
            Self::Message(message) => {
                let token = message.token(keys).map(|token| (message.topic.name.clone(), token.into()));
                token.into_iter().collect()
            }
            Self::Control(_, tokens) => tokens.clone(),
            Self::Missed(topic, Some(position)) => {
                vec![(topic.name.clone(), cursor::token(keys, &topic.name, *position).into())]
            }
            Self::Raw(_) | Self::Missed(_, None) => Vec::new(),
        }
    }

    /// Returns what the frame counts in the queue, in bytes.
    pub(super) fn len(&self, encoding: Encoding) -> usize {
        match self {
            Self::Message(message) => message.encoded(encoding).len(),
            Self::Control(text, _) => text.len() + 10,
            Self::Raw(bytes) => bytes.len(),
            Self::Missed(..) => MISSED_BYTES,
        }
    }
}
