//! A transaction that only [`commit`] ends well.
//!
//! The problem: after some failures (disk full, an I/O error, `ON CONFLICT ROLLBACK`) SQLite rolls the whole
//! transaction back by itself. A handler that swallows such a failure and goes on writes outside any transaction: its
//! next write is kept, without its inbox row. And sqlx counts a transaction whose COMMIT failed as open: the next user
//! of the connection fails.
//!
//! The promise: what is written through a [`SqliteTx`] is kept if and only if [`commit`] succeeds. A commit hook turns
//! every other commit of the connection, that of a single statement included, into a rollback with an error.
//! A connection whose COMMIT failed, or whose transaction SQLite rolled back, is closed instead of going back to the
//! pool. What breaks the promise: a commit or rollback hook that the application sets on the same connection.
//!
//! A statement that fails alone (a constraint) is backed out by SQLite, and the transaction stays whole, where
//! PostgreSQL aborts it. After an error of this crate's own statements the commit is refused on both.

use std::{
    ops::{Deref, DerefMut},
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
};

use comms_core::Error;
use sqlx::{
    SqlSafeStr, Sqlite, SqliteConnection, SqlitePool, pool::PoolConnection, sqlite::SqliteTransactionManager,
};
use sqlx_core::transaction::TransactionManager;

use crate::{commit_error, sql_error};

/// An open transaction of SQLite. Dropping it rolls back.
#[derive(Debug)]
pub struct SqliteTx {
    conn: PoolConnection<Sqlite>,
    state: Arc<State>,
    /// The COMMIT has succeeded.
    committed: bool,
    /// The COMMIT was sent, and its answer is missing or an error.
    doubtful: bool,
}

/// Shared with the hooks of the connection, which outlive the transaction.
#[derive(Debug, Default)]
struct State(AtomicU8);

/// No transaction of ours: commits are the business of the connection's next user.
const ENDED: u8 = 0;
const OPEN: u8 = 1;
/// A statement failed and the commit is refused; the transaction is still open.
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
    /// Makes [`commit`] refuse this transaction: for a failure that must not be swallowed. The transaction stays
    /// usable, and is rolled back at its end.
    pub fn refuse_commit(&self) {
        self.state.replace(OPEN, FAILED);
    }

    /// Hands `result` on, and refuses the commit if it is an error.
    pub(super) fn checked<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        if result.is_err() {
            self.refuse_commit();
        }
        result
    }

    async fn set_hooks(&mut self) -> Result<(), sqlx::Error> {
        let (commits, rollbacks) = (self.state.clone(), self.state.clone());
        let mut handle = self.conn.lock_handle().await?;
        handle.set_commit_hook(move || commits.get() == ENDED);
        handle.set_rollback_hook(move || rollbacks.rolled_back());
        Ok(())
    }
}

/// Begins a transaction that writes, for a unit of work of the application's own. Cancel safe. Replaces the commit hook
/// and the rollback hook of the connection.
///
/// # Errors
/// As [`sql_error`] says; `NotExecuted` if another writer holds the file for longer than the busy time-out.
pub async fn begin(pool: &SqlitePool) -> Result<SqliteTx, Error> {
    let conn = pool.acquire().await.map_err(sql_error)?;
    let mut tx = SqliteTx { conn, state: Arc::default(), committed: false, doubtful: false };
    tx.set_hooks().await.map_err(sql_error)?;
    let statement = Some("BEGIN IMMEDIATE".into_sql_str());
    SqliteTransactionManager::begin(&mut tx.conn, statement).await.map_err(sql_error)?;
    tx.state.set(OPEN);
    Ok(tx)
}

/// Commits `tx`, for a unit of work of the application's own. If that fails, the connection is closed.
///
/// # Errors
/// Returns `Internal` if SQLite has rolled the transaction back by itself, or if
/// [`refuse_commit`](SqliteTx::refuse_commit) was called: nothing is kept. Otherwise as [`commit_error`] says.
pub async fn commit(mut tx: SqliteTx) -> Result<(), Error> {
    match tx.state.get() {
        OPEN => {}
        ROLLED_BACK => {
            return Err(Error::internal(
                "SQLite rolled the transaction back after a failure, which was not returned: nothing was kept",
            ));
        }
        _ => {
            return Err(Error::internal(
                "a statement of the transaction failed, and its error was not returned: nothing was kept",
            ));
        }
    }
    tx.doubtful = true;
    tx.state.set(ENDED);
    SqliteTransactionManager::commit(&mut tx.conn).await.map_err(commit_error)?;
    tx.doubtful = false;
    tx.committed = true;
    Ok(())
}

impl Drop for SqliteTx {
    fn drop(&mut self) {
        if self.committed {
            return;
        }
        if self.doubtful || self.state.get() == ROLLED_BACK {
            self.conn.close_on_drop();
        }
        // Queued behind what the connection still runs, so nothing commits before it.
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
