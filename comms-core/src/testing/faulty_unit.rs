//! A database whose commits fail as a test requests.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::MemoryUnit;
use crate::{
    Claim, Claimed, Error, Inbox, Message, Outbox, UnitOfWork,
    event_sourcing::{Append, Appended, EventStore, Read, Recorded, Snapshot, Stream},
    idempotency::{Admission, CallKey, Replies, StoredReply},
};

/// A unit of work of which a test can let commits fail: [`MemoryUnit`], and any other in a [`FaultyUnit`].
pub trait CommitFaults: Send + Sync {
    /// Makes the next commit roll back and fail with `error`. Several calls make as many commits fail, in their order.
    fn fail_next_commit(&self, error: Error);

    /// Takes the faults back that have not happened yet. Returns their number.
    fn forget_commit_faults(&self) -> usize;
}

/// A [`UnitOfWork`] whose commits fail as the test requests. Clones share the database and the faults.
///
/// A handler that works on a real database is tested with it: pass a `FaultyUnit` to
/// [`transactional`](crate::transactional) instead of the unit.
///
/// ```
/// use comms_core::{Error, ErrorKind, in_transaction};
/// use comms_core::testing::{CommitFaults, FaultyUnit, MemoryUnit};
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let database = MemoryUnit::new(); // or a `PgUnit`, or a `SqliteUnit`
/// let unit = FaultyUnit::new(database.clone());
/// unit.fail_next_commit(Error::conflict("deadlock"));
/// unit.lose_next_answer(Error::indeterminate("the connection was closed"));
/// let write = async || in_transaction(&unit, async |mut tx| tx.write("row", "value").await).await;
///
/// assert_eq!(write().await.unwrap_err().kind, ErrorKind::Conflict);
/// assert_eq!(database.row("row"), None, "rolled back");
/// assert_eq!(write().await.unwrap_err().kind, ErrorKind::Indeterminate);
/// assert!(database.row("row").is_some(), "committed");
/// # }
/// ```
#[derive(Clone)]
pub struct FaultyUnit<U> {
    unit: U,
    faults: Arc<Mutex<VecDeque<Fault>>>,
}

/// The fault of one commit.
enum Fault {
    /// The transaction is rolled back.
    Failure(Error),
    /// The transaction is committed, and the answer is lost.
    LostAnswer(Error),
}

impl<U> FaultyUnit<U> {
    /// Wraps `unit`. Its commits succeed until the test requests a fault.
    pub fn new(unit: U) -> Self {
        Self { unit, faults: Arc::default() }
    }

    /// Makes the next commit succeed in the database and fail with `error` for its caller. The fault follows those that
    /// were requested before.
    pub fn lose_next_answer(&self, error: Error) {
        self.faults().push_back(Fault::LostAnswer(error));
    }

    fn faults(&self) -> MutexGuard<'_, VecDeque<Fault>> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<U: Send + Sync> CommitFaults for FaultyUnit<U> {
    fn fail_next_commit(&self, error: Error) {
        self.faults().push_back(Fault::Failure(error));
    }

    fn forget_commit_faults(&self) -> usize {
        self.faults().drain(..).count()
    }
}

impl CommitFaults for MemoryUnit {
    fn fail_next_commit(&self, error: Error) {
        Self::fail_next_commit(self, error);
    }

    fn forget_commit_faults(&self) -> usize {
        self.forget_commit_failures()
    }
}

impl<U: UnitOfWork> UnitOfWork for FaultyUnit<U> {
    type Tx = U::Tx;

    async fn begin(&self) -> Result<U::Tx, Error> {
        self.unit.begin().await
    }

    async fn commit(&self, tx: U::Tx) -> Result<(), Error> {
        let fault = self.faults().pop_front();
        match fault {
            None => self.unit.commit(tx).await,
            Some(Fault::Failure(error)) => Err(error),
            Some(Fault::LostAnswer(error)) => self.unit.commit(tx).await.and(Err(error)),
        }
    }
}

impl<U: Inbox> Inbox for FaultyUnit<U> {
    async fn claim(&self, tx: &mut U::Tx, claims: &[Claim]) -> Result<Vec<Claimed>, Error> {
        self.unit.claim(tx, claims).await
    }
}

impl<U: Outbox> Outbox for FaultyUnit<U> {
    async fn enqueue(&self, tx: &mut U::Tx, messages: &[Message]) -> Result<(), Error> {
        self.unit.enqueue(tx, messages).await
    }
}

impl<U: Replies> Replies for FaultyUnit<U> {
    async fn admit(&self, tx: &mut U::Tx, key: &CallKey) -> Result<Admission, Error> {
        self.unit.admit(tx, key).await
    }

    async fn complete(&self, tx: &mut U::Tx, key: &CallKey, reply: &StoredReply) -> Result<(), Error> {
        self.unit.complete(tx, key, reply).await
    }
}

impl<U: EventStore> EventStore for FaultyUnit<U> {
    async fn append(&self, tx: &mut U::Tx, append: Append<'_>) -> Result<Appended, Error> {
        self.unit.append(tx, append).await
    }

    async fn read(&self, tx: &mut U::Tx, stream: &Stream, read: Read) -> Result<Vec<Recorded>, Error> {
        self.unit.read(tx, stream, read).await
    }

    async fn snapshot(&self, tx: &mut U::Tx, stream: &Stream) -> Result<Option<Snapshot>, Error> {
        self.unit.snapshot(tx, stream).await
    }

    async fn save_snapshot(&self, tx: &mut U::Tx, stream: &Stream, snapshot: &Snapshot) -> Result<(), Error> {
        self.unit.save_snapshot(tx, stream, snapshot).await
    }
}

impl<U> fmt::Debug for FaultyUnit<U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyUnit").field("faults", &self.faults().len()).finish_non_exhaustive()
    }
}
