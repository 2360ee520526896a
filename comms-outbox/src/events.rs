//! Limits and values of the event store, for both backends.

use comms_core::{
    Error,
    event_sourcing::{Append, Read, Stream},
};

use crate::limits;

/// Returns `Invalid` if an append is faulty or exceeds a limit, before anything is written.
pub(crate) fn check(append: &Append<'_>) -> Result<(), Error> {
    check_stream(append.stream)?;
    append.check()?;
    limits::check(append.events)?;
    limits::check(append.messages)
}

/// Returns `Invalid` if the name of the stream does not fit into the index of the events.
pub(crate) fn check_stream(stream: &Stream) -> Result<(), Error> {
    limits::check_name("the category of a stream", &stream.category)?;
    limits::check_name("the id of a stream", &stream.id)
}

/// The bounds of a read as values of the database.
pub(crate) struct Bounds {
    pub(crate) from: i64,
    pub(crate) up_to: i64,
    pub(crate) max_events: i64,
    pub(crate) max_bytes: i64,
}

impl Bounds {
    pub(crate) fn of(read: &Read) -> Self {
        Self {
            from: signed(read.from),
            up_to: signed(read.up_to),
            max_events: signed(read.max_events.max(1) as u64),
            max_bytes: signed(read.max_bytes.max(1) as u64),
        }
    }
}

/// Returns `value`, or the largest value of the database. No version reaches it.
pub(crate) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Returns a version that this crate has stored.
pub(crate) fn version(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}
