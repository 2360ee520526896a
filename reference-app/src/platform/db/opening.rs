//! Opens a PostgreSQL database in the background, and watches it afterwards.
//!
//! The problem: at the start of a process the server may be away, starting, out of connections, or without the
//! database or the role. An operator or time repairs each of these, so the process must wait and show the reason
//! instead of ending and being started again. A schema of another version is different: this program never works
//! with it.
//!
//! The promise: [`Db::open`] waits for as long as it takes, and ends only with a failure that no wait repairs.

use std::{future::pending, time::Duration};

use comms_core::{Error, ErrorKind, clock::Clock, health::Component, resilience::Backoff};
use comms_outbox::{postgres::Tables, sql_error};
use sqlx::{
    AssertSqlSafe, Connection, Executor, PgConnection, PgPool, Row,
    migrate::{MigrateError, Migrator},
    postgres::PgConnectOptions,
};

use super::{Backend, Db, Phase};

/// How long one attempt to connect, or one look at an open connection, may take.
const LIMIT: Duration = Duration::from_secs(10);
/// The wait between two looks at an open connection.
const LOOK: Duration = Duration::from_secs(5);
/// The oldest server that comms-outbox works with: PostgreSQL 14.
const OLDEST: i32 = 140_000;

/// What [`Db::open`] needs of a PostgreSQL database.
pub(super) struct Opening {
    pub(super) options: PgConnectOptions,
    pub(super) migrations: &'static Migrator,
    pub(super) backoff: Backoff,
    pub(super) clock: Clock,
}

/// The waits between attempts: half a second to five seconds.
pub(super) fn backoff() -> Result<Backoff, Error> {
    Backoff::new(Duration::from_millis(500), Duration::from_secs(5))
}

impl Db {
    /// Connects, brings the tables up to date and opens the database; then watches the server over a connection of
    /// its own. `component` is unready, with the reason, until the database is open, and again while the server is
    /// away or takes no writes.
    ///
    /// Never resolves without an error: the caller drops the future to end it. SQLite is open from the start.
    ///
    /// # Errors
    /// Returns `Fatal` if no wait repairs the failure: tables of another version of this program, a server older than
    /// PostgreSQL 14, or a database whose encoding is not UTF8.
    pub async fn open(&self, component: Component) -> Result<(), Error> {
        let Backend::Postgres { pool, tables, opening } = &self.0.backend else {
            component.ready();
            return pending().await;
        };
        let mut waits =
            Waits { opening, component: &component, schema: self.0.schema, failures: 0, last: None };
        while let Err(error) = opening.migrate(self.0.schema, pool, tables).await {
            if error.kind == ErrorKind::Fatal {
                return Err(error);
            }
            self.0.phase.send_replace(Phase::Waiting(error.chain().to_string()));
            waits.after(&error).await;
        }
        self.0.phase.send_replace(Phase::Open);
        loop {
            let error = match opening.connect().await {
                Ok(connection) => {
                    waits.over();
                    lost(connection).await
                }
                Err(error) => error,
            };
            waits.after(&error).await;
        }
    }
}

impl Opening {
    async fn migrate(&self, schema: &'static str, pool: &PgPool, tables: &Tables) -> Result<(), Error> {
        let mut connection = self.connect().await?;
        check_server(&mut connection).await?;
        apply(&mut connection, schema, self.migrations).await?;
        connection.close().await.map_err(sql_error)?;
        tables.migrate(pool).await.map_err(outbox_error)
    }

    /// A connection to a server that takes writes.
    async fn connect(&self) -> Result<PgConnection, Error> {
        let connect = async {
            let mut connection = PgConnection::connect_with(&self.options).await.map_err(sql_error)?;
            look(&mut connection).await?;
            Ok(connection)
        };
        limited(connect).await
    }
}

/// The waits between attempts, and what is shown meanwhile.
struct Waits<'a> {
    opening: &'a Opening,
    component: &'a Component,
    schema: &'static str,
    failures: u32,
    last: Option<String>,
}

impl Waits<'_> {
    async fn after(&mut self, error: &Error) {
        let reason = error.chain().to_string();
        self.component.unready(reason.clone());
        // Repeated attempts with the same outcome fill no log.
        if self.last.as_ref() != Some(&reason) {
            tracing::warn!(schema = self.schema, error = %reason, "the database is not usable; another attempt follows");
            self.last = Some(reason);
        }
        self.failures = self.failures.saturating_add(1);
        let Opening { backoff, clock, .. } = self.opening;
        clock.sleep(backoff.delay(self.failures, clock)).await;
    }

    fn over(&mut self) {
        tracing::info!(schema = self.schema, "the database is open");
        (self.failures, self.last) = (0, None);
        self.component.ready();
    }
}

/// Resolves when the server is lost.
async fn lost(mut connection: PgConnection) -> Error {
    loop {
        tokio::time::sleep(LOOK).await;
        if let Err(error) = limited(look(&mut connection)).await {
            return error;
        }
    }
}

