//! The event store of the database in memory.

use super::{MemoryTx, MemoryUnit, database::Lock, events::identity};
use crate::{
    Error, Message,
    event_sourcing::{Append, Appended, Direction, EventStore, Read, Recorded, Snapshot, Stream},
};

impl MemoryTx {
    /// Returns the events of `stream` as this transaction sees them.
    fn stream(&self, stream: &Stream) -> Vec<Recorded> {
        let mut events = self.database.lock().committed.events.of(stream).to_vec();
        events.extend_from_slice(self.staged.events.of(stream));
        events
    }

    /// Returns the stored ones of `events`: the version in `stream`, or `None` for another stream.
    fn stored(&self, stream: &Stream, events: &[Message]) -> Vec<Option<u64>> {
        let committed = &self.database.lock().committed.events.places;
        let place = |event| {
            let identity = identity(event);
            committed.get(&identity).or_else(|| self.staged.events.places.get(&identity))
        };
        let places = events.iter().filter_map(place);
        places.map(|(other, version)| (other == stream).then_some(*version)).collect()
    }
}

impl EventStore for MemoryUnit {
    async fn append(&self, tx: &mut MemoryTx, append: Append<'_>) -> Result<Appended, Error> {
        self.check_owner(tx)?;
        append.check()?;
        tx.lock(Lock::Stream(append.stream.clone())).await?;
        for event in append.events {
            tx.lock(Lock::Event(identity(event))).await?;
        }
        let events = tx.stream(append.stream);
        let stored = tx.stored(append.stream, append.events);
        let last = events.last().map(|event| (event.version, event.recorded_at)).unwrap_or_default();
        let appended = append.outcome(last.0, &stored)?;
        if appended.repeated {
            return Ok(appended);
        }
        let recorded_at = last.1.max(self.0.clock.unix());
        let staged = &mut tx.staged.events;
        let stream = staged.streams.entry(append.stream.clone()).or_default();
        for (version, message) in (appended.first..).zip(append.events) {
            stream.push(Recorded { version, recorded_at, message: message.clone() });
            staged.places.insert(identity(message), (append.stream.clone(), version));
        }
        tx.staged.messages.extend_from_slice(append.messages);
        Ok(appended)
    }

    async fn read(&self, tx: &mut MemoryTx, stream: &Stream, read: Read) -> Result<Vec<Recorded>, Error> {
        self.check_owner(tx)?;
        let mut events = tx.stream(stream);
        if read.direction == Direction::Backwards {
            events.reverse();
        }
        let selected = |event: &Recorded| {
            (read.from..=read.up_to).contains(&event.version)
                && read.at.is_none_or(|at| event.recorded_at <= at)
        };
        let (mut bytes, mut page) = (0, Vec::new());
        for event in events.into_iter().filter(selected).take(read.max_events.max(1)) {
            bytes += event.message.memory();
            page.push(event);
            if bytes >= read.max_bytes {
                break;
            }
        }
        Ok(page)
    }

    async fn snapshot(&self, tx: &mut MemoryTx, stream: &Stream) -> Result<Option<Snapshot>, Error> {
        self.check_owner(tx)?;
        let staged = tx.staged.events.snapshots.get(stream).cloned();
        Ok(staged.or_else(|| self.0.lock().committed.events.snapshots.get(stream).cloned()))
    }

    async fn save_snapshot(
        &self,
        tx: &mut MemoryTx,
        stream: &Stream,
        snapshot: &Snapshot,
    ) -> Result<(), Error> {
        tx.lock(Lock::Snapshot(stream.clone())).await?;
        let newer = |old: &Snapshot| old.schema == snapshot.schema && old.version > snapshot.version;
        if !self.snapshot(tx, stream).await?.as_ref().is_some_and(newer) {
            tx.staged.events.snapshots.insert(stream.clone(), snapshot.clone());
        }
        Ok(())
    }
}
