//! The repository: loads an aggregate (`load.rs`), lets it decide, and appends its events.

mod load;

use std::{fmt, marker::PhantomData, sync::Arc, time::Duration};

use super::{
    Aggregate, Append, Audit, EventSet, EventStore, Expected, Read, Snapshots, Stream, VersionConflict,
};
use crate::{Error, ErrorKind, Message, event::EventSource};

/// How often [`Repository::run`] attempts a command.
const ATTEMPTS: usize = 5;

type Announce<A> = Arc<dyn Fn(&A, &[<A as Aggregate>::Event]) -> Result<Vec<Message>, Error> + Send + Sync>;

/// Loads aggregates of type `A` from the event store `U`, and executes commands.
///
/// The module [`event_sourcing`](super) has an example. Clones are cheap.
pub struct Repository<A: Aggregate, U> {
    unit: U,
    source: EventSource,
    snapshots: Option<Snapshots<A>>,
    announce: Option<Announce<A>>,
    audit: Option<Arc<Audit>>,
    aggregate: PhantomData<fn() -> A>,
}

/// An aggregate, computed from its events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Loaded<A> {
    /// The state.
    pub state: A,
    /// The version of the last event in the state. 0 if the stream has no events.
    pub version: u64,
}

/// The result of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Executed<A: Aggregate> {
    /// The state after the events.
    pub state: A,
    /// The version of the last event. 0 if the stream has no events.
    pub version: u64,
    /// The events of the command. Empty if it changed nothing.
    pub events: Vec<A::Event>,
}

/// The point in the history of a stream for [`Repository::load_at`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// After the event with this version.
    Version(u64),
    /// After the last event that was recorded at this time or before, since 1970. The load reads all earlier events.
    Time(Duration),
}

impl<A: Aggregate, U: EventStore> Repository<A, U> {
    /// Creates a repository without snapshots, over the event store of `unit`. `source` makes the messages of the
    /// events.
    #[must_use]
    pub fn new(unit: U, source: EventSource) -> Self {
        Self { unit, source, snapshots: None, announce: None, audit: None, aggregate: PhantomData }
    }

    /// Uses snapshots, and stores them in the transactions of commands. Default: none.
    #[must_use]
    pub fn snapshots(self, snapshots: Snapshots<A>) -> Self {
        Self { snapshots: Some(snapshots), ..self }
    }

    /// Writes the messages that `announce` returns to the outbox, with the events of each command. It gets the state
    /// after the events, and the events. Default: no messages.
    ///
    /// The events of a stream are private to the service. A message for others is made here, so that the two can change
    /// apart from each other.
    #[must_use]
    pub fn announce(
        self,
        announce: impl Fn(&A, &[A::Event]) -> Result<Vec<Message>, Error> + Send + Sync + 'static,
    ) -> Self {
        Self { announce: Some(Arc::new(announce)), ..self }
    }

    /// Returns the repository for commands of one principal: `audit` is stored with their events.
    #[must_use]
    pub fn audited(&self, audit: Audit) -> Self {
        Self { audit: Some(Arc::new(audit)), ..self.clone() }
    }

    /// Returns the name of the stream of the aggregate `id`.
    #[must_use]
    pub fn stream(&self, id: &str) -> Stream {
        Stream::new(A::CATEGORY, id)
    }

    /// Loads the aggregate `id` in the transaction `tx`. An aggregate without events has its default state and version
    /// 0.
    ///
    /// # Errors
    /// Returns [`Misconfigured`](ErrorKind::Misconfigured) if a newer program has stored an event that this one does
    /// not read, and [`Internal`](ErrorKind::Internal) if an event does not decode. Returns the errors of
    /// [`EventStore`].
    pub async fn load(&self, tx: &mut U::Tx, id: &str) -> Result<Loaded<A>, Error> {
        let (stream, read) = (self.stream(id), Read::default());
        let start = self.snapshot_state(tx, &stream, read.up_to).await?;
        self.replay(tx, &stream, start, read).await
    }

    /// Loads the aggregate `id` as it was at a point in its history.
    ///
    /// # Errors
    /// Returns the errors of [`load`](Self::load).
    pub async fn load_at(&self, tx: &mut U::Tx, id: &str, at: At) -> Result<Loaded<A>, Error> {
        let stream = self.stream(id);
        match at {
            At::Version(up_to) => {
                let start = self.snapshot_state(tx, &stream, up_to).await?;
                self.replay(tx, &stream, start, Read { up_to, ..Read::default() }).await
            }
            At::Time(at) => {
                let read = Read { at: Some(at), ..Read::default() };
                self.replay(tx, &stream, Loaded::default(), read).await
            }
        }
    }