async fn look(connection: &mut PgConnection) -> Result<(), Error> {
    let row = connection.fetch_one(sqlx::raw_sql("SHOW transaction_read_only")).await.map_err(sql_error)?;
    match &*row.try_get::<String, _>(0).map_err(sql_error)? {
        "off" => Ok(()),
        _ => Err(Error::not_executed("the server takes no writes: it is a standby, or is set to read only")),
    }
}

/// A server that does not answer is one that failed.
async fn limited<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let late = |_| Err(Error::not_executed(format!("the server does not answer within {LIMIT:?}")));
    tokio::time::timeout(LIMIT, work).await.unwrap_or_else(late)
}

async fn check_server(connection: &mut PgConnection) -> Result<(), Error> {
    let query = "SELECT current_setting('server_version_num'), current_setting('server_encoding')";
    let row = connection.fetch_one(sqlx::raw_sql(query)).await.map_err(sql_error)?;
    let version: String = row.try_get(0).map_err(sql_error)?;
    let encoding: String = row.try_get(1).map_err(sql_error)?;
    match version.parse::<i32>() {
        Ok(version) if version >= OLDEST => {}
        _ => {
            let text = format!("the server has version {version}: PostgreSQL 14 (140000) or newer is needed");
            return Err(Error::fatal(text));
        }
    }
    if encoding != "UTF8" {
        let text = format!("the database has the encoding {encoding}: create one with ENCODING 'UTF8'");
        return Err(Error::fatal(text));
    }
    Ok(())
}

/// Applies the migrations of a service in one transaction, whose search path is the schema, so that each service has a table
/// of migrations of its own. Statements after that name the schema.
///
/// Nothing is left on the session: a pooler in transaction mode hands it to another client, with every lock and setting
/// that a transaction does not end, and with them no process would get the lock again.
pub(super) async fn apply(
    connection: &mut PgConnection,
    schema: &str,
    migrations: &Migrator,
) -> Result<(), Error> {
    let mut transaction = connection.begin().await.map_err(sql_error)?;
    lock(&mut transaction, schema).await?;
    let create = if exists(&mut transaction, schema).await? { "" } else { "CREATE SCHEMA {s};" };
    let prepare = format!("{create} SET LOCAL search_path TO {{s}}").replace("{s}", schema);
    transaction.execute(sqlx::raw_sql(AssertSqlSafe(prepare))).await.map_err(sql_error)?;
    let mut migrations = Migrator::with_migrations(migrations.iter().cloned().collect());
    // The lock of the migrator is the session's.
    migrations.set_locking(false);
    // Not `run`: `Acquire` keeps its future from being `Send` for a borrowed connection.
    migrations.run_direct(None, &mut *transaction, false).await.map_err(migration_error)?;
    transaction.commit().await.map_err(sql_error)
}

/// Keeps apart processes that start together. The lock ends with the transaction. It is tried, not waited for: a process
/// that hangs in its migrations would hang the others without a reason that anybody can read.
async fn lock(connection: &mut PgConnection, schema: &str) -> Result<(), Error> {
    let query = AssertSqlSafe(format!("SELECT pg_try_advisory_xact_lock(hashtext('{schema}'))"));
    let row = connection.fetch_one(sqlx::raw_sql(query)).await.map_err(sql_error)?;
    if row.try_get(0).map_err(sql_error)? {
        return Ok(());
    }
    Err(Error::not_executed("another process is bringing the tables up to date"))
}

/// Asked first: CREATE SCHEMA IF NOT EXISTS needs the right to create also where the schema exists.
async fn exists(connection: &mut PgConnection, schema: &str) -> Result<bool, Error> {
    let query = format!("SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = '{schema}')");
    let row = connection.fetch_one(sqlx::raw_sql(AssertSqlSafe(query))).await.map_err(sql_error)?;
    row.try_get(0).map_err(sql_error)
}

/// A failed statement is repaired on the server; applied migrations that this program does not have are not.
pub(super) fn migration_error(error: MigrateError) -> Error {
    match error {
        MigrateError::Execute(error) => sql_error(error),
        MigrateError::ExecuteMigration(error, version) => {
            sql_error(error).context(format_args!("migration {version}"))
        }
        MigrateError::Dirty(_) => Error::misconfigured(error),
        other => Error::fatal(other).context(
            "the tables belong to another version of this program: start the version that made them, or a newer one",
        ),
    }
}

/// comms-outbox reports tables of another version as `Misconfigured`, with a text of its own and no error of sqlx.
fn outbox_error(mut error: Error) -> Error {
    if error.kind == ErrorKind::Misconfigured && !is_sql(&error) {
        error.kind = ErrorKind::Fatal;
    }
    error
}

fn is_sql(error: &Error) -> bool {
    let cause = error.cause();
    cause.is::<sqlx::Error>() || cause.source().is_some_and(|source| source.is::<sqlx::Error>())
}
