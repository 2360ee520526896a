//! One service's own database: PostgreSQL (a schema per service) or SQLite (a file per service).
//!
//! Store SQL is written once, in the common subset, with `$1` parameters and `{s}.` before every table
//! name, which becomes the service's schema, or `main` in SQLite.

mod open;
mod opening;
mod operator;
mod seams;
pub(crate) mod url;
mod value;

use std::sync::Arc;

use comms_core::{Error, UnitOfWork, clock::Clock, context::Context};
use comms_outbox::{Wake, postgres, sql_error, sqlite};
use sqlx::{AssertSqlSafe, PgPool, SqlitePool};
use tokio::sync::watch;

pub use value::{Row, Value};

/// A service's database. Clones share it.
#[derive(Clone)]
pub struct Db(Arc<Inner>);

struct Inner {
    schema: &'static str,
    wake: Wake,
    backend: Backend,
    phase: watch::Sender<Phase>,
}

/// Whether the database can be used.
enum Phase {
    /// Not yet, with the reason.
    Waiting(String),
    /// Once open, it stays open: a server that is lost later fails each use by itself.
    Open,
}

enum Backend {
    Postgres {
        pool: PgPool,
        tables: postgres::Tables,
        opening: Box<opening::Opening>,
    },
    /// SQLite has one writer at a time: the pool of one makes writers queue here, not in busy loops.
    Sqlite {
        writer: SqlitePool,
        reader: SqlitePool,
        tables: sqlite::Tables,
    },
}

/// An open transaction. Dropping it rolls back.
pub struct Tx {
    schema: &'static str,
    backend: TxBackend,
}

enum TxBackend {
    Postgres(sqlx::Transaction<'static, sqlx::Postgres>),
    Sqlite(sqlite::SqliteTx),
}

/// `{s}` is the only thing replaced, by a name this program chose: nothing from outside enters the text.
fn render(schema: &str, sql: &'static str) -> AssertSqlSafe<String> {
    AssertSqlSafe(sql.replace("{s}", schema))
}

impl Tx {
    /// Runs a statement and returns how many rows it changed.
    ///
    /// # Errors
    /// As [`sql_error`] classifies them.
    pub async fn execute(&mut self, sql: &'static str, args: &[Value]) -> Result<u64, Error> {
        let sql = render(self.schema, sql);
        let result = match &mut self.backend {
            TxBackend::Postgres(tx) => {
                let done = value::bind_pg(sqlx::query(sql), args).execute(&mut **tx).await;
                done.map(|d| d.rows_affected()).map_err(sql_error)
            }
            TxBackend::Sqlite(tx) => {
                let done = value::bind_sqlite(sqlx::query(sql), args).execute(&mut **tx).await;
                done.map(|d| d.rows_affected()).map_err(sql_error)
            }
        };
        self.checked(result)
    }

    /// Runs a query and returns its rows.
    ///
    /// # Errors
    /// As [`sql_error`] classifies them.
    pub async fn fetch(&mut self, sql: &'static str, args: &[Value]) -> Result<Vec<Row>, Error> {
        let sql = render(self.schema, sql);
        let result = match &mut self.backend {
            TxBackend::Postgres(tx) => {
                let rows = value::bind_pg(sqlx::query(sql), args).fetch_all(&mut **tx).await;
                rows.map(|rows| rows.into_iter().map(Row::Postgres).collect()).map_err(sql_error)
            }
            TxBackend::Sqlite(tx) => {
                let rows = value::bind_sqlite(sqlx::query(sql), args).fetch_all(&mut **tx).await;
                rows.map(|rows| rows.into_iter().map(Row::Sqlite).collect()).map_err(sql_error)
            }
        };
        self.checked(result)
    }

    /// Refuses the commit if a statement failed, so that a failure that a handler swallows commits nothing. PostgreSQL
    /// does so by itself.
    fn checked<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        if let (Err(_), TxBackend::Sqlite(tx)) = (&result, &self.backend) {
            tx.refuse_commit();
        }
        result
    }

    /// Whether rows can and must be locked one by one; SQLite's transaction has the whole file already.
    #[must_use]
    pub fn is_postgres(&self) -> bool {
        matches!(self.backend, TxBackend::Postgres(_))
    }
}

impl Db {
    /// Resolves when the database is open; at once where it is. Relays and consumers begin then.
    pub async fn opened(&self) {
        // The sender is in `self`: it cannot close.
        let _ = self.0.phase.subscribe().wait_for(|phase| matches!(phase, Phase::Open)).await;
    }

    fn check_open(&self) -> Result<(), Error> {
        match &*self.0.phase.borrow() {
            Phase::Open => Ok(()),
            Phase::Waiting(reason) => {
                Err(Error::not_executed(format!("the database is not open yet: {reason}")))
            }
        }
    }

    /// Runs a query outside any transaction.
    ///
    /// # Errors
    /// Returns `NotExecuted` at once if the database is not open yet; otherwise as [`sql_error`] classifies them.
    pub async fn fetch(&self, sql: &'static str, args: &[Value]) -> Result<Vec<Row>, Error> {
        self.check_open()?;
        let sql = render(self.0.schema, sql);
        match &self.0.backend {
            Backend::Postgres { pool, .. } => {
                let rows = value::bind_pg(sqlx::query(sql), args).fetch_all(pool).await;
                Ok(rows.map_err(sql_error)?.into_iter().map(Row::Postgres).collect())
            }
            Backend::Sqlite { reader, .. } => {
                let rows = value::bind_sqlite(sqlx::query(sql), args).fetch_all(reader).await;
                Ok(rows.map_err(sql_error)?.into_iter().map(Row::Sqlite).collect())
            }
        }
    }

    async fn begin_now(&self) -> Result<Tx, Error> {
        self.check_open()?;
        let backend = match &self.0.backend {
            Backend::Postgres { pool, .. } => TxBackend::Postgres(postgres::begin(pool).await?),
            Backend::Sqlite { writer, .. } => TxBackend::Sqlite(sqlite::begin(writer).await?),
        };
        Ok(Tx { schema: self.0.schema, backend })
    }

    /// Closes the pools after their last query.
    pub async fn close(&self) {
        match &self.0.backend {
            Backend::Postgres { pool, .. } => pool.close().await,
            Backend::Sqlite { writer, reader, .. } => {
                reader.close().await;
                writer.close().await;
            }
        }
    }
}

impl UnitOfWork for Db {
    type Tx = Tx;

    /// Fails at once while the database is not open yet. Otherwise waits for at most half of the time that the request has left, so that the caller still receives the answer
    /// `NotExecuted` instead of a deadline that has passed, after which the request may have been executed.
    async fn begin(&self) -> Result<Tx, Error> {
        let left = Context::current().deadline.and_then(|deadline| deadline.remaining(&Clock::system()));
        let Some(limit) = left.map(|left| left / 2) else { return self.begin_now().await };
        let late = |_| Err(Error::not_executed(format!("no transaction within {limit:?}")));
        tokio::time::timeout(limit, self.begin_now()).await.unwrap_or_else(late)
    }

    async fn commit(&self, tx: Tx) -> Result<(), Error> {
        match tx.backend {
            TxBackend::Postgres(tx) => postgres::commit(tx).await?,
            TxBackend::Sqlite(tx) => sqlite::commit(tx).await?,
        }
        self.0.wake.ring();
        Ok(())
    }
}

#[cfg(test)]
mod tests;
