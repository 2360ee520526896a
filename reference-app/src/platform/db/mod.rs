//! The database of one service: PostgreSQL (a schema per service) or SQLite (a file per service).
//!
//! The SQL of stores is written once, in the common subset of both databases, with `$1` parameters and `{s}.` before
//! each table name. `{s}` is replaced by the service's schema, or by `main` in SQLite.
//!
//! - [`Db`] and [`Tx`]: queries and transactions. [`Value`] and [`Row`]: their parameters and results.
//! - [`Projection`]: a read model that follows the events in the database.
//! - `constructors`: creates a [`Db`] and its relay. `url` checks `database.url`.
//! - `startup`: opens a PostgreSQL database while its server may be unreachable. `migrate` checks the server and
//!   migrates the tables.
//! - `traits`: the traits of comms-core. `relay_tables`: held and parked messages of a relay.

mod constructors;
mod migrate;
mod projection;
mod relay_tables;
mod saga;
mod startup;
#[cfg(test)]
pub(crate) mod testing;
mod traits;
mod tx;
pub(crate) mod url;
mod value;

use std::sync::Arc;

use comms_core::{Error, UnitOfWork, clock::Clock, context::Context};
use comms_outbox::{CommitSignal, postgres, sql_error, sqlite};
use sqlx::{AssertSqlSafe, PgPool, SqlitePool};
use tokio::sync::watch;

pub use projection::{Projection, ProjectionHandle, ProjectionOptions};
pub use tx::Tx;
pub use value::{Row, Value};

use tx::TxBackend;

/// A service's database. Clones share it.
#[derive(Clone)]
pub struct Db(Arc<Inner>);

struct Inner {
    schema: &'static str,
    commit_signal: CommitSignal,
    backend: Backend,
    phase: watch::Sender<Phase>,
    clock: Clock,
}

/// Whether the database can be used.
enum Phase {
    /// Not open yet, with the reason.
    Waiting(String),
    /// Open. An open database stays open: if the server becomes unreachable later, each use fails.
    Open,
}

enum Backend {
    Postgres {
        pool: PgPool,
        tables: postgres::Tables,
        setup: Box<migrate::PostgresSetup>,
    },
    /// SQLite allows one writer at a time. A pool of one connection queues writers, instead of letting them retry in
    /// busy loops.
    Sqlite {
        writer: SqlitePool,
        reader: SqlitePool,
        tables: sqlite::Tables,
    },
}

/// Replaces `{s}` by `schema`. Safe, because this program chose the schema's name.
fn render(schema: &str, sql: &'static str) -> AssertSqlSafe<String> {
    AssertSqlSafe(sql.replace("{s}", schema))
}

impl Db {
    /// Resolves when the database is open. Relays and consumers start then.
    pub async fn opened(&self) {
        // `self` holds the sender, so the channel stays open.
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

    /// Runs a query outside a transaction.
    ///
    /// # Errors
    /// Returns `NotExecuted` at once if the database is not open yet. Otherwise returns the kind that [`sql_error`]
    /// derives from the database's error.
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

    /// Begins a transaction that only reads. On SQLite the transaction refuses writes, and neither waits for writers nor
    /// delays them.
    ///
    /// # Errors
    /// Returns `NotExecuted` at once if the database is not open yet. Otherwise returns the kind that [`sql_error`]
    /// derives from the database's error.
    pub async fn begin_read(&self) -> Result<Tx, Error> {
        match &self.0.backend {
            Backend::Postgres { .. } => self.begin_now().await,
            Backend::Sqlite { reader, .. } => {
                self.check_open()?;
                // The connections of the pool are read-only, for which SQLite begins a transaction without a lock.
                let backend = TxBackend::Sqlite(sqlite::begin(reader).await?.into());
                Ok(Tx { schema: self.0.schema, backend })
            }
        }
    }

    async fn begin_now(&self) -> Result<Tx, Error> {
        self.check_open()?;
        let backend = match &self.0.backend {
            Backend::Postgres { pool, .. } => TxBackend::Postgres(postgres::begin(pool).await?.into()),
            Backend::Sqlite { writer, .. } => TxBackend::Sqlite(sqlite::begin(writer).await?.into()),
        };
        Ok(Tx { schema: self.0.schema, backend })
    }

    /// Closes the pools after the queries in flight.
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

    /// Begins a transaction. Fails at once if the database is not open yet.
    ///
    /// Otherwise waits for a connection for at most half of the time until the request's deadline. Then the caller
    /// still receives `NotExecuted`; after the deadline, the caller could not exclude that the request was executed.
    async fn begin(&self) -> Result<Tx, Error> {
        let left = Context::current().deadline.and_then(|deadline| deadline.remaining(&self.0.clock));
        let Some(limit) = left.map(|left| left / 2) else { return self.begin_now().await };
        let late = |_| Err(Error::not_executed(format!("no transaction could begin within {limit:?}")));
        self.0.clock.timeout(limit, self.begin_now()).await.unwrap_or_else(late)
    }

    async fn commit(&self, tx: Tx) -> Result<(), Error> {
        match tx.backend {
            TxBackend::Postgres(tx) => postgres::commit(tx.owned()?).await?,
            TxBackend::Sqlite(tx) => sqlite::commit(tx.owned()?).await?,
        }
        self.0.commit_signal.notify();
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests;
