//! A database in memory, with transactions that are isolated and roll back.

mod database;
mod event_store;
mod events;

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

use super::memory_publisher::decode_all;
use crate::{
    Claim, Claimed, Error, Inbox, Message, Outbox, UnitOfWork,
    clock::Clock,
    event::Event,
    idempotency::{Admission, CallKey, Replies, StoredReply},
};
use database::{Database, Lock, Request, Staged};

/// The longest time for which a transaction waits for a lock.
const LOCK_LIMIT: Duration = Duration::from_secs(5);

/// A [`UnitOfWork`] in memory, with an inbox, an outbox, stored replies, an event store and a table of rows. Clones share
/// one database.
///
/// The unit behaves as a database at READ COMMITTED with row locks. Only the transaction itself reads its writes until
/// it commits, and dropping the transaction discards them. A transaction that uses a claim, an idempotency key or a row
/// of another open transaction waits until the other transaction ends. After 5 s of waiting, as in a deadlock, the
/// operation fails with [`Conflict`](crate::ErrorKind::Conflict).
#[derive(Clone, Default)]
pub struct MemoryUnit(Arc<Database>);

/// An open transaction of a [`MemoryUnit`]. Dropping it rolls it back.
pub struct MemoryTx {
    database: Arc<Database>,
    number: u64,
    staged: Staged,
}

impl MemoryUnit {
    /// Creates an empty database.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Creates an empty database that takes the time of recorded events from `clock`.
    #[must_use]
    pub fn with_clock(clock: Clock) -> Self {
        Self(Arc::new(Database::new(clock)))
    }

    /// Makes the next commit roll back and fail with `error`. Several calls make as many commits fail, in their order.
    pub fn fail_next_commit(&self, error: Error) {
        self.0.lock().commit_errors.push_back(error);
    }

    /// Takes the failures of commits back that have not happened yet. Returns their number.
    pub(super) fn forget_commit_failures(&self) -> usize {
        self.0.lock().commit_errors.drain(..).count()
    }

    /// Returns a number that identifies the database in this process.
    pub(super) fn address(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }

    /// Returns the committed messages of the outbox, in the order of their commits.
    #[must_use]
    pub fn messages(&self) -> Vec<Message> {
        self.0.lock().committed.messages.clone()
    }

    /// Returns the events of type `E` among [`MemoryUnit::messages`].
    ///
    /// # Errors
    /// Returns [`Invalid`](crate::ErrorKind::Invalid) if a message of this type cannot be decoded.
    pub fn events<E: Event + Serialize + DeserializeOwned>(&self) -> Result<Vec<E>, Error> {
        decode_all(&self.0.lock().committed.messages)
    }

    /// Returns the committed row `name`.
    #[must_use]
    pub fn row(&self, name: &str) -> Option<Bytes> {
        self.0.lock().committed.rows.get(name).cloned()
    }

    /// Returns all committed rows, sorted by name.
    #[must_use]
    pub fn rows(&self) -> Vec<(String, Bytes)> {
        self.0.lock().committed.rows.clone().into_iter().collect()
    }

    /// Returns whether a transaction with `claim` has committed.
    #[must_use]
    pub fn has_claim(&self, claim: &Claim) -> bool {
        self.0.lock().committed.claims.contains(claim)
    }

    fn check_owner(&self, tx: &MemoryTx) -> Result<(), Error> {
        if Arc::ptr_eq(&self.0, &tx.database) {
            return Ok(());
        }
        Err(Error::fatal("the transaction belongs to another MemoryUnit"))
    }
}

impl MemoryTx {
    /// Returns the row `name` as this transaction sees it, and locks the row until the transaction ends, as
    /// `SELECT … FOR UPDATE` does. No other transaction can change the row between this read and a later write.
    ///
    /// # Errors
    /// Returns [`Conflict`](crate::ErrorKind::Conflict) if another transaction locks the row for more than 5 s.
    pub async fn read(&mut self, name: &str) -> Result<Option<Bytes>, Error> {
        self.lock(Lock::Row(name.to_owned())).await?;
        if let Some(staged) = self.staged.rows.get(name) {
            return Ok(staged.clone());
        }
        Ok(self.database.lock().committed.rows.get(name).cloned())
    }