    /// Executes `command` on the aggregate `id` in the transaction `tx`: loads it, lets it decide, and appends its
    /// events, if no other append precedes.
    ///
    /// # Errors
    /// Returns the error of [`Aggregate::decide`] if the command is refused. Returns
    /// [`Conflict`](ErrorKind::Conflict) if another command on the aggregate commits first: repeat the transaction, or
    /// use [`run`](Self::run). Returns [`Misconfigured`](ErrorKind::Misconfigured) if the snapshot is newer than the
    /// stream. Returns the errors of [`load`](Self::load), of [`EventStore::append`], and of the
    /// function of [`announce`](Self::announce).
    pub async fn execute(&self, tx: &mut U::Tx, id: &str, command: A::Command) -> Result<Executed<A>, Error> {
        self.attempt(tx, id, command).await?
    }

    /// Executes `command` as [`execute`](Self::execute) does, in a transaction of its own, and commits it. After a
    /// conflict with another transaction it starts again from the new state, with 5 attempts at most.
    ///
    /// # Errors
    /// Returns the errors of [`execute`](Self::execute), of [`UnitOfWork::begin`](crate::UnitOfWork::begin) and of
    /// [`UnitOfWork::commit`](crate::UnitOfWork::commit). A refused command is not repeated, whatever its kind.
    pub async fn run(&self, id: &str, command: A::Command) -> Result<Executed<A>, Error>
    where
        A::Command: Clone,
    {
        for _ in 1..ATTEMPTS {
            match self.transact(id, command.clone()).await {
                Err(error) if error.kind == ErrorKind::Conflict => {}
                ended => return ended?,
            }
        }
        self.transact(id, command).await?
    }

    /// Makes one attempt of [`run`](Self::run). The inner error is that of a refused command.
    async fn transact(&self, id: &str, command: A::Command) -> Result<Result<Executed<A>, Error>, Error> {
        let mut tx = self.unit.begin().await?;
        match self.attempt(&mut tx, id, command).await? {
            Ok(executed) => self.unit.commit(tx).await.map(|()| Ok(executed)),
            refused => Ok(refused),
        }
    }

    /// The inner error is that of a refused command.
    async fn attempt(
        &self,
        tx: &mut U::Tx,
        id: &str,
        command: A::Command,
    ) -> Result<Result<Executed<A>, Error>, Error> {
        let stream = self.stream(id);
        let start = self.snapshot_state(tx, &stream, u64::MAX).await?;
        let snapshot = start.version;
        let Loaded { mut state, version } = self.replay(tx, &stream, start, Read::default()).await?;
        let events = match state.decide(command) {
            Ok(events) if events.is_empty() => return Ok(Ok(Executed { state, version, events })),
            Ok(events) => events,
            Err(refused) => return Ok(Err(refused)),
        };
        events.iter().for_each(|event| state.evolve(event));
        let messages = self.announce.as_ref().map(|announce| announce(&state, &events)).transpose()?;
        let encoded =
            events.iter().map(|event| self.encode(&stream, event)).collect::<Result<Vec<_>, _>>()?;
        let append = Append {
            stream: &stream,
            expected: Expected::Version(version),
            events: &encoded,
            messages: &messages.unwrap_or_default(),
        };
        let appended = self.unit.append(tx, append).await;
        let version = appended.map_err(|error| newer_snapshot(error, snapshot))?.last;
        if let Some(snapshots) = &self.snapshots
            && snapshots.is_due(snapshot, version)
            && let Some(snapshot) = snapshots.encode(&state, version)
        {
            self.unit.save_snapshot(tx, &stream, &snapshot).await?;
        }
        Ok(Ok(Executed { state, version, events }))
    }

    fn encode(&self, stream: &Stream, event: &A::Event) -> Result<Message, Error> {
        let message = event.message(&self.source)?;
        let Some(audit) = &self.audit else { return Ok(stream.event(&message)) };
        Ok(stream.event(&message.with_headers(|headers| audit.write(headers))))
    }
}

/// Explains a conflict with a stream that ends before the snapshot: its events were restored from an older copy. The command
/// would conflict for ever.
fn newer_snapshot(error: Error, snapshot: u64) -> Error {
    match VersionConflict::of(&error) {
        Some(VersionConflict { stream, actual: Some(actual), .. }) if *actual < snapshot => {
            Error::misconfigured(format!(
                "the snapshot of the stream {stream} is of version {snapshot}, and the stream has version {actual}: its \
                 events were restored from an older copy. Delete the snapshot, the row of comms_snapshot"
            ))
        }
        _ => error,
    }
}

impl<A: Aggregate, U: Clone> Clone for Repository<A, U> {
    fn clone(&self) -> Self {
        Self {
            unit: self.unit.clone(),
            source: self.source.clone(),
            snapshots: self.snapshots.clone(),
            announce: self.announce.clone(),
            audit: self.audit.clone(),
            aggregate: PhantomData,
        }
    }
}

impl<A: Aggregate, U: fmt::Debug> fmt::Debug for Repository<A, U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Repository")
            .field("category", &A::CATEGORY)
            .field("unit", &self.unit)
            .field("snapshots", &self.snapshots)
            .field("audit", &self.audit)
            .finish_non_exhaustive()
    }
}
