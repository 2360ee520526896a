//! Messages that could not be delivered, as an operator sees them, and the reason that is stored with them.

use std::time::Duration;

use bytes::Bytes;
use comms_core::{Error, ErrorKind};

/// The most bytes of a stored reason.
const REASON_LIMIT: usize = 1024;

/// What a parked message waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ParkedState {
    /// The message waits for an operator to release it.
    Parked,
    /// The message waits for a cause outside itself, and the relay attempts it again.
    Held,
    /// The message is released: the relay delivers it next, in the order of its key.
    Released,
}

impl ParkedState {
    /// Returns the value of the column `state`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Parked => "parked",
            Self::Held => "held",
            Self::Released => "released",
        }
    }

    /// Converts the value of the column `state`. An unknown value becomes `Parked`.
    pub(crate) fn of(text: &str) -> Self {
        match text {
            "released" => Self::Released,
            "held" => Self::Held,
            _ => Self::Parked,
        }
    }
}

/// A message that a relay has parked or holds: it was refused, or stands behind a refused message of its key.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Parked {
    /// The id of the message's row in the outbox.
    pub outbox_id: i64,
    /// [`Message::source`](comms_core::Message::source).
    pub source: String,
    /// [`Message::id`](comms_core::Message::id).
    pub id: String,
    /// The topic of the message.
    pub topic: String,
    /// The key of the message. A message without a key is parked alone.
    pub key: Option<Bytes>,
    /// The event type of the message, if it has one.
    pub event_type: Option<String>,
    /// What the message waits for.
    pub state: ParkedState,
    /// The attempts that counted, added up over all releases. An attempt that ends in a hold does not count, and neither
    /// does a refusal because the message stands behind another.
    pub attempts: u32,
    /// [`ErrorKind`] of the last failure, as text; `None` for a message that stands behind another.
    pub error_kind: Option<String>,
    /// The reason, at most 1 KiB.
    pub error: String,
    /// When the message was parked: time since 1970, by the database's clock.
    pub parked_at: Duration,
}

/// Why a message is refused. A subscriber returns it to the relay as the source of an error, so that the relay can
/// store the number of attempts and the failure.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    pub(crate) attempts: u32,
    /// The kind of the failure; `None` if the message was not attempted because an earlier one of its key was refused.
    pub(crate) kind: Option<ErrorKind>,
    pub(crate) reason: String,
    /// How long to hold the message before the relay attempts it again; `None`: until an operator releases it.
    pub(crate) hold: Option<Duration>,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for Refusal {}

impl Refusal {
    /// The refusal of a message behind a refused one of its key.
    pub(crate) fn behind(reason: &str) -> Self {
        Self {
            attempts: 0,
            kind: None,
            reason: sanitize(format!("behind an earlier message of its key: {reason}")),
            hold: None,
        }
    }

    /// The refusal of a message whose last attempt failed with `error`.
    pub(crate) fn after_attempts(attempts: u32, error: &Error) -> Self {
        Self { attempts, kind: Some(error.kind), reason: sanitize(error.chain().to_string()), hold: None }
    }

    /// Returns the refusal that is the cause of `error`.
    pub(crate) fn carried_by(error: &Error) -> Option<&Self> {
        error.cause().downcast_ref()
    }

    /// Returns the refusal that is the cause of `error`, or else a refusal after one attempt with this error.
    pub(crate) fn of(error: &Error) -> Self {
        Self::carried_by(error).cloned().unwrap_or_else(|| Self::after_attempts(1, error))
    }
}

/// Removes NUL, which text columns cannot store, and cuts `text` after [`REASON_LIMIT`] bytes.
pub(crate) fn sanitize(mut text: String) -> String {
    text.retain(|c| c != '\0');
    text.truncate(text.floor_char_boundary(REASON_LIMIT));
    text
}
