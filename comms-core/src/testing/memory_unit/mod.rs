//! A database in memory, with real transactions.

mod database;

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

use super::memory_publisher::decoded;
use crate::{
    Claim, Claimed, Error, Inbox, Message, Outbox, UnitOfWork,
    clock::Clock,
    event::Event,
    idempotency::{Admission, CallKey, Replies, StoredReply},
};
use database::{Database, Lock, Request, Staged};

/// How long a transaction waits for another.
const LOCK_LIMIT: Duration = Duration::from_secs(5);

/// A unit of work in memory, with inbox, outbox, stored replies and a table of rows. Clones share one database.
///
/// As a database at READ COMMITTED with row locks: what a transaction has staged is seen by it alone until it
/// commits; dropped, it never was. Who touches the same claim, key or row waits for the other's end; two
/// transactions that wait for each other are told so with `Conflict` after 5 s.
#[derive(Clone, Default)]
pub struct MemoryUnit(Arc<Database>);

/// An open transaction of a [`MemoryUnit`]. Dropping it rolls back.
pub struct MemoryTx {
    database: Arc<Database>,
    number: u64,
    staged: Staged,
}

impl MemoryUnit {
    /// An empty database.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The next commit fails with `error`, and its transaction is rolled back.
    pub fn fail_next_commit(&self, error: Error) {
        self.0.lock().refusals.push_back(error);
    }

    /// What was committed into the outbox, in order.
    #[must_use]
    pub fn messages(&self) -> Vec<Message> {
        self.0.lock().committed.messages.clone()
    }

    /// The events of type `E` among [`MemoryUnit::messages`].
    ///
    /// # Errors
    /// `Invalid` where one does not decode.
    pub fn events<E: Event + Serialize + DeserializeOwned>(&self) -> Result<Vec<E>, Error> {
        decoded(&self.0.lock().committed.messages)
    }

    /// The committed row of this name.
    #[must_use]
    pub fn row(&self, name: &str) -> Option<Bytes> {
        self.0.lock().committed.rows.get(name).cloned()
    }

    /// All committed rows, by name.
    #[must_use]
    pub fn rows(&self) -> Vec<(String, Bytes)> {
        self.0.lock().committed.rows.clone().into_iter().collect()
    }

    /// Whether a transaction that made `claim` has committed.
    #[must_use]
    pub fn has_claim(&self, claim: &Claim) -> bool {
        self.0.lock().committed.claims.contains(claim)
    }

    fn own(&self, tx: &MemoryTx) -> Result<(), Error> {
        if Arc::ptr_eq(&self.0, &tx.database) {
            return Ok(());
        }
        Err(Error::fatal("this transaction belongs to another database"))
    }
}

impl MemoryTx {
    /// The row of this name as this transaction sees it. Locks it, as `SELECT … FOR UPDATE` does: what is
    /// written after is never based on what another has changed since.
    ///
    /// # Errors
    /// `Conflict` where another transaction holds the row for more than 5 s.
    pub async fn read(&mut self, name: &str) -> Result<Option<Bytes>, Error> {
        self.hold(Lock::Row(name.to_owned())).await?;
        if let Some(staged) = self.staged.rows.get(name) {
            return Ok(staged.clone());
        }
        Ok(self.database.lock().committed.rows.get(name).cloned())
    }

    /// Writes a row.
    ///
    /// # Errors
    /// `Conflict` where another transaction holds the row for more than 5 s.
    pub async fn write(&mut self, name: &str, value: impl Into<Bytes> + Send) -> Result<(), Error> {
        let value = value.into();
        self.hold(Lock::Row(name.to_owned())).await?;
        self.staged.rows.insert(name.to_owned(), Some(value));
        Ok(())
    }

    /// Deletes a row, if it is there.
    ///
    /// # Errors
    /// `Conflict` where another transaction holds the row for more than 5 s.
    pub async fn delete(&mut self, name: &str) -> Result<(), Error> {
        self.hold(Lock::Row(name.to_owned())).await?;
        self.staged.rows.insert(name.to_owned(), None);
        Ok(())
    }

    async fn hold(&self, lock: Lock) -> Result<(), Error> {
        // The system clock: a deadlock must end also while the test's manual clock stands still.
        match Clock::system().timeout(LOCK_LIMIT, self.database.hold(&lock, self.number)).await {
            Ok(()) => Ok(()),
            Err(_) => Err(Error::conflict(format!(
                "waited {LOCK_LIMIT:?} for a transaction that holds {lock:?}: a deadlock, or one that was forgotten"
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
        self.own(&tx)?;
        self.0.commit(std::mem::take(&mut tx.staged))
    }
}

impl Inbox for MemoryUnit {
    async fn claim(&self, tx: &mut MemoryTx, claims: &[Claim]) -> Result<Vec<Claimed>, Error> {
        self.own(tx)?;
        // Sorted, so that two calls take their locks in the same order.
        let mut sorted: Vec<_> = claims.to_vec();
        sorted.sort();
        sorted.dedup();
        for claim in sorted {
            tx.hold(Lock::Claim(claim)).await?;
        }
        let database = self.0.lock();
        let mut answer = |claim: &Claim| {
            let new = !database.committed.claims.contains(claim) && tx.staged.claims.insert(claim.clone());
            if new { Claimed::New } else { Claimed::Seen }
        };
        Ok(claims.iter().map(&mut answer).collect())
    }
}

impl Outbox for MemoryUnit {
    async fn enqueue(&self, tx: &mut MemoryTx, messages: &[Message]) -> Result<(), Error> {
        self.own(tx)?;
        tx.staged.messages.extend_from_slice(messages);
        Ok(())
    }
}

impl Replies for MemoryUnit {
    async fn admit(&self, tx: &mut MemoryTx, key: &CallKey) -> Result<Admission, Error> {
        self.own(tx)?;
        let name = (key.scope.clone(), key.key.clone());
        tx.hold(Lock::Reply(name.clone())).await?;
        if let Some(request) = tx.staged.replies.get(&name) {
            return request.admit(key);
        }
        if let Some(request) = self.0.lock().committed.replies.get(&name) {
            return request.admit(key);
        }
        tx.staged.replies.insert(name, Request { fingerprint: key.fingerprint, reply: None });
        Ok(Admission::Run(()))
    }

    async fn complete(&self, tx: &mut MemoryTx, key: &CallKey, reply: &StoredReply) -> Result<(), Error> {
        self.own(tx)?;
        reply.check()?;
        let name = (key.scope.clone(), key.key.clone());
        match tx.staged.replies.get_mut(&name).map(|request| &mut request.reply) {
            Some(empty @ None) => *empty = Some(reply.clone()),
            _ => {
                return Err(Error::invalid(
                    "answer needs a request that was admitted with Run, and only once",
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
