//! Computes a state from its snapshot and its events.

use super::{Loaded, Repository};
use crate::{
    Error, ErrorKind,
    event_sourcing::{Aggregate, EventSet, EventStore, Read, Recorded, Stream},
};

impl<A: Aggregate, U: EventStore> Repository<A, U> {
    /// Returns the state of the snapshot of `stream`, if there is one that decodes and is not newer than `up_to`.
    pub(super) async fn snapshot_state(
        &self,
        tx: &mut U::Tx,
        stream: &Stream,
        up_to: u64,
    ) -> Result<Loaded<A>, Error> {
        let Some(snapshots) = &self.snapshots else { return Ok(Loaded::default()) };
        let snapshot = self.unit.snapshot(tx, stream).await?.filter(|snapshot| snapshot.version <= up_to);
        let loaded = snapshot.and_then(|s| Some(Loaded { version: s.version, state: snapshots.decode(&s)? }));
        Ok(loaded.unwrap_or_default())
    }

    /// Evolves `loaded` by the events that follow it.
    pub(super) async fn replay(
        &self,
        tx: &mut U::Tx,
        stream: &Stream,
        mut loaded: Loaded<A>,
        read: Read,
    ) -> Result<Loaded<A>, Error> {
        let mut next = Some(Read { from: loaded.version + 1, ..read });
        while let Some(read) = next {
            let page = self.unit.read(tx, stream, read).await?;
            for recorded in &page {
                loaded.state.evolve(&decode(stream, recorded)?);
                loaded.version = recorded.version;
            }
            next = read.next(&page);
        }
        Ok(loaded)
    }
}

/// Decodes a stored event. One that does not decode is a fault of this service, and not of the command.
fn decode<S: EventSet>(stream: &Stream, recorded: &Recorded) -> Result<S, Error> {
    S::decode(&recorded.message).map_err(|mut error| {
        if error.kind == ErrorKind::Invalid {
            error.kind = ErrorKind::Internal;
        }
        error.context(format_args!("read version {} of the stream {stream}", recorded.version))
    })
}
