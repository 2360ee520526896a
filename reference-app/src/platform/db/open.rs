//! Opening a service's database and bringing its tables up to date.

use std::{path::Path, str::FromStr, sync::Arc, time::Duration};

use comms_core::{Backoff, Clock, Error};
use comms_outbox::{Relay, RelayBuilder, Wake, postgres, sql_error, sqlite};
use sqlx::{
    AssertSqlSafe, Connection, Executor, PgConnection,
    migrate::Migrator,
    postgres::{PgConnectOptions, PgPoolOptions},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use super::{Backend, Db, Inner};

/// How long a query waits for a connection before it fails as `NotExecuted`. Well below the time limit of a consumer's
/// attempt (30 s), which counts: an outage of the database is held, and uses up no attempt. A transaction of a request
/// gives up earlier (`Db::begin`).
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the start waits for a database that is not there yet.
const START_ATTEMPTS: u32 = 8;

impl Db {
    /// Opens the file `dir/<service>.db`, made where it is not there.
    ///
    /// # Errors
    /// The database's.
    pub async fn sqlite(dir: &Path, service: &'static str, migrations: &Migrator) -> Result<Self, Error> {
        let options = SqliteConnectOptions::new()
            .filename(dir.join(format!("{service}.db")))
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // FULL: what was acknowledged survives a power cut too, not only kill -9.
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(Duration::from_secs(5));
        let pool = SqlitePoolOptions::new().acquire_timeout(ACQUIRE_TIMEOUT);
        let writer =
            pool.clone().max_connections(1).connect_with(options.clone()).await.map_err(sql_error)?;
        migrations.run(&writer).await.map_err(Error::fatal)?;
        let tables = sqlite::Tables::new();
        tables.migrate(&writer).await?;
        let reader =
            pool.max_connections(4).connect_with(options.read_only(true)).await.map_err(sql_error)?;
        let backend = Backend::Sqlite { writer, reader, tables };
        Ok(Self(Arc::new(Inner { schema: "main", wake: Wake::new(), backend })))
    }

    /// Opens the schema `schema` of the database at `url`, made where it is not there. Waits about a
    /// minute for a server that is still starting.
    ///
    /// # Errors
    /// The database's.
    pub async fn postgres(
        url: &str,
        schema: &'static str,
        max_connections: u32,
        migrations: &Migrator,
        clock: &Clock,
    ) -> Result<Self, Error> {
        let options = PgConnectOptions::from_str(url).map_err(Error::invalid)?.application_name(schema);
        let mut migrator = connect(&options, clock).await?;
        // Migrations run unqualified on a connection of their own, so that each service has its own
        // table of them; everything later says the schema.
        // The lock, which ends with the connection, keeps two instances that start together apart.
        let path = format!(
            "SELECT pg_advisory_lock(hashtext('{schema}'));
             CREATE SCHEMA IF NOT EXISTS {schema}; SET search_path TO {schema}"
        );
        migrator.execute(sqlx::raw_sql(AssertSqlSafe(path))).await.map_err(sql_error)?;
        migrations.run(&mut migrator).await.map_err(Error::fatal)?;
        migrator.close().await.map_err(sql_error)?;
        let pool = postgres::writable(PgPoolOptions::new())
            .max_connections(max_connections)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .connect_with(options)
            .await
            .map_err(sql_error)?;
        let tables = postgres::Tables::in_schema(schema)?;
        tables.migrate(&pool).await?;
        let backend = Backend::Postgres { pool, tables };
        Ok(Self(Arc::new(Inner { schema, wake: Wake::new(), backend })))
    }

    /// A relay of this database's outbox, woken by its commits.
    pub fn relay(&self, publisher: Arc<dyn comms_core::Publisher>) -> RelayBuilder {
        let builder = match &self.0.backend {
            Backend::Postgres { pool, tables } => {
                Relay::builder(postgres::RelayStore::new(pool.clone(), tables.clone()), publisher)
            }
            Backend::Sqlite { writer, tables, .. } => {
                Relay::builder(sqlite::RelayStore::new(writer.clone(), tables.clone()), publisher)
            }
        };
        builder.wake(self.0.wake.clone())
    }
}

async fn connect(options: &PgConnectOptions, clock: &Clock) -> Result<PgConnection, Error> {
    let backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(15))?;
    for attempt in 1..START_ATTEMPTS {
        match PgConnection::connect_with(options).await.map_err(sql_error) {
            Err(error) if error.kind.is_retryable() => {
                tracing::warn!(%error, attempt, "PostgreSQL does not answer yet");
                tokio::time::sleep(backoff.delay(attempt, clock)).await;
            }
            done => return done,
        }
    }
    PgConnection::connect_with(options).await.map_err(sql_error)
}
