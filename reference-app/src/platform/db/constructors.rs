//! Creates a [`Db`], and the relays and consumers of its outbox.

use std::{path::Path, sync::Arc, time::Duration};

use comms_core::{Error, ErrorKind, clock::Clock};
use comms_outbox::{
    CommitSignal, LocalConsumer, LocalConsumerBuilder, Relay, RelayBuilder, postgres, sql_error, sqlite,
};
use sqlx::{
    SqlitePool,
    migrate::Migrator,
    postgres::PgPoolOptions,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::sync::watch;

use super::{
    Backend, Db, Inner, Phase,
    migrate::{self, PostgresSetup},
    url,
};

/// How long a query waits for a connection before it fails as `NotExecuted`. Well below the timeout of a consumer's
/// attempt (30 s), which counts as an attempt: a delivery is held while the database is unavailable, and no attempt
/// is used up. A transaction of a request waits for a shorter time (`Db::begin`).
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);

impl Db {
    /// Opens the file `dir/<service>.db`, creates it if necessary, and migrates its tables.
    ///
    /// # Errors
    /// Returns the kind that [`sql_error`] derives from the database's error, and `Fatal` for tables of another
    /// version of this program. Each error must end the start, because nothing outside this machine repairs it.
    pub async fn sqlite(
        dir: &Path,
        service: &'static str,
        migrations: &Migrator,
        clock: &Clock,
    ) -> Result<Self, Error> {
        let options = SqliteConnectOptions::new()
            .filename(dir.join(format!("{service}.db")))
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // FULL: a commit survives a power failure, not only a killed process.
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(Duration::from_secs(5));
        let pool = SqlitePoolOptions::new().acquire_timeout(ACQUIRE_TIMEOUT);
        let writer = pool.clone().max_connections(1).connect_with(options.clone()).await;
        // Tables of another version need a different remedy, which their error names.
        let unusable = |error: Error| match error.kind {
            ErrorKind::Fatal => error,
            _ => error.context(format_args!(
                "{} cannot be used: the database needs free space, and a directory and files that this \
                 user can write; free some space, change the permissions, or set another directory with \
                 --data-dir (COMMS_DATA_DIR)",
                dir.join(format!("{service}.db")).display()
            )),
        };
        let writer = writer.map_err(|e| unusable(sql_error(e)))?;
        check_writable(&writer).await.map_err(unusable)?;
        migrations.run(&writer).await.map_err(|e| unusable(migrate::migration_error(e)))?;
        let tables = sqlite::Tables::new();
        tables.migrate(&writer).await.map_err(unusable)?;
        let reader =
            pool.max_connections(4).connect_with(options.read_only(true)).await.map_err(sql_error)?;
        let backend = Backend::Sqlite { writer, reader, tables };
        Ok(Self::new("main", backend, Phase::Open, clock))
    }

    /// Creates the database of the schema `schema` at `url`. The database is not open yet: [`Db::open`] connects and
    /// migrates the tables, and until then every use fails with `NotExecuted`.
    ///
    /// The pool keeps up to `max_connections` connections; one more connection watches the server. Does not connect
    /// to the server. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// Returns `Invalid` if no server can make `url` valid. The error names `database.url` and contains no part of
    /// the URL.
    pub fn postgres(
        url: &str,
        schema: &'static str,
        max_connections: u32,
        migrations: &'static Migrator,
        clock: &Clock,
    ) -> Result<Self, Error> {
        let options = url::options(url)?.application_name(schema);
        let backoff = migrate::backoff()?;
        let setup =
            Box::new(PostgresSetup { options: options.clone(), migrations, backoff, clock: clock.clone() });
        let pool = postgres::writable(PgPoolOptions::new())
            .max_connections(max_connections)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .connect_lazy_with(options);
        let tables = postgres::Tables::in_schema(schema)?;
        let waiting = Phase::Waiting("no attempt to connect has ended yet".to_owned());
        Ok(Self::new(schema, Backend::Postgres { pool, tables, setup }, waiting, clock))
    }

    fn new(schema: &'static str, backend: Backend, phase: Phase, clock: &Clock) -> Self {
        Self(Arc::new(Inner {
            schema,
            commit_signal: CommitSignal::new(),
            backend,
            phase: watch::Sender::new(phase),
            clock: clock.clone(),
        }))
    }

    /// Returns the builder of a relay of this database's outbox. Commits of this [`Db`] wake the relay.
    pub fn relay(&self, publisher: Arc<dyn comms_core::Publisher>) -> RelayBuilder {
        let builder = match &self.0.backend {
            Backend::Postgres { pool, tables, .. } => {
                Relay::builder(postgres::RelayStore::new(pool.clone(), tables.clone()), publisher)
            }
            Backend::Sqlite { writer, tables, .. } => {
                Relay::builder(sqlite::RelayStore::new(writer.clone(), tables.clone()), publisher)
            }
        };
        builder.commit_signal(self.0.commit_signal.clone())
    }

    /// Returns the builder of a consumer of this database's outbox in `group`. Commits of this [`Db`] wake the consumer.
    pub fn consumer(&self, group: &str) -> LocalConsumerBuilder {
        let builder = match &self.0.backend {
            Backend::Postgres { pool, tables, .. } => {
                LocalConsumer::builder(postgres::RelayStore::new(pool.clone(), tables.clone()), group)
            }
            Backend::Sqlite { writer, tables, .. } => {
                LocalConsumer::builder(sqlite::RelayStore::new(writer.clone(), tables.clone()), group)
            }
        };
        builder.commit_signal(self.0.commit_signal.clone())
    }
}

/// Checks that the file can be written. SQLite opens a read-only file without an error, and fails at the first write.
async fn check_writable(pool: &SqlitePool) -> Result<(), Error> {
    let mut connection = pool.acquire().await.map_err(sql_error)?;
    for sql in ["BEGIN", "CREATE TABLE comms_write_check (x)", "ROLLBACK"] {
        sqlx::query(sql).execute(&mut *connection).await.map_err(sql_error)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_read_only_file_is_refused_at_the_start() {
        let dir = tempfile::tempdir().unwrap();
        let options =
            SqliteConnectOptions::new().filename(dir.path().join("shop.db")).create_if_missing(true);
        let pool = SqlitePool::connect_with(options.clone()).await.unwrap();
        check_writable(&pool).await.unwrap();
        let read_only = SqlitePool::connect_with(options.read_only(true)).await.unwrap();
        let error = check_writable(&read_only).await.unwrap_err().chain().to_string();
        assert!(error.contains("readonly"), "{error}");
    }
}
