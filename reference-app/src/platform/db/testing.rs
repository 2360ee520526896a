//! Open databases for the tests of stores, which run on both.

use comms_core::{clock::Clock, health::Health};
use figment::Jail;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, migrate::Migrator};
use tempfile::TempDir;

use super::{Db, Row};

/// An open database. Its SQLite file is deleted with this value.
pub(crate) struct TestDb {
    pub(crate) db: Db,
    _dir: Option<TempDir>,
}

/// Returns the URL of the PostgreSQL server of the tests.
///
/// The tests of the configuration clear the environment while they hold the lock of [`Jail`], so it is read under this lock.
#[expect(clippy::result_large_err, reason = "the signature of Jail")]
pub(crate) fn server() -> String {
    let variable = "COMMS_TEST_POSTGRES_URL";
    let mut url = None;
    Jail::expect_with(|_| {
        url = std::env::var(variable).ok();
        Ok(())
    });
    url.unwrap_or_else(|| panic!("{variable} is not set: run scripts/test"))
}

/// Opens a new database on the PostgreSQL server of the tests. It is opened under the system's clock, because opening it
/// waits.
pub(crate) async fn postgres(schema: &'static str, migrations: &'static Migrator) -> Db {
    let server = server();
    let name = format!("t_{}", Clock::system().uuid_v7().simple());
    let mut connection = PgConnection::connect(&server).await.unwrap();
    let create = AssertSqlSafe(format!("CREATE DATABASE {name}"));
    connection.execute(sqlx::raw_sql(create)).await.unwrap();
    let url = format!("{}/{name}", server.rsplit_once('/').unwrap().0);
    let db = Db::postgres(&url, schema, 16, migrations, &Clock::system()).unwrap();
    let (opening, component) = (db.clone(), Health::new().component("database"));
    tokio::spawn(async move { opening.open(component).await });
    db.opened().await;
    db
}

impl TestDb {
    /// Opens a new SQLite file.
    pub(crate) async fn sqlite(schema: &'static str, migrations: &Migrator) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::sqlite(dir.path(), schema, migrations, &Clock::system()).await.unwrap();
        Self { db, _dir: Some(dir) }
    }

    /// Opens a new database on the PostgreSQL server of the tests.
    pub(crate) async fn postgres(schema: &'static str, migrations: &'static Migrator) -> Self {
        Self { db: postgres(schema, migrations).await, _dir: None }
    }

    /// Returns the messages of the outbox in their order: the id and the decoded payload.
    pub(crate) async fn published(&self) -> Vec<(String, serde_json::Value)> {
        let sql = match self.db.is_embedded() {
            true => "SELECT msg_id, CAST(payload AS TEXT) AS payload FROM {s}.comms_outbox ORDER BY id",
            false => {
                "SELECT msg_id, convert_from(payload, 'UTF8') AS payload FROM {s}.comms_outbox ORDER BY id"
            }
        };
        let rows = self.db.fetch(sql, &[]).await.unwrap();
        let read = |row: &Row| {
            let payload = serde_json::from_str(&row.text("payload").unwrap()).unwrap();
            (row.text("msg_id").unwrap(), payload)
        };
        rows.iter().map(read).collect()
    }

    /// Returns the number that a query returns in the column `n`.
    pub(crate) async fn number(&self, sql: &'static str) -> i64 {
        self.db.fetch(sql, &[]).await.unwrap()[0].int("n").unwrap()
    }
}
