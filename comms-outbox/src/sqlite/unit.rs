//! Transactions on SQLite behind the seams of comms-core.

use comms_core::{
    Claim, Claimed, Error, Inbox, Message, Outbox, UnitOfWork,
    idempotency::{Admission, CallKey, Replies, StoredReply},
};
use sqlx::SqlitePool;

pub(super) use super::tx::{begin, commit};
use super::{SqliteTx, Tables};
use crate::Wake;

/// Opens transactions of a pool, with inbox, outbox and stored replies in them. Clones share all.
#[derive(Debug, Clone)]
pub struct SqliteUnit {
    pool: SqlitePool,
    tables: Tables,
    wake: Wake,
}

impl SqliteUnit {
    /// A unit of work on `pool` with the outbox of `tables`.
    #[must_use]
    pub fn new(pool: SqlitePool, tables: Tables) -> Self {
        Self { pool, tables, wake: Wake::new() }
    }

    /// The bell that every commit rings: give it to the relay of this process.
    #[must_use]
    pub fn wake(&self) -> Wake {
        self.wake.clone()
    }
}

impl UnitOfWork for SqliteUnit {
    type Tx = SqliteTx;

    async fn begin(&self) -> Result<Self::Tx, Error> {
        begin(&self.pool).await
    }

    async fn commit(&self, tx: Self::Tx) -> Result<(), Error> {
        commit(tx).await?;
        self.wake.ring();
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
