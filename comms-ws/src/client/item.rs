//! What a client yields: events, and what happened to the connection and the topics.

use std::time::Duration;

use comms_core::Error;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::frame::{EventFrame, parse_data};

/// An item of [`Events`](super::Events).
#[derive(Debug)]
#[non_exhaustive]
pub enum Item {
    /// An event of a topic.
    Event(Event),
    /// Events of `topic` were lost, or may have been. The application reads the current state by other means, such as
    /// REST. The events that follow are complete.
    Missed {
        /// The topic.
        topic: String,
        /// Why events were lost.
        reason: MissedReason,
    },
    /// The server resumed `topic` after a reconnect, or at the position of [`Builder::cursor`](super::Builder::cursor):
    /// no event was lost.
    Recovered {
        /// The topic.
        topic: String,
    },
    /// A subscription of `topic` began. The events that follow are complete.
    Subscribed {
        /// The topic.
        topic: String,
    },
    /// The subscription of `topic` ended. The client does not subscribe again when it reconnects.
    Unsubscribed {
        /// The topic.
        topic: String,
        /// `None` after [`Client::unsubscribe`](super::Client::unsubscribe), else the reason of the server, such as
        /// `forbidden`.
        reason: Option<String>,
    },
    /// The server refused a subscription or a frame. The client does not repeat a refused subscription. A topic whose
    /// permission the server could not look up is not refused: the client subscribes to it again after the wait of
    /// [`Builder::backoff`](super::Builder::backoff).
    Refused {
        /// `forbidden`, `too_many_topics` or another code of the protocol.
        code: String,
        /// The topic of a refused subscription, else a text about the fault.
        detail: String,
    },
    /// A connection is open and the server accepted the token. An item for each topic follows.
    Connected {
        /// The id of the session, which the server logs.
        session: String,
    },
    /// The connection was lost or could not be opened. The client tries again.
    Disconnected {
        /// The time until the next attempt. Zero if an attempt is already in progress.
        retry_in: Duration,
        /// The cause.
        reason: Error,
    },
}

impl Item {
    /// Returns the topic of an event or a loss.
    pub(super) fn topic(&self) -> Option<&str> {
        match self {
            Self::Event(Event { topic, .. }) | Self::Missed { topic, .. } => Some(topic),
            _ => None,
        }
    }
}

/// An event of a topic.
#[derive(Debug)]
#[non_exhaustive]
pub struct Event {
    /// The topic.
    pub topic: String,
    /// The number of the event in its topic. `None`: the topic has no history.
    pub offset: Option<u64>,
    /// The identity of the event in its topic.
    pub id: String,
    /// The type of the event, such as `order.status.changed.v1`.
    pub event: String,
    /// The time of the event in RFC 3339 format.
    pub time: Option<String>,
    /// The thing that the event is about.
    pub key: Option<String>,
    /// The trace context of the event (W3C `traceparent`).
    pub traceparent: Option<String>,
    data: Box<RawValue>,
}

impl Event {
    /// Parses the content of the event.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](comms_core::ErrorKind::Invalid) if the content is no `T`.
    pub fn data<T: DeserializeOwned>(&self) -> Result<T, Error> {
        parse_data(&self.data).map_err(|e| e.context(format!("read {} of {}", self.event, self.topic)))
    }

    /// Returns the content of the event as JSON text.
    #[must_use]
    pub fn json(&self) -> &str {
        self.data.get()
    }
}

impl From<EventFrame> for Event {
    fn from(frame: EventFrame) -> Self {
        let EventFrame { topic, offset, id, event, time, key, traceparent, data } = frame;
        Self { topic, offset, id, event, time, key, traceparent, data }
    }
}

/// Why events of a topic were lost, see [`Item::Missed`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MissedReason {
    /// The connection was slower than the topic, and the server dropped events.
    Slow,
    /// The server lost the history of the topic and began a new one.
    Epoch,
    /// The history of the topic does not reach back to the position of the client.
    History,
    /// The topic has no history, and the client was not connected for a while.
    NoHistory,
    /// The offset of an event does not follow the one before. Not reported for a topic with a filter.
    Gap,
    /// A reason that this client does not have.
    Other,
}

impl MissedReason {
    pub(super) fn parse(reason: &str) -> Self {
        match reason {
            "slow" => Self::Slow,
            "epoch" => Self::Epoch,
            "history" => Self::History,
            _ => Self::Other,
        }
    }
}
