//! Creates and migrates the tables. Several processes may do so at once.
//!
//! sqlx's migrator is not used: it takes no lock on SQLite, so that two processes that start together collide.

use comms_core::Error;
use sqlx::{Row, SqliteConnection, SqlitePool};

use super::{Tables, tx};
use crate::{migrate, sql_error};

const MIGRATIONS: &migrate::Migrations = &[include_str!("1.sql")];

const MIGRATIONS_TABLE: &str = "CREATE TABLE IF NOT EXISTS comms_outbox_migrations (
    version INTEGER PRIMARY KEY,
    checksum BLOB NOT NULL,
    applied_at INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER))
) STRICT";

impl Tables {
    /// Creates the tables, or migrates them, in one transaction. Processes that call this at the same time wait for
    /// each other.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Misconfigured`](comms_core::ErrorKind::Misconfigured) if a newer program has migrated the
    /// tables, or if an applied migration has another checksum than in this program. Otherwise returns an error of the
    /// kind that [`sql_error`] lists if a statement fails, or that [`commit_error`](crate::commit_error) lists if the
    /// commit fails.
    pub async fn migrate(&self, pool: &SqlitePool) -> Result<(), Error> {
        let mut tx = tx::begin(pool).await?;
        execute(&mut tx, MIGRATIONS_TABLE).await?;
        let applied = applied(&mut tx).await?;
        for (version, text) in migrate::missing(MIGRATIONS, &applied)? {
            execute(&mut tx, text).await.map_err(|e| e.context(format_args!("migration {version}")))?;
            sqlx::query("INSERT INTO comms_outbox_migrations (version, checksum) VALUES ($1, $2)")
                .bind(version)
                .bind(migrate::checksum(text))
                .execute(&mut *tx)
                .await
                .map_err(sql_error)?;
        }
        tx::commit(tx).await
    }

    /// Checks that the tables have the version of this program.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Misconfigured`](comms_core::ErrorKind::Misconfigured), with the fix in the text, if a
    /// migration is not applied, a newer program has migrated the tables, or an applied migration has another checksum
    /// than in this program. Otherwise returns an error of the kind that [`sql_error`] lists if a statement fails.
    pub async fn check(&self, conn: &mut SqliteConnection) -> Result<(), Error> {
        let text = "SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE name = 'comms_outbox_migrations')";
        let exists: bool = sqlx::query_scalar(text).fetch_one(&mut *conn).await.map_err(sql_error)?;
        let applied = if exists { applied(conn).await? } else { Vec::new() };
        migrate::check(MIGRATIONS, &applied)
    }
}

async fn applied(conn: &mut SqliteConnection) -> Result<Vec<(i64, Vec<u8>)>, Error> {
    let text = "SELECT version, checksum FROM comms_outbox_migrations ORDER BY version";
    let rows = sqlx::query(text).fetch_all(conn).await.map_err(sql_error)?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect::<Result<_, _>>().map_err(sql_error)
}

async fn execute(conn: &mut SqliteConnection, text: &'static str) -> Result<(), Error> {
    sqlx::raw_sql(text).execute(conn).await.map(drop).map_err(sql_error)
}
