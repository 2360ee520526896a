//! The events and snapshots of the database in memory.

use std::collections::HashMap;

use crate::{
    Message,
    event_sourcing::{Recorded, Snapshot, Stream},
};

/// The events of streams and their snapshots, committed or of one transaction.
#[derive(Default)]
pub(super) struct Events {
    pub(super) streams: HashMap<Stream, Vec<Recorded>>,
    /// The place of each event by its identity.
    pub(super) places: HashMap<Identity, (Stream, u64)>,
    pub(super) snapshots: HashMap<Stream, Snapshot>,
}

/// Source and id of a message.
pub(super) type Identity = (String, String);

impl Events {
    /// Adds the writes of a transaction.
    pub(super) fn extend(&mut self, staged: Self) {
        for (stream, events) in staged.streams {
            self.streams.entry(stream).or_default().extend(events);
        }
        self.places.extend(staged.places);
        self.snapshots.extend(staged.snapshots);
    }

    /// Returns the events of `stream`.
    pub(super) fn of(&self, stream: &Stream) -> &[Recorded] {
        self.streams.get(stream).map_or(&[], Vec::as_slice)
    }
}

pub(super) fn identity(message: &Message) -> Identity {
    (message.source().to_owned(), message.id().to_owned())
}
