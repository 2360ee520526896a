//! Creates and migrates the tables. Several processes may do so at once.
//!
//! sqlx's migrator is not used: its lock belongs to the session, which a pooler in transaction mode gives to another
//! client, and a failed migration leaves it locked.

use comms_core::Error;
use sqlx::{PgConnection, PgPool, Row};

use super::{Tables, unit};
use crate::{commit_error, migrate, sql_error};

const MIGRATIONS: &migrate::Migrations = &[include_str!("1.sql")];

const MIGRATIONS_TABLE: &str = "CREATE TABLE IF NOT EXISTS {s}.comms_outbox_migrations (
    version bigint PRIMARY KEY,
    checksum bytea NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)";

impl Tables {
    /// Creates the schema and its tables, or migrates them, in one transaction. Processes that call this at the same
    /// time wait for each other.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Misconfigured`](comms_core::ErrorKind::Misconfigured) if a newer program has migrated the
    /// tables, or if an applied migration has another checksum than in this program. Otherwise returns an error of the
    /// kind that [`sql_error`] lists if a statement fails, or that [`commit_error`] lists if the commit fails.
    pub async fn migrate(&self, pool: &PgPool) -> Result<(), Error> {
        let mut tx = unit::begin(pool).await?;
        sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended('comms_outbox_migrations ' || $1, 0))")
            .persistent(false)
            .bind(&*self.schema)
            .execute(&mut *tx)
            .await
            .map_err(sql_error)?;
        // CREATE SCHEMA IF NOT EXISTS needs the CREATE privilege even if the schema exists, so its existence is checked
        // first.
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
            self.unnamed_query(note)
                .bind(version)
                .bind(migrate::checksum(text))
                .execute(&mut *tx)
                .await
                .map_err(sql_error)?;
        }
        tx.commit().await.map_err(commit_error)
    }

    /// Checks that the tables have the version of this program.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Misconfigured`](comms_core::ErrorKind::Misconfigured), with the fix in the text, if a
    /// migration is not applied, a newer program has migrated the tables, or an applied migration has another checksum
    /// than in this program. Otherwise returns an error of the kind that [`sql_error`] lists if a statement fails.
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
        let rows = self.unnamed_query(text).fetch_all(conn).await;
        let rows = rows.map_err(sql_error)?;
        rows.iter()
            .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
            .collect::<Result<_, _>>()
            .map_err(sql_error)
    }

    async fn execute(&self, conn: &mut PgConnection, text: &'static str) -> Result<(), Error> {
        sqlx::raw_sql(self.sql(text)).execute(conn).await.map(drop).map_err(sql_error)
    }
}
