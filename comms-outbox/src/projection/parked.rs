//! Events that a projection cannot apply, as an operator sees them.

use std::time::Duration;

use comms_core::event_sourcing::Stream;

/// What happens to an event that a projection could not apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ParkedEventState {
    /// The projection waits for an operator. It applies no later event.
    Parked,
    /// The projection attempts the event again, because `Tables::retry_event` was called.
    Retry,
    /// The projection passes over the event, because `Tables::skip_event` was called.
    Skipped,
}

impl ParkedEventState {
    /// Returns the value of the column `state`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Parked => "parked",
            Self::Retry => "retry",
            Self::Skipped => "skipped",
        }
    }

    /// Converts the value of the column `state`. An unknown value becomes `Parked`.
    pub(crate) fn of(text: &str) -> Self {
        match text {
            "retry" => Self::Retry,
            "skipped" => Self::Skipped,
            _ => Self::Parked,
        }
    }
}

/// An event that a projection could not apply: the projection is parked at it, or an operator has skipped it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ParkedEvent {
    /// The name of the projection.
    pub projection: String,
    /// The revision of the projection.
    pub revision: u32,
    /// The id of the event's row in `comms_event`.
    pub row: i64,
    /// The source of the event.
    pub source: String,
    /// The id of the event.
    pub id: String,
    /// The stream of the event.
    pub stream: Stream,
    /// The version of the event in its stream.
    pub version: u64,
    /// What happens to the event.
    pub state: ParkedEventState,
    /// [`ErrorKind`](comms_core::ErrorKind) of the last failure, as text.
    pub error_kind: String,
    /// The last failure, at most 1 KiB.
    pub error: String,
    /// When the projection was parked: time since 1970, by the database's clock.
    pub parked_at: Duration,
    /// Why the operator skipped the event.
    pub reason: Option<String>,
}

impl ParkedEvent {
    /// Returns the text for readiness and logs.
    pub(crate) fn text(&self) -> String {
        format!(
            "parked at event {} (version {} of stream {}): {}: {}. Call Tables::retry_event or Tables::skip_event",
            self.id, self.version, self.stream, self.error_kind, self.error
        )
    }
}
