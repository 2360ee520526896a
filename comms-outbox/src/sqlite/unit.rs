//! A unit of work on SQLite: implements the transaction traits of comms-core.

use std::sync::Arc;

use comms_core::{
    Claim, Claimed, Error, Inbox, Message, Outbox, UnitOfWork,
    idempotency::{Admission, CallKey, Replies, StoredReply},
};
use sqlx::SqlitePool;
use tokio::sync::Semaphore;

use super::{
    Tables,
    tx::{SqliteTx, begin_in_turn, commit},
};
use crate::CommitSignal;

/// A unit of work: opens transactions on a pool, with inbox, outbox and stored replies in each of them. Clones share
/// the pool, the commit signal, and the turn to write: a transaction begins when the earlier ones have ended, and does not
/// wait for them in SQLite's busy loop, whose pauses are as long as many transactions.
///
/// Implements [`UnitOfWork`], [`Inbox`], [`Outbox`] and [`Replies`], whose documentation has the guarantees. A
/// transaction that is dropped without a commit is rolled back.
#[derive(Debug, Clone)]
pub struct SqliteUnit {
    pub(super) pool: SqlitePool,
    pub(super) tables: Tables,
    commit_signal: CommitSignal,
    /// One permit: SQLite has one writer at a time.
    writer: Arc<Semaphore>,
}

impl SqliteUnit {
    /// Creates a unit of work on `pool` with the outbox of `tables`.
    #[must_use]
    pub fn new(pool: SqlitePool, tables: Tables) -> Self {
        let writer = Arc::new(Semaphore::new(1));
        Self { pool, tables, commit_signal: CommitSignal::new(), writer }
    }

    /// Returns the signal that every commit notifies. Pass it to
    /// [`RelayBuilder::commit_signal`](crate::RelayBuilder::commit_signal).
    #[must_use]
    pub fn commit_signal(&self) -> CommitSignal {
        self.commit_signal.clone()
    }
}

impl UnitOfWork for SqliteUnit {
    type Tx = SqliteTx;

    async fn begin(&self) -> Result<Self::Tx, Error> {
        begin_in_turn(&self.pool, &self.writer).await
    }

    async fn commit(&self, tx: Self::Tx) -> Result<(), Error> {
        commit(tx).await?;
        self.commit_signal.notify();
        Ok(())
    }
}

impl Inbox for SqliteUnit {
    async fn claim(&self, tx: &mut Self::Tx, claims: &[Claim]) -> Result<Vec<Claimed>, Error> {
        let result = self.tables.claim(tx, claims).await;
        tx.checked(result)
    }
}

impl Outbox for SqliteUnit {
    async fn enqueue(&self, tx: &mut Self::Tx, messages: &[Message]) -> Result<(), Error> {
        let result = self.tables.enqueue(tx, messages).await;
        tx.checked(result)
    }
}

impl Replies for SqliteUnit {
    async fn admit(&self, tx: &mut Self::Tx, key: &CallKey) -> Result<Admission, Error> {
        let result = self.tables.admit(tx, key).await;
        tx.checked(result)
    }

    async fn complete(&self, tx: &mut Self::Tx, key: &CallKey, reply: &StoredReply) -> Result<(), Error> {
        let result = self.tables.complete(tx, key, reply).await;
        tx.checked(result)
    }
}
