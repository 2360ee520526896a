//! A unit of work on SQLite: implements the transaction traits of comms-core.

use comms_core::{
    Claim, Claimed, Error, Inbox, Message, Outbox, UnitOfWork,
    idempotency::{Admission, CallKey, Replies, StoredReply},
};
use sqlx::SqlitePool;

use super::{
    Tables,
    tx::{SqliteTx, begin, commit},
};
use crate::CommitSignal;

/// A unit of work: opens transactions on a pool, with inbox, outbox and stored replies in each of them. Clones share
/// the pool and the commit signal.
///
/// Implements [`UnitOfWork`], [`Inbox`], [`Outbox`] and [`Replies`], whose documentation has the guarantees. A
/// transaction that is dropped without a commit is rolled back.
#[derive(Debug, Clone)]
pub struct SqliteUnit {
    pool: SqlitePool,
    pub(super) tables: Tables,
    commit_signal: CommitSignal,
}

impl SqliteUnit {
    /// Creates a unit of work on `pool` with the outbox of `tables`.
    #[must_use]
    pub fn new(pool: SqlitePool, tables: Tables) -> Self {
        Self { pool, tables, commit_signal: CommitSignal::new() }
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
        begin(&self.pool).await
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
