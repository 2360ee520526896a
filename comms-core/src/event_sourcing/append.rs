//! The request and the result of an append. The decision between them is the same for all backends.

use std::{collections::HashSet, fmt};

use super::Stream;
use crate::{Error, Message};

/// The version that the writer of an append expects the stream to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Expected {
    /// Any version: the events do not depend on the others of the stream.
    Any,
    /// The stream has no events. The same as version 0.
    NoStream,
    /// The number of events in the stream, which is the version of its last event.
    Version(u64),
}

impl Expected {
    /// Returns the expected version. Returns `None` for [`Expected::Any`].
    #[must_use]
    pub const fn version(self) -> Option<u64> {
        match self {
            Self::Any => None,
            Self::NoStream => Some(0),
            Self::Version(version) => Some(version),
        }
    }
}

/// Events for one stream, and messages for the outbox that are written with them.
#[derive(Debug, Clone, Copy)]
pub struct Append<'a> {
    /// The stream.
    pub stream: &'a Stream,
    /// The version that the stream must have.
    pub expected: Expected,
    /// The events in their order, made by [`Stream::event`]. May be empty.
    pub events: &'a [Message],
    /// Messages for the outbox, as [`Outbox::enqueue`](crate::Outbox::enqueue) takes them. May be empty.
    pub messages: &'a [Message],
}

/// The versions of appended events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// The version of the first event. One above `last` if there was no event to append.
    pub first: u64,
    /// The version of the last event.
    pub last: u64,
    /// Whether an earlier append has stored these events: nothing was written.
    pub repeated: bool,
}

impl Append<'_> {
    /// Checks that the events belong to the stream and differ in their identities. For backends, before a write.
    ///
    /// # Errors
    /// Returns [`Invalid`](crate::ErrorKind::Invalid) if the topic of an event is not the category, its key is not the
    /// id of the stream, or two events have one identity.
    pub fn check(&self) -> Result<(), Error> {
        let mut seen = HashSet::with_capacity(self.events.len());
        for event in self.events {
            let (topic, key) = (event.topic(), event.key());
            if *topic != *self.stream.category || key != Some(self.stream.id.as_bytes()) {
                return Err(Error::invalid(format!(
                    "the event {} has another topic or key than the stream {}: make it with Stream::event",
                    event.id(),
                    self.stream
                )));
            }
            if !seen.insert((event.source(), event.id())) {
                let (source, id) = (event.source(), event.id());
                return Err(Error::invalid(format!(
                    "the append has two events with the identity {source}/{id}"
                )));
            }
        }
        Ok(())
    }

    /// Decides the append from what the store has. For backends: if the result is not [`Appended::repeated`], write the
    /// events at its versions, and the messages.
    ///
    /// `head` is the version of the stream. `stored` has an element for each event whose identity is stored already, in
    /// the order of the events: its version in this stream, or `None` if it is in another stream.
    ///
    /// # Errors
    /// Returns [`Conflict`](crate::ErrorKind::Conflict) with a [`VersionConflict`] if the stream does not have the
    /// expected version. Returns `Conflict` if the identity of an event is stored already, and the append is not a
    /// repetition.
    pub fn outcome(&self, head: u64, stored: &[Option<u64>]) -> Result<Appended, Error> {
        let count = self.events.len() as u64;
        if stored.is_empty() {
            return match self.expected.version() {
                Some(expected) if expected != head => Err(self.conflict(Some(head))),
                _ => Ok(Appended { first: head + 1, last: head + count, repeated: false }),
            };
        }
        let first = stored[0].unwrap_or(0);
        let consecutive = stored.iter().zip(first..).all(|(stored, version)| *stored == Some(version));
        let expected = self.expected.version().is_none_or(|version| version.checked_add(1) == Some(first));
        if stored.len() == self.events.len() && consecutive && expected {
            return Ok(Appended { first, last: first + count - 1, repeated: true });
        }
        Err(self.identity_conflict())
    }

    /// Returns the error of an append to a stream that has the version `actual`, or that another transaction appends to
    /// at the same time. For backends.
    #[must_use]
    pub fn conflict(&self, actual: Option<u64>) -> Error {
        Error::conflict(VersionConflict { stream: self.stream.clone(), expected: self.expected, actual })
    }

    /// Returns the error of an append with an event whose identity is stored already. For backends.
    #[must_use]
    pub fn identity_conflict(&self) -> Error {
        Error::conflict(format!(
            "an event of the append to {} is stored already, in another stream, at another version, or without the other \
             events: an identity (source, id) belongs to one event",
            self.stream
        ))
    }
}

/// Another append preceded: the stream does not have the expected version. The cause of an [`Error`] of kind
/// [`Conflict`](crate::ErrorKind::Conflict); [`VersionConflict::of`] finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct VersionConflict {
    /// The stream.
    pub stream: Stream,
    /// The version that the writer expected.
    pub expected: Expected,
    /// The version that the stream has. `None` if another transaction appended at the same time, and its version is not
    /// known.
    pub actual: Option<u64>,
}

impl VersionConflict {
    /// Returns the version conflict that caused `error`.
    #[must_use]
    pub fn of(error: &Error) -> Option<&Self> {
        error.cause().downcast_ref()
    }
}

impl fmt::Display for VersionConflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stream, expected, actual } = self;
        match actual {
            None => write!(f, "another transaction appended to the stream {stream} at the same time")?,
            Some(0) => write!(f, "the stream {stream} has no events")?,
            Some(version) => write!(f, "the stream {stream} has version {version}")?,
        }
        match expected {
            Expected::Any => Ok(()),
            Expected::NoStream => f.write_str(", expected was a new stream"),
            Expected::Version(version) => write!(f, ", expected was version {version}"),
        }
    }
}

impl std::error::Error for VersionConflict {}
