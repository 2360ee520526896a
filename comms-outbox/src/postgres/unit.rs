//! A unit of work on PostgreSQL: implements the transaction traits of comms-core.

use comms_core::{
    Claim, Claimed, Error, Inbox, Message, Outbox, UnitOfWork,
    idempotency::{Admission, CallKey, Replies, StoredReply},
};
use sqlx::{PgPool, Postgres, Transaction};

use super::Tables;
use crate::{CommitSignal, commit_error, sql_error};

/// A unit of work: opens transactions on a pool, with inbox, outbox and stored replies in each of them. Clones share
/// the pool and the commit signal.
///
/// Implements [`UnitOfWork`], [`Inbox`], [`Outbox`] and [`Replies`], whose documentation has the guarantees. A
/// transaction that is dropped without a commit is rolled back.
#[derive(Debug, Clone)]
pub struct PgUnit {
    pub(super) pool: PgPool,
    pub(super) tables: Tables,
    commit_signal: CommitSignal,
}

impl PgUnit {
    /// Creates a unit of work on `pool` with the outbox of `tables`.
    #[must_use]
    pub fn new(pool: PgPool, tables: Tables) -> Self {
        Self { pool, tables, commit_signal: CommitSignal::new() }
    }

    /// Returns the signal that every commit notifies. Pass it to
    /// [`RelayBuilder::commit_signal`](crate::RelayBuilder::commit_signal).
    #[must_use]
    pub fn commit_signal(&self) -> CommitSignal {
        self.commit_signal.clone()
    }
}

impl UnitOfWork for PgUnit {
    type Tx = Transaction<'static, Postgres>;

    async fn begin(&self) -> Result<Self::Tx, Error> {
        begin(&self.pool).await
    }

    async fn commit(&self, tx: Self::Tx) -> Result<(), Error> {
        commit(tx).await?;
        self.commit_signal.notify();
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

/// Begins a transaction, for an application with a custom unit of work. Cancel safe.
///
/// `Pool::begin` of sqlx 0.9 is not cancel safe. If its future is dropped between the BEGIN and the response of the
/// server, as the time limit of a handler may do, the connection returns to the pool inside an open transaction, and
/// the next user's writes outside a transaction are not committed. So the BEGIN runs to its end in a task, and a
/// transaction without a waiting caller is rolled back.
///
/// # Errors
/// Returns [`ErrorKind::NotExecuted`](comms_core::ErrorKind::NotExecuted) if the runtime shuts down. Otherwise returns
/// an error of the kind that [`sql_error`] lists if no connection is available or the statement fails.
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

/// Commits `tx`, for an application with a custom unit of work.
///
/// If a statement of the transaction has failed, PostgreSQL executes a COMMIT as a ROLLBACK and reports no error. A
/// handler that ignored the failure would then have its message acknowledged without an effect. So a statement runs
/// before the COMMIT, at the cost of a round trip.
///
/// # Errors
/// Returns [`ErrorKind::Internal`](comms_core::ErrorKind::Internal) if a statement of the transaction failed before.
/// Otherwise returns an error of the kind that [`sql_error`] lists if the connection fails before the COMMIT, or that
/// [`commit_error`] lists if the COMMIT fails.
pub async fn commit(mut tx: Transaction<'_, Postgres>) -> Result<(), Error> {
    let usable = sqlx::raw_sql("SELECT").execute(&mut *tx).await.map_err(sql_error);
    usable.map_err(|e| e.context("before the commit"))?;
    tx.commit().await.map_err(commit_error)
}
