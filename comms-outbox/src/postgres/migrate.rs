//! Bringing the tables up to date, safe from several processes at once.
//!
//! Not sqlx's migrator: its lock is the session's, which a pooler in transaction mode gives to somebody else,
//! and stays held where a migration fails.

use comms_core::Error;
use sqlx::{PgConnection, PgPool, Row};

use super::{Tables, tables::render, unit};
use crate::{migrate, sql_error};

const MIGRATIONS: &migrate::Migrations = &[include_str!("1.sql")];

const MIGRATIONS_TABLE: &str = "CREATE TABLE IF NOT EXISTS {s}.comms_outbox_migrations (
    version bigint PRIMARY KEY,
    checksum bytea NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)";

impl Tables {
    /// Creates the schema and its tables, or brings them up to date, in one transaction. Processes that do so
    /// at once wait for each other.
    ///
    /// # Errors
    /// Returns `Misconfigured` if the tables are newer than this program, or were made by another form of a migration;
    /// otherwise as [`sql_error`](crate::sql_error) says.
    pub async fn migrate(&self, pool: &PgPool) -> Result<(), Error> {
        let mut tx = unit::begin(pool).await?;
        sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended('comms_outbox_migrations ' || $1, 0))")
            .persistent(false)
            .bind(&*self.schema)
            .execute(&mut *tx)
            .await
            .map_err(sql_error)?;
        // Asked first: CREATE SCHEMA IF NOT EXISTS needs the right to create, also where there is one.
        let exists: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)")
            .persistent(false)
            .bind(&*self.schema)
            .fetch_one(&mut *tx)
            .await
            .map_err(sql_error)?;
        if !exists {
            self.execute(&mut tx, "CREATE SCHEMA {s}").await?;
        }
        self.execute(&mut tx, MIGRATIONS_TABLE).await?;
        let applied = self.applied(&mut tx).await?;
        for (version, text) in migrate::missing(MIGRATIONS, &applied)? {
            self.execute(&mut tx, text).await.map_err(|e| e.context(format_args!("migration {version}")))?;
            let note = "INSERT INTO {s}.comms_outbox_migrations (version, checksum) VALUES ($1, $2)";
            sqlx::query(render(&self.schema, note))
                .persistent(false)
                .bind(version)
                .bind(migrate::checksum(text))
                .execute(&mut *tx)
                .await
                .map_err(sql_error)?;
        }
        tx.commit().await.map_err(crate::commit_error)
    }

    /// Whether the tables are those that this program knows.
    ///
    /// # Errors
    /// Returns `Misconfigured` if they are not, with the way out; otherwise as [`sql_error`](crate::sql_error) says.
    pub async fn check(&self, conn: &mut PgConnection) -> Result<(), Error> {
        let table = format!("{}.comms_outbox_migrations", self.schema);
        let exists: bool = sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL")
            .persistent(false)
            .bind(table)
            .fetch_one(&mut *conn)
            .await
            .map_err(sql_error)?;
        let applied = if exists { self.applied(conn).await? } else { Vec::new() };
        migrate::check(MIGRATIONS, &applied).map_err(|e| e.context(format_args!("schema {}", self.schema)))
    }

    async fn applied(&self, conn: &mut PgConnection) -> Result<Vec<(i64, Vec<u8>)>, Error> {
        let text = "SELECT version, checksum FROM {s}.comms_outbox_migrations ORDER BY version";
        let rows = sqlx::query(render(&self.schema, text)).persistent(false).fetch_all(conn).await;
        let rows = rows.map_err(sql_error)?;
        rows.iter()
            .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
            .collect::<Result<_, _>>()
            .map_err(sql_error)
    }

    async fn execute(&self, conn: &mut PgConnection, text: &str) -> Result<(), Error> {
        sqlx::raw_sql(render(&self.schema, text)).execute(conn).await.map(drop).map_err(sql_error)
    }
}
