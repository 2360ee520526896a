//! The suite of event stores reports stores with a fault.

use super::*;
use crate::event_sourcing::{Append, Appended, EventStore, Expected, Read, Recorded, Snapshot, Stream};

/// A store that has one fault.
#[derive(Clone)]
struct FaultyStore(MemoryUnit, Fault);

#[derive(Clone, Copy, PartialEq)]
enum Fault {
    IgnoresTheVersion,
    LosesMessages,
    WritesRepetitions,
    HasUnboundedPages,
    IgnoresTheTime,
    KeepsNoSnapshot,
}

impl UnitOfWork for FaultyStore {
    type Tx = MemoryTx;
    async fn begin(&self) -> Result<MemoryTx, Error> {
        self.0.begin().await
    }
    async fn commit(&self, tx: MemoryTx) -> Result<(), Error> {
        self.0.commit(tx).await
    }
}

impl EventStore for FaultyStore {
    async fn append(&self, tx: &mut MemoryTx, append: Append<'_>) -> Result<Appended, Error> {
        match self.1 {
            Fault::IgnoresTheVersion => self.0.append(tx, Append { expected: Expected::Any, ..append }).await,
            Fault::LosesMessages => self.0.append(tx, Append { messages: &[], ..append }).await,
            Fault::WritesRepetitions => {
                let renamed = |event: &Message| Message::new(MessageParts { id: &unique(), ..event.parts() });
                let events: Vec<_> = append.events.iter().map(renamed).collect();
                self.0.append(tx, Append { events: &events, ..append }).await
            }
            _ => self.0.append(tx, append).await,
        }
    }
    async fn read(&self, tx: &mut MemoryTx, stream: &Stream, read: Read) -> Result<Vec<Recorded>, Error> {
        let bounds = Read { max_events: usize::MAX, max_bytes: usize::MAX, ..read };
        match self.1 {
            Fault::HasUnboundedPages => self.0.read(tx, stream, bounds).await,
            Fault::IgnoresTheTime => self.0.read(tx, stream, Read { at: None, ..read }).await,
            _ => self.0.read(tx, stream, read).await,
        }
    }
    async fn snapshot(&self, tx: &mut MemoryTx, stream: &Stream) -> Result<Option<Snapshot>, Error> {
        self.0.snapshot(tx, stream).await
    }
    async fn save_snapshot(
        &self,
        tx: &mut MemoryTx,
        stream: &Stream,
        snapshot: &Snapshot,
    ) -> Result<(), Error> {
        match self.1 {
            Fault::KeepsNoSnapshot => Ok(()),
            _ => self.0.save_snapshot(tx, stream, snapshot).await,
        }
    }
}

impl Outbox for FaultyStore {
    async fn enqueue(&self, tx: &mut MemoryTx, messages: &[Message]) -> Result<(), Error> {
        self.0.enqueue(tx, messages).await
    }
}

impl UnitFixture for FaultyStore {
    type Unit = Self;
    fn unit(&self) -> Self {
        self.clone()
    }
    async fn write(&self, tx: &mut MemoryTx, text: &str) -> Result<(), Error> {
        self.0.write(tx, text).await
    }
    async fn count(&self, text: &str) -> Result<usize, Error> {
        self.0.count(text).await
    }
}

impl OutboxFixture for FaultyStore {
    async fn sent(&self, topic: &str) -> Result<Vec<Message>, Error> {
        self.0.sent(topic).await
    }
}

fn unique() -> String {
    check::unique("renamed")
}

#[tokio::test(start_paused = true)]
async fn the_suite_reports_a_faulty_event_store() {
    for (fault, guarantees) in [
        (Fault::IgnoresTheVersion, ["an append at another version is a conflict", "one of many appends"]),
        (Fault::LosesMessages, ["events, messages and effect commit together", "only the committed message"]),
        (Fault::WritesRepetitions, ["a repeated append writes nothing", "an identity belongs to one event"]),
        (Fault::HasUnboundedPages, ["pages are bounded", "Read { from: 1"]),
        (Fault::IgnoresTheTime, ["a read at a time", "returns this event and the earlier ones"]),
        (Fault::KeepsNoSnapshot, ["the latest snapshot is kept", "a snapshot is read as it was saved"]),
    ] {
        let broken = event_store::all(&FaultyStore(MemoryUnit::new(), fault)).await.unwrap_err().to_string();
        for guarantee in guarantees {
            assert!(broken.contains(guarantee), "{broken}");
        }
    }
}
