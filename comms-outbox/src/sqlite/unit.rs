//! Transactions on SQLite behind the seams of comms-core.

use comms_core::{
    Admit, CallKey, Claim, Claimed, Error, Inbox, Message, Outbox, Replies, StoredReply, UnitOfWork,
};
use sqlx::{Sqlite, SqlitePool, Transaction};

use super::Tables;
use crate::{Wake, commit_error, sql_error};

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
    type Tx = Transaction<'static, Sqlite>;

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
        self.tables.claim(tx, claims).await
    }
}

impl Outbox for SqliteUnit {
    async fn enqueue(&self, tx: &mut Self::Tx, messages: &[Message]) -> Result<(), Error> {
        self.tables.enqueue(tx, messages).await
    }
}

impl Replies for SqliteUnit {
    async fn admit(&self, tx: &mut Self::Tx, key: &CallKey) -> Result<Admit, Error> {
        self.tables.admit(tx, key).await
    }

    async fn answer(&self, tx: &mut Self::Tx, key: &CallKey, reply: &StoredReply) -> Result<(), Error> {
        self.tables.answer(tx, key, reply).await
    }
}

/// Begins a transaction that writes, for a unit of work of the application's own.
///
/// # Errors
/// The database's; `NotExecuted` where another writer holds the file for longer than the busy time-out.
pub async fn begin(pool: &SqlitePool) -> Result<Transaction<'static, Sqlite>, Error> {
    pool.begin_with("BEGIN IMMEDIATE").await.map_err(sql_error)
}

/// Commits `tx`, for a unit of work of the application's own.
///
/// # Errors
/// As [`commit_error`] says.
pub async fn commit(tx: Transaction<'_, Sqlite>) -> Result<(), Error> {
    tx.commit().await.map_err(commit_error)
}
