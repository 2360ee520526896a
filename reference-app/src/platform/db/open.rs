//! Constructs a service's database.

use std::{path::Path, sync::Arc, time::Duration};

use comms_core::{Error, ErrorKind, clock::Clock};
use comms_outbox::{Relay, RelayBuilder, Wake, postgres, sql_error, sqlite};
use sqlx::{
    SqlitePool,
    migrate::Migrator,
    postgres::PgPoolOptions,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::sync::watch;

use super::{
    Backend, Db, Inner, Phase,
    opening::{self, Opening},
    url,
};

/// How long a query waits for a connection before it fails as `NotExecuted`. Well below the time limit of a consumer's
/// attempt (30 s), which counts: an outage of the database is held, and uses up no attempt. A transaction of a request
/// gives up earlier (`Db::begin`).
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);

impl Db {
    /// Opens the file `dir/<service>.db`, created if it is missing, and brings its tables up to date.
    ///
    /// # Errors
    /// Returns the error of the database. Each of them ends the start: nothing outside this machine repairs it.
    pub async fn sqlite(dir: &Path, service: &'static str, migrations: &Migrator) -> Result<Self, Error> {
        let options = SqliteConnectOptions::new()
            .filename(dir.join(format!("{service}.db")))
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // FULL: what was acknowledged survives a power cut too, not only kill -9.
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(Duration::from_secs(5));
        let pool = SqlitePoolOptions::new().acquire_timeout(ACQUIRE_TIMEOUT);
        let writer = pool.clone().max_connections(1).connect_with(options.clone()).await;
        // Tables of another version have a way out of their own.
        let unusable = |error: Error| {
            match error.kind {
            ErrorKind::Fatal => error,
            _ => error.context(format_args!(
                "{} cannot be used: it needs free space, and a directory and files that this user may write; free some \
                 space, change the permissions, or name another directory with --data-dir (COMMS_DATA_DIR)",
                dir.join(format!("{service}.db")).display()
            )),
        }
        };
        let writer = writer.map_err(|e| unusable(sql_error(e)))?;
        check_writable(&writer).await.map_err(unusable)?;
        migrations.run(&writer).await.map_err(|e| unusable(opening::migration_error(e)))?;
        let tables = sqlite::Tables::new();
        tables.migrate(&writer).await.map_err(unusable)?;
        let reader =
            pool.max_connections(4).connect_with(options.read_only(true)).await.map_err(sql_error)?;
        let backend = Backend::Sqlite { writer, reader, tables };
        Ok(Self::new("main", backend, Phase::Open))
    }

    /// The schema `schema` of the database at `url`, which is not open yet: [`Db::open`] connects and brings the tables
    /// up to date, and until then every use fails with `NotExecuted`. The pool keeps up to `max_connections`
    /// connections; one more watches the server. Needs no server. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// Returns `Invalid`, naming `database.url` and without any part of the URL, if no server can make the URL valid.
    pub fn postgres(
        url: &str,
        schema: &'static str,
        max_connections: u32,
        migrations: &'static Migrator,
        clock: &Clock,
    ) -> Result<Self, Error> {
        let options = url::options(url)?.application_name(schema);
        let backoff = opening::backoff()?;
        let opening =
            Box::new(Opening { options: options.clone(), migrations, backoff, clock: clock.clone() });
        let pool = postgres::writable(PgPoolOptions::new())
            .max_connections(max_connections)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .connect_lazy_with(options);
        let tables = postgres::Tables::in_schema(schema)?;
        let waiting = Phase::Waiting("it has not been tried".to_owned());
        Ok(Self::new(schema, Backend::Postgres { pool, tables, opening }, waiting))
    }

    fn new(schema: &'static str, backend: Backend, phase: Phase) -> Self {
        Self(Arc::new(Inner { schema, wake: Wake::new(), backend, phase: watch::Sender::new(phase) }))
    }

    /// A relay of this database's outbox, woken by its commits.
    pub fn relay(&self, publisher: Arc<dyn comms_core::Publisher>) -> RelayBuilder {
        let builder = match &self.0.backend {
            Backend::Postgres { pool, tables, .. } => {
                Relay::builder(postgres::RelayStore::new(pool.clone(), tables.clone()), publisher)
            }
            Backend::Sqlite { writer, tables, .. } => {
                Relay::builder(sqlite::RelayStore::new(writer.clone(), tables.clone()), publisher)
            }
        };
        builder.wake(self.0.wake.clone())
    }
}

/// SQLite opens a file that it may not write without an error, and fails at the first write.
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
    async fn a_file_that_cannot_be_written_is_refused_at_the_start() {
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
