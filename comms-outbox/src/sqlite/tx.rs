//! A transaction that is kept only by [`commit`].
//!
//! The problem: after some failures (disk full, an I/O error, `ON CONFLICT ROLLBACK`) SQLite rolls the whole
//! transaction back. A handler that ignores such a failure and continues then writes outside a transaction: its next
//! write is kept without its inbox row. And sqlx treats a transaction whose COMMIT failed as open, so the next user of
//! the connection fails.
//!
//! The promise: writes through a [`SqliteTx`] are kept if and only if [`commit`] succeeds. A commit hook turns every
//! other commit of the connection, including that of a single statement, into a rollback with an error. A connection
//! whose COMMIT failed, or whose transaction SQLite rolled back, is closed and does not return to the pool. The promise
//! does not hold if the application sets a commit or rollback hook on the same connection.
//!
//! If a single statement fails (a constraint), SQLite reverts the statement and the transaction stays usable;
//! PostgreSQL aborts the transaction. After an error of a statement of this crate, both backends refuse the commit.

use std::{
    ops::{Deref, DerefMut},
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
};

use comms_core::{Error, clock::Clock};
use sqlx::{
    SqlSafeStr, Sqlite, SqliteConnection, SqlitePool, pool::PoolConnection, sqlite::SqliteTransactionManager,
};
use sqlx_core::transaction::TransactionManager;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{commit_error, sql_error};

/// An open transaction of SQLite. It is rolled back when it is dropped.
#[derive(Debug)]
pub struct SqliteTx {
    conn: PoolConnection<Sqlite>,
    state: Arc<State>,
    /// The COMMIT has succeeded.
    committed: bool,
    /// The COMMIT was sent, and it failed or its result is missing.
    commit_unconfirmed: bool,
    /// Dropped after the connection, when the rollback is queued.
    _turn: Option<OwnedSemaphorePermit>,
}

/// The state of the transaction, shared with the hooks of the connection, which outlive the transaction.
#[derive(Debug, Default)]
struct State(AtomicU8);

/// No transaction of this module is open, so the hooks allow every commit.
const ENDED: u8 = 0;
const OPEN: u8 = 1;
/// A statement failed and the commit is refused. The transaction is still open.
const FAILED: u8 = 2;
/// SQLite has rolled the transaction back.
const ROLLED_BACK: u8 = 3;

impl State {
    fn get(&self) -> u8 {
        self.0.load(Ordering::SeqCst)
    }

    fn set(&self, state: u8) {
        self.0.store(state, Ordering::SeqCst);
    }

    fn replace(&self, from: u8, to: u8) {
        let _ = self.0.compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst);
    }

    fn rolled_back(&self) {
        self.replace(OPEN, ROLLED_BACK);
        self.replace(FAILED, ROLLED_BACK);
    }
}

impl SqliteTx {
    /// Makes [`commit`] refuse this transaction, after a failure that must not be ignored. The transaction stays
    /// usable, and is rolled back at its end.
    pub fn refuse_commit(&self) {
        self.state.replace(OPEN, FAILED);
    }

    /// Returns `result`, and refuses the commit if it is an error.
    pub(super) fn checked<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        if result.is_err() {
            self.refuse_commit();
        }
        result
    }

    async fn begin(mut self) -> Result<Self, Error> {
        let statement = Some("BEGIN IMMEDIATE".into_sql_str());
        SqliteTransactionManager::begin(&mut self.conn, statement).await.map_err(sql_error)?;
        self.state.set(OPEN);
        Ok(self)
    }

    async fn set_hooks(&mut self) -> Result<(), sqlx::Error> {
        let (commits, rollbacks) = (self.state.clone(), self.state.clone());
        let mut handle = self.conn.lock_handle().await?;
        handle.set_commit_hook(move || commits.get() == ENDED);
        handle.set_rollback_hook(move || rollbacks.rolled_back());
        Ok(())
    }
}

/// Begins a transaction that writes, for an application with a custom unit of work. Cancel safe. Replaces the
/// commit hook and the rollback hook of the connection.
///
/// # Errors
/// Returns [`ErrorKind::NotExecuted`](comms_core::ErrorKind::NotExecuted) if another writer locks the file for longer
/// than the busy timeout. Otherwise returns an error of the kind that [`sql_error`] lists if no connection is available
/// or the statement fails.
pub async fn begin(pool: &SqlitePool) -> Result<SqliteTx, Error> {
    prepare(pool).await?.begin().await
}

/// Begins a transaction as [`begin`] does, after the earlier callers with the same `writer`, a semaphore with one permit.
///
/// # Errors
/// Returns `NotExecuted` if the others take longer than the acquire timeout of the pool, as well as in the cases of
/// [`begin`].
pub(super) async fn begin_in_turn(pool: &SqlitePool, writer: &Arc<Semaphore>) -> Result<SqliteTx, Error> {
    // The turn is taken before the connection. A transaction that waited with a connection could leave none for the
    // transaction that has the turn.
    let turn =
        Clock::system().timeout(pool.options().get_acquire_timeout(), writer.clone().acquire_owned()).await;
    let turn =
        turn.map_err(|e| Error::not_executed(e).context("wait for the transactions of the unit of work"))?;
    let mut tx = prepare(pool).await?;
    tx._turn = Some(turn.map_err(Error::internal)?);
    tx.begin().await
}

/// Takes a connection for a transaction.
async fn prepare(pool: &SqlitePool) -> Result<SqliteTx, Error> {
    let conn = pool.acquire().await.map_err(sql_error)?;
    let mut tx =
        SqliteTx { conn, state: Arc::default(), committed: false, commit_unconfirmed: false, _turn: None };
    tx.set_hooks().await.map_err(sql_error)?;
    Ok(tx)
}

/// Commits `tx`, for an application with a custom unit of work. If the COMMIT fails, the connection is closed.
///
/// # Errors
/// Returns [`ErrorKind::Internal`](comms_core::ErrorKind::Internal), and keeps nothing, if SQLite has rolled the
/// transaction back, or if [`refuse_commit`](SqliteTx::refuse_commit) was called. Otherwise returns an error of the
/// kind that [`commit_error`] lists if the COMMIT fails.
pub async fn commit(mut tx: SqliteTx) -> Result<(), Error> {
    match tx.state.get() {
        OPEN => {}
        ROLLED_BACK => {
            return Err(Error::internal(
                "SQLite rolled the transaction back after a statement failed, so it cannot be committed: return the \
                 error of a failed statement",
            ));
        }
        _ => {
            return Err(Error::internal(
                "a statement of the transaction failed, so it cannot be committed: return the error of a failed \
                 statement",
            ));
        }
    }
    tx.commit_unconfirmed = true;
    tx.state.set(ENDED);
    SqliteTransactionManager::commit(&mut tx.conn).await.map_err(commit_error)?;
    tx.commit_unconfirmed = false;
    tx.committed = true;
    Ok(())
}

impl Drop for SqliteTx {
    fn drop(&mut self) {
        if self.committed {
            return;
        }
        if self.commit_unconfirmed || self.state.get() == ROLLED_BACK {
            self.conn.close_on_drop();
        }
        // The rollback is queued behind statements that the connection still runs, so no commit precedes it.
        SqliteTransactionManager::start_rollback(&mut self.conn);
        self.state.set(ENDED);
    }
}

impl Deref for SqliteTx {
    type Target = SqliteConnection;
    fn deref(&self) -> &SqliteConnection {
        &self.conn
    }
}

impl DerefMut for SqliteTx {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        &mut self.conn
    }
}
