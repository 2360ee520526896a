//! The frames of the protocol, as the client reads and writes them.

use std::time::{Duration, Instant};

use comms_core::{Error, clock::Clock};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use crate::Filter;

/// A frame from the server.
#[derive(Debug)]
pub(super) enum ServerFrame {
    Welcome(Welcome),
    Event(EventFrame),
    Subscribed(TopicFrame),
    Unsubscribed(TopicFrame),
    Missed(TopicFrame),
    Refreshed(Expiry),
    Drain {
        retry_ms: u64,
    },
    Error {
        code: String,
        detail: String,
    },
    /// `pong`, or a type that this client does not have.
    Other,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Welcome {
    #[serde(default)]
    pub(super) session: String,
    #[serde(default)]
    pub(super) topics: Vec<TopicFrame>,
    /// The topics that the session joins later: a frame confirms or refuses each of them.
    #[serde(default)]
    pub(super) pending: Vec<String>,
    pub(super) ping_seconds: Option<u64>,
    #[serde(flatten)]
    pub(super) expiry: Expiry,
}

/// The end of a session, unless its token is refreshed.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Expiry {
    /// In seconds since 1970.
    expires: Option<u64>,
    /// In seconds from now.
    expires_in: Option<u64>,
}

impl Expiry {
    /// Returns the end of the session on the clock of this process. The relative time counts if there is one, because
    /// the time of day of client and server may differ.
    pub(super) fn at(&self, clock: &Clock) -> Option<Instant> {
        let left = match (self.expires_in, self.expires) {
            (Some(seconds), _) => Duration::from_secs(seconds),
            (None, Some(seconds)) => Duration::from_secs(seconds).saturating_sub(clock.unix()),
            (None, None) => return None,
        };
        clock.now().checked_add(left)
    }
}

/// A topic of `welcome`, or a frame about one topic.
#[derive(Debug, Deserialize)]
pub(super) struct TopicFrame {
    pub(super) topic: String,
    /// Absent for a topic without history.
    pub(super) cursor: Option<String>,
    pub(super) recovered: Option<bool>,
    /// Whether the offsets of the topic have gaps by design, because the server filters or conflates it.
    #[serde(default)]
    pub(super) sparse: bool,
    /// The window of the subscription. Absent: there is none, or the server is older than windows.
    pub(super) window: Option<usize>,
    pub(super) reason: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct EventFrame {
    pub(super) topic: String,
    /// Absent for a topic without history.
    pub(super) offset: Option<u64>,
    #[serde(default)]
    pub(super) id: String,
    pub(super) event: String,
    pub(super) time: Option<String>,
    pub(super) key: Option<String>,
    pub(super) traceparent: Option<String>,
    pub(super) data: Box<RawValue>,
}

#[derive(Deserialize)]
struct Kind<'a> {
    #[serde(rename = "type", borrow)]
    kind: std::borrow::Cow<'a, str>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Control {
    retry_ms: u64,
    code: String,
    detail: String,
}

impl ServerFrame {
    /// Reads a frame.
    ///
    /// The type is read first: a tagged enum of serde would parse `data` into a tree, and this client keeps its text.
    ///
    /// # Errors
    /// Returns `Invalid` if the text is not a JSON object, or a field is missing or has another type.
    pub(super) fn parse(text: &str) -> Result<Self, Error> {
        let Kind { kind } = read(text)?;
        Ok(match kind.as_ref() {
            "event" => Self::Event(read(text)?),
            "welcome" => Self::Welcome(read(text)?),
            "subscribed" => Self::Subscribed(read(text)?),
            "unsubscribed" => Self::Unsubscribed(read(text)?),
            "missed" => Self::Missed(read(text)?),
            "refreshed" => Self::Refreshed(read(text)?),
            "drain" => Self::Drain { retry_ms: read::<Control>(text)?.retry_ms },
            "error" => {
                let Control { code, detail, .. } = read(text)?;
                Self::Error { code, detail }
            }
            _ => Self::Other,
        })
    }
}

fn read<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Error> {
    serde_json::from_str(text).map_err(|e| Error::invalid(e).context("the server sent a malformed frame"))
}

/// A frame to the server.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum ClientFrame<'a> {
    Refresh {
        token: &'a str,
    },
    Subscribe {
        topic: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        cursor: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        filter: Option<&'a Filter>,
        #[serde(skip_serializing_if = "Option::is_none")]
        window: Option<usize>,
    },
    Unsubscribe {
        topic: &'a str,
    },
    Ack {
        cursor: &'a str,
    },
}

impl ClientFrame<'_> {
    /// Returns the JSON text.
    pub(super) fn encode(&self) -> String {
        // Strings alone: encoding them does not fail.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// Parses the content of an event.
pub(super) fn parse_data<T: DeserializeOwned>(data: &RawValue) -> Result<T, Error> {
    serde_json::from_str(data.get()).map_err(Error::invalid)
}
