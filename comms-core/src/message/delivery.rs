//! One delivery of a message to a handler.

use std::{fmt, sync::Arc};

use super::Message;

/// One delivery of a message to a handler of a consumer group.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The message. Its topic is the topic from which it was delivered.
    pub message: Message,
    /// The consumer group.
    pub group: Arc<str>,
    /// The handler within the group: the topic it is subscribed to, unless the application names the handler with
    /// [`named`](crate::named). An inbox row records the effect of (`group`, `handler`). A delivery that reaches the
    /// same handler through another topic, such as a retry topic, keeps the handler of the original topic.
    pub handler: Arc<str>,
    /// The position in the topic, if the transport has positions.
    pub position: Position,
    /// The number of the attempt, starting at 1. After a restart of the process the number starts at 1 again.
    pub attempt: u32,
}

/// The position of a message in the log from which it was delivered. A transport without partitions leaves the fields
/// `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Position {
    /// The partition of the topic.
    pub partition: Option<i32>,
    /// The offset in the partition.
    pub offset: Option<i64>,
    /// The timestamp that the log stores for the message, in milliseconds since 1970.
    pub timestamp: Option<i64>,
}

impl Position {
    /// Creates the position `offset` in `partition`, without a timestamp.
    #[must_use]
    pub const fn at(partition: i32, offset: i64) -> Self {
        Self { partition: Some(partition), offset: Some(offset), timestamp: None }
    }

    /// Returns the position with `millis` as its timestamp.
    #[must_use]
    pub fn with_timestamp(self, millis: impl Into<Option<i64>>) -> Self {
        Self { timestamp: millis.into(), ..self }
    }
}

impl Delivery {
    /// Makes a delivery of `message`, with attempt 1 and without a position, to the handler of its topic in `group`.
    pub fn new(message: Message, group: impl Into<Arc<str>>) -> Self {
        let handler = message.topic().into();
        Self { message, group: group.into(), handler, position: Position::default(), attempt: 1 }
    }

    /// Returns the delivery with `handler` as its handler.
    #[must_use]
    pub fn to_handler(self, handler: impl Into<Arc<str>>) -> Self {
        Self { handler: handler.into(), ..self }
    }

    /// Returns the delivery with `position` as its position.
    #[must_use]
    pub fn at(self, position: Position) -> Self {
        Self { position, ..self }
    }

    /// Returns where the message comes from, for logs: `orders/3@512` is offset 512 of partition 3 of the topic
    /// `orders`, and `orders#7` is the message with the id `7` of a transport without partitions.
    pub fn origin(&self) -> impl fmt::Display {
        Origin(self)
    }
}

struct Origin<'a>(&'a Delivery);

impl fmt::Display for Origin<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Delivery { message, position, .. } = self.0;
        match (position.partition, position.offset) {
            (Some(partition), Some(offset)) => write!(f, "{}/{partition}@{offset}", message.topic()),
            _ => write!(f, "{}#{}", message.topic(), message.id()),
        }
    }
}
