//! Reading a stream in pages.

use std::time::Duration;

use crate::Message;

/// The order in which a read returns events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Direction {
    /// From the lowest version on. The default.
    #[default]
    Forwards,
    /// From the highest version on.
    Backwards,
}

/// Which events of a stream a page has. The default is all events, in pages of at most 1,000 events and about 8 MiB.
///
/// ```
/// use comms_core::event_sourcing::{Direction, Read};
/// let last = Read { direction: Direction::Backwards, max_events: 1, ..Read::default() };
/// let from_version_5 = Read { from: 5, ..Read::default() };
/// # drop((last, from_version_5));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Read {
    /// The lowest version. Default: 1.
    pub from: u64,
    /// The highest version. Default: no bound.
    pub up_to: u64,
    /// Only events that were recorded at this time or before, since 1970, see [`Recorded::recorded_at`]. Default: all.
    pub at: Option<Duration>,
    /// The order. Default: [`Direction::Forwards`].
    pub direction: Direction,
    /// The most events of a page, at least 1. Default: 1,000.
    pub max_events: usize,
    /// A page ends with the event at which the sum of [`Message::memory`] reaches this number of bytes. Default: 8 MiB.
    pub max_bytes: usize,
}

impl Read {
    /// Returns the read of the page that follows `page`, the result of this read. Returns `None` if no event follows.
    #[must_use]
    pub fn next(&self, page: &[Recorded]) -> Option<Self> {
        let last = page.last()?.version;
        let bytes: usize = page.iter().map(|recorded| recorded.message.memory()).sum();
        if page.len() < self.max_events.max(1) && bytes < self.max_bytes {
            return None;
        }
        match self.direction {
            Direction::Forwards => Some(Self { from: last + 1, ..*self }),
            Direction::Backwards => Some(Self { up_to: last - 1, ..*self }),
        }
    }
}

impl Default for Read {
    fn default() -> Self {
        Self {
            from: 1,
            up_to: u64::MAX,
            at: None,
            direction: Direction::Forwards,
            max_events: 1_000,
            max_bytes: 8 * 1024 * 1024,
        }
    }
}

/// A stored event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// The version of the event in its stream, from 1.
    pub version: u64,
    /// When the event was written, by the clock of the database, since 1970. Within a stream a later version has the
    /// same time or a later one. Its transaction committed after this time.
    pub recorded_at: Duration,
    /// The event as it was appended.
    pub message: Message,
}