    /// Writes `value` to the row `name`, and locks the row until the transaction ends.
    ///
    /// # Errors
    /// Returns [`Conflict`](crate::ErrorKind::Conflict) if another transaction locks the row for more than 5 s.
    pub async fn write(&mut self, name: &str, value: impl Into<Bytes> + Send) -> Result<(), Error> {
        let value = value.into();
        self.lock(Lock::Row(name.to_owned())).await?;
        self.staged.rows.insert(name.to_owned(), Some(value));
        Ok(())
    }

    /// Deletes the row `name` if it exists, and locks the row until the transaction ends.
    ///
    /// # Errors
    /// Returns [`Conflict`](crate::ErrorKind::Conflict) if another transaction locks the row for more than 5 s.
    pub async fn delete(&mut self, name: &str) -> Result<(), Error> {
        self.lock(Lock::Row(name.to_owned())).await?;
        self.staged.rows.insert(name.to_owned(), None);
        Ok(())
    }

    async fn lock(&self, lock: Lock) -> Result<(), Error> {
        // The system clock: a deadlock must end also while the test's manual clock stands still.
        match Clock::system().timeout(LOCK_LIMIT, self.database.acquire(&lock, self.number)).await {
            Ok(()) => Ok(()),
            Err(_) => Err(Error::conflict(format!(
                "no lock on {lock:?} within {LOCK_LIMIT:?}: a deadlock, or a transaction that was never committed or \
                 dropped"
            ))),
        }
    }
}

impl Drop for MemoryTx {
    fn drop(&mut self) {
        self.database.end(self.number);
    }
}

impl UnitOfWork for MemoryUnit {
    type Tx = MemoryTx;

    async fn begin(&self) -> Result<MemoryTx, Error> {
        let number = self.0.begin();
        Ok(MemoryTx { database: self.0.clone(), number, staged: Staged::default() })
    }

    async fn commit(&self, mut tx: MemoryTx) -> Result<(), Error> {
        self.check_owner(&tx)?;
        self.0.commit(std::mem::take(&mut tx.staged))
    }
}

impl Inbox for MemoryUnit {
    async fn claim(&self, tx: &mut MemoryTx, claims: &[Claim]) -> Result<Vec<Claimed>, Error> {
        self.check_owner(tx)?;
        // Sort the claims, so that concurrent calls acquire their locks in the same order.
        let mut sorted: Vec<_> = claims.to_vec();
        sorted.sort();
        sorted.dedup();
        for claim in sorted {
            tx.lock(Lock::Claim(claim)).await?;
        }
        let database = self.0.lock();
        let mut result = |claim: &Claim| {
            let new = !database.committed.claims.contains(claim) && tx.staged.claims.insert(claim.clone());
            if new { Claimed::New } else { Claimed::Seen }
        };
        Ok(claims.iter().map(&mut result).collect())
    }
}

impl Outbox for MemoryUnit {
    async fn enqueue(&self, tx: &mut MemoryTx, messages: &[Message]) -> Result<(), Error> {
        self.check_owner(tx)?;
        tx.staged.messages.extend_from_slice(messages);
        Ok(())
    }
}

impl Replies for MemoryUnit {
    async fn admit(&self, tx: &mut MemoryTx, key: &CallKey) -> Result<Admission, Error> {
        self.check_owner(tx)?;
        let id = (key.scope.clone(), key.key.clone());
        tx.lock(Lock::Request(id.clone())).await?;
        if let Some(request) = tx.staged.replies.get(&id) {
            return request.admit(key);
        }
        if let Some(request) = self.0.lock().committed.replies.get(&id) {
            return request.admit(key);
        }
        tx.staged.replies.insert(id, Request { fingerprint: key.fingerprint, reply: None });
        Ok(Admission::Run(()))
    }

    async fn complete(&self, tx: &mut MemoryTx, key: &CallKey, reply: &StoredReply) -> Result<(), Error> {
        self.check_owner(tx)?;
        reply.check()?;
        let id = (key.scope.clone(), key.key.clone());
        match tx.staged.replies.get_mut(&id).map(|request| &mut request.reply) {
            Some(empty @ None) => *empty = Some(reply.clone()),
            _ => {
                return Err(Error::invalid(
                    "`complete` needs a request that this transaction admitted with `Run`, and only once",
                ));
            }
        }
        Ok(())
    }
}

impl fmt::Debug for MemoryUnit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemoryUnit")
    }
}

impl fmt::Debug for MemoryTx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryTx").field("number", &self.number).finish_non_exhaustive()
    }
}
