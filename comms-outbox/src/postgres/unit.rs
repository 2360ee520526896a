//! Transactions on PostgreSQL behind the seams of comms-core.

use comms_core::{
    Claim, Claimed, Error, Inbox, Message, Outbox, UnitOfWork,
    idempotency::{Admission, CallKey, Replies, StoredReply},
};
use sqlx::{PgPool, Postgres, Transaction};

use super::Tables;
use crate::{Wake, commit_error, sql_error};

/// Opens transactions of a pool, with inbox, outbox and stored replies in them. Clones share all.
#[derive(Debug, Clone)]
pub struct PgUnit {
    pool: PgPool,
    tables: Tables,
    wake: Wake,
}

impl PgUnit {
    /// A unit of work on `pool` with the outbox of `tables`.
    #[must_use]
    pub fn new(pool: PgPool, tables: Tables) -> Self {
        Self { pool, tables, wake: Wake::new() }
    }

    /// The bell that every commit rings: give it to the relay of this process.
    #[must_use]
    pub fn wake(&self) -> Wake {
        self.wake.clone()
    }
}

impl UnitOfWork for PgUnit {
    type Tx = Transaction<'static, Postgres>;

    async fn begin(&self) -> Result<Self::Tx, Error> {
        begin(&self.pool).await
    }

    async fn commit(&self, tx: Self::Tx) -> Result<(), Error> {
        commit(tx).await?;
        self.wake.ring();
        Ok(())
    }
}

impl Inbox for PgUnit {
    async fn claim(&self, tx: &mut Self::Tx, claims: &[Claim]) -> Result<Vec<Claimed>, Error> {
        self.tables.claim(tx, claims).await
    }
}

impl Outbox for PgUnit {
    async fn enqueue(&self, tx: &mut Self::Tx, messages: &[Message]) -> Result<(), Error> {
        self.tables.enqueue(tx, messages).await
    }
}

impl Replies for PgUnit {
    async fn admit(&self, tx: &mut Self::Tx, key: &CallKey) -> Result<Admission, Error> {
        self.tables.admit(tx, key).await
    }

    async fn complete(&self, tx: &mut Self::Tx, key: &CallKey, reply: &StoredReply) -> Result<(), Error> {
        self.tables.complete(tx, key, reply).await
    }
}

/// Begins a transaction, for a unit of work of the application's own. Cancel safe.
///
/// `Pool::begin` of sqlx 0.9 is not: dropped between the BEGIN and its answer, as a handler's time limit does,
/// it gives the connection back inside an open transaction, and what the next user writes there without a
/// transaction of its own is not committed. So the BEGIN runs to its end in a task, and a transaction without a
/// waiting caller is rolled back.
///
/// # Errors
/// The database's.
pub async fn begin(pool: &PgPool) -> Result<Transaction<'static, Postgres>, Error> {
    begin_with(pool, "BEGIN").await
}

pub(super) async fn begin_with(
    pool: &PgPool,
    statement: &'static str,
) -> Result<Transaction<'static, Postgres>, Error> {
    let pool = pool.clone();
    let begun = tokio::spawn(async move { pool.begin_with(statement).await }).await;
    begun.map_err(Error::not_executed)?.map_err(sql_error)
}

/// Commits `tx`, for a unit of work of the application's own.
///
/// PostgreSQL answers the COMMIT of a transaction in which a statement has failed with a quiet ROLLBACK: a
/// handler that swallowed the failure would have its message acknowledged and nothing done. So a statement runs
/// first, at the price of a round trip.
///
/// # Errors
/// Returns `Internal` if a statement of the transaction failed; otherwise as [`commit_error`] says.
pub async fn commit(mut tx: Transaction<'_, Postgres>) -> Result<(), Error> {
    let usable = sqlx::raw_sql("SELECT").execute(&mut *tx).await.map_err(sql_error);
    usable.map_err(|e| e.context("before the commit"))?;
    tx.commit().await.map_err(commit_error)
}
