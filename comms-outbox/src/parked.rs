//! What an operator sees of messages that could not be delivered.

use std::time::Duration;

use bytes::Bytes;
use comms_core::{Error, ErrorKind};

/// The longest reason that is kept, in bytes.
const REASON_LIMIT: usize = 1024;

/// Whether a parked message waits for somebody, or for the relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ParkedState {
    /// Waits until it is released.
    Parked,
    /// Waits for a cause outside the message, and is tried again by itself.
    Held,
    /// Released: the relay delivers it next, in the order of its key.
    Released,
}

impl ParkedState {
    /// The value of the column.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Parked => "parked",
            Self::Held => "held",
            Self::Released => "released",
        }
    }

    pub(crate) fn of(text: &str) -> Self {
        match text {
            "released" => Self::Released,
            "held" => Self::Held,
            _ => Self::Parked,
        }
    }
}

/// A message that a relay holds back: it was refused for good, or stands behind one of its key that was.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Parked {
    /// Its row in the outbox.
    pub outbox_id: i64,
    /// [`Message::source`](comms_core::Message::source).
    pub source: String,
    /// [`Message::id`](comms_core::Message::id).
    pub id: String,
    /// Where it was going.
    pub topic: String,
    /// Its key; `None`: it is parked alone.
    pub key: Option<Bytes>,
    /// The type of its event, if it has one.
    pub event_type: Option<String>,
    /// Waiting or released.
    pub state: ParkedState,
    /// How often its handler tried; 0 where it stands behind another.
    pub attempts: u32,
    /// [`ErrorKind`] of the last failure, as text; `None` where it stands behind another.
    pub error_kind: Option<String>,
    /// The reason, at most 1 KiB.
    pub error: String,
    /// When, since 1970, by the database's clock.
    pub parked_at: Duration,
}

/// Why a message is refused: carried inside an `Invalid` error from a subscriber to the relay, so that
/// the table says how often it was tried and what really failed.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    pub(crate) attempts: u32,
    /// `None`: not tried, an earlier one of its key had been refused.
    pub(crate) kind: Option<ErrorKind>,
    pub(crate) reason: String,
    /// After this time it is tried again by itself; `None`: it waits until it is released.
    pub(crate) hold: Option<Duration>,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for Refusal {}

impl Refusal {
    pub(crate) fn behind(reason: &str) -> Self {
        Self {
            attempts: 0,
            kind: None,
            reason: cut(format!("behind an earlier message of its key: {reason}")),
            hold: None,
        }
    }

    pub(crate) fn tried(attempts: u32, error: &Error) -> Self {
        Self { attempts, kind: Some(error.kind), reason: cut(error.chain().to_string()), hold: None }
    }

    /// The refusal that `error` carries.
    pub(crate) fn carried(error: &Error) -> Option<&Self> {
        error.cause().downcast_ref()
    }

    /// The refusal that `error` carries, or the one it stands for.
    pub(crate) fn of(error: &Error) -> Self {
        Self::carried(error).cloned().unwrap_or_else(|| Self::tried(1, error))
    }
}

/// Text columns hold no NUL, and a reason is not a place for megabytes.
pub(crate) fn cut(mut text: String) -> String {
    text.retain(|c| c != '\0');
    text.truncate(text.floor_char_boundary(REASON_LIMIT));
    text
}
