//! The conformance suite of [`EventStore`]: a stream has no gap, no append is lost or doubled, and history can be read.

mod appends;
mod reads;

use super::{
    Broken, UnitFixture,
    check::{Suite, unique},
    outbox::OutboxFixture,
};
use crate::{
    Error, ErrorKind, Message, MessageParts,
    event_sourcing::{Append, Appended, EventStore, Expected, Read, Recorded, Stream},
};

pub use appends::*;
pub use reads::*;

/// Checks every guarantee.
///
/// # Errors
/// Returns [`Broken`] with every violated guarantee and what was observed.
pub async fn all<F: OutboxFixture + UnitFixture<Unit: EventStore>>(fixture: &F) -> Result<(), Broken> {
    let mut suite = Suite::new("EventStore");
    suite
        .check("the versions of a stream are 1, 2, 3, and its events are unchanged", versions_count(fixture))
        .await;
    suite.check("an append at another version is a conflict", another_version_is_a_conflict(fixture)).await;
    suite
        .check("events, messages and effect commit together", events_and_messages_commit_together(fixture))
        .await;
    suite.check("one of many appends at a version wins", one_of_many_wins(fixture)).await;
    suite.check("appends at any version wait for each other", any_version_leaves_no_gap(fixture)).await;
    suite.check("a repeated append writes nothing", repetition_writes_nothing(fixture)).await;
    suite.check("an identity belongs to one event", identity_belongs_to_one_event(fixture)).await;
    suite.check("faulty appends are refused", faulty_appends_are_refused(fixture)).await;
    suite.check("a read returns a range in either direction", ranges_and_directions(fixture)).await;
    suite.check("pages are bounded in events and bytes", pages_are_bounded(fixture)).await;
    suite.check("a read at a time returns what was recorded by then", reads_at_a_time(fixture)).await;
    suite.check("the latest snapshot is kept", latest_snapshot_is_kept(fixture)).await;
    suite.finish()
}

/// Returns the name of a new stream.
fn new_stream() -> Stream {
    Stream::new(unique("category"), unique("id"))
}

/// Returns an event of `stream` with a new id.
fn event(stream: &Stream, payload: &str) -> Message {
    let parts =
        MessageParts { source: "suite", payload: Some(payload.as_bytes()), ..MessageParts::default() };
    stream.event(&Message::new(MessageParts { id: &unique("e"), ..parts }))
}

/// Appends in a transaction of its own.
async fn append<U: EventStore>(
    unit: &U,
    stream: &Stream,
    expected: Expected,
    events: &[Message],
) -> Result<Appended, Error> {
    let mut tx = unit.begin().await?;
    let appended = unit.append(&mut tx, Append { stream, expected, events, messages: &[] }).await?;
    unit.commit(tx).await?;
    Ok(appended)
}

/// Reads in a transaction of its own.
async fn read<U: EventStore>(unit: &U, stream: &Stream, read: Read) -> Result<Vec<Recorded>, Error> {
    let mut tx = unit.begin().await?;
    unit.read(&mut tx, stream, read).await
}

fn versions(events: &[Recorded]) -> Vec<u64> {
    events.iter().map(|recorded| recorded.version).collect()
}

fn kind<T>(result: &Result<T, Error>) -> Option<ErrorKind> {
    result.as_ref().err().map(|error| error.kind)
}
