//! Connects to a PostgreSQL server, checks the server, and applies the migrations of a service.

use std::time::Duration;

use comms_core::{Error, ErrorKind, clock::Clock, resilience::Backoff};
use comms_outbox::{postgres::Tables, sql_error};
use sqlx::{
    AssertSqlSafe, Connection, Executor, PgConnection, PgPool, Row,
    migrate::{MigrateError, Migrator},
    postgres::PgConnectOptions,
};

/// The time limit of one attempt to connect, and of one check of an open connection.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The oldest server version that comms-outbox supports: PostgreSQL 14.
const MIN_SERVER_VERSION: i32 = 140_000;

/// The settings for connecting to a PostgreSQL server and migrating the tables of a service.
pub(super) struct PostgresSetup {
    pub(super) options: PgConnectOptions,
    pub(super) migrations: &'static Migrator,
    pub(super) backoff: Backoff,
    pub(super) clock: Clock,
}

/// Returns the backoff between attempts: 0.5 s to 5 s.
pub(super) fn backoff() -> Result<Backoff, Error> {
    Backoff::new(Duration::from_millis(500), Duration::from_secs(5))
}

impl PostgresSetup {
    /// Connects, checks the server and migrates the tables of the service and of comms-outbox.
    ///
    /// # Errors
    /// Returns `Fatal` if waiting does not repair the failure. Otherwise returns `NotExecuted`, or the kind that
    /// [`sql_error`] derives from the database's error.
    pub(super) async fn migrate(
        &self,
        schema: &'static str,
        pool: &PgPool,
        tables: &Tables,
    ) -> Result<(), Error> {
        let mut connection = self.connect().await?;
        check_server(&mut connection).await?;
        apply(&mut connection, schema, self.migrations).await?;
        connection.close().await.map_err(sql_error)?;
        tables.migrate(pool).await.map_err(outbox_error)
    }

    /// Connects to a server that accepts writes.
    ///
    /// # Errors
    /// Returns `NotExecuted` if the server does not answer in time or refuses writes. Otherwise returns the kind that
    /// [`sql_error`] derives from the database's error.
    pub(super) async fn connect(&self) -> Result<PgConnection, Error> {
        with_timeout(&self.clock, async {
            let mut connection = PgConnection::connect_with(&self.options).await.map_err(sql_error)?;
            check_writable(&mut connection).await?;
            Ok(connection)
        })
        .await
    }
}

/// Checks that the server accepts writes.
pub(super) async fn check_writable(connection: &mut PgConnection) -> Result<(), Error> {
    let row = connection.fetch_one(sqlx::raw_sql("SHOW transaction_read_only")).await.map_err(sql_error)?;
    match &*row.try_get::<String, _>(0).map_err(sql_error)? {
        "off" => Ok(()),
        _ => Err(Error::not_executed("the server refuses writes: it is a standby, or is set to read-only")),
    }
}

/// Runs `work` with the time limit. A server that does not answer in time counts as failed.
pub(super) async fn with_timeout<T>(
    clock: &Clock,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let late = |_| Err(Error::not_executed(format!("the server did not answer within {TIMEOUT:?}")));
    clock.timeout(TIMEOUT, work).await.unwrap_or_else(late)
}

async fn check_server(connection: &mut PgConnection) -> Result<(), Error> {
    let query = "SELECT current_setting('server_version_num'), current_setting('server_encoding')";
    let row = connection.fetch_one(sqlx::raw_sql(query)).await.map_err(sql_error)?;
    let version: String = row.try_get(0).map_err(sql_error)?;
    let encoding: String = row.try_get(1).map_err(sql_error)?;
    match version.parse::<i32>() {
        Ok(version) if version >= MIN_SERVER_VERSION => {}
        _ => {
            let text =
                format!("the server has version {version}: PostgreSQL 14 (140000) or newer is required");
            return Err(Error::fatal(text));
        }
    }
    if encoding != "UTF8" {
        let text =
            format!("the database has the encoding {encoding}: create a database with ENCODING 'UTF8'");
        return Err(Error::fatal(text));
    }
    Ok(())
}

/// Applies the migrations of a service in one transaction.
///
/// The transaction's search path is the schema, so that each service has a migrations table of its own. Later
/// statements name the schema explicitly. The session keeps no lock and no setting: a pooler in transaction mode
/// passes the session to another client, and a lock left on it would block every process.
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
    // The migrator's lock would belong to the session, not to the transaction.
    migrations.set_locking(false);
    // `run` needs `Acquire`, whose future is not `Send` for a borrowed connection.
    migrations.run_direct(None, &mut *transaction, false).await.map_err(migration_error)?;
    transaction.commit().await.map_err(sql_error)
}

/// Takes the lock that lets one process at a time migrate the schema. The lock ends with the transaction.
///
/// Tries once instead of waiting: behind a process that hangs in its migrations, others would hang without showing a
/// reason.
async fn lock(connection: &mut PgConnection, schema: &str) -> Result<(), Error> {
    let query = AssertSqlSafe(format!("SELECT pg_try_advisory_xact_lock(hashtext('{schema}'))"));
    let row = connection.fetch_one(sqlx::raw_sql(query)).await.map_err(sql_error)?;
    if row.try_get(0).map_err(sql_error)? {
        return Ok(());
    }
    Err(Error::not_executed("another process is migrating the tables"))
}

/// Returns whether the schema exists. `CREATE SCHEMA IF NOT EXISTS` requires the right to create a schema even if the
/// schema exists.
async fn exists(connection: &mut PgConnection, schema: &str) -> Result<bool, Error> {
    let query = format!("SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = '{schema}')");
    let row = connection.fetch_one(sqlx::raw_sql(AssertSqlSafe(query))).await.map_err(sql_error)?;
    row.try_get(0).map_err(sql_error)
}

/// Converts an error of the migrator. A failed statement can be repaired on the server. Applied migrations that this
/// program does not contain cannot, so that error is `Fatal`.
pub(super) fn migration_error(error: MigrateError) -> Error {
    match error {
        MigrateError::Execute(error) => sql_error(error),
        MigrateError::ExecuteMigration(error, version) => {
            sql_error(error).context(format_args!("migration {version}"))
        }
        MigrateError::Dirty(_) => Error::misconfigured(error),
        other => Error::fatal(other).context(
            "the tables belong to another version of this program: start the version that created them, or a newer \
             version",
        ),
    }
}

/// Makes the error of comms-outbox for tables of another version `Fatal`. comms-outbox returns it as `Misconfigured`,
/// with a text and without an error of sqlx.
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
