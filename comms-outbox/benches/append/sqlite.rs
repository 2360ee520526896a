//! The benchmark on a SQLite file.

use std::path::Path;

use comms_core::{Message, clock::Clock};
use comms_outbox::sqlite::{SqliteTx, SqliteUnit, Tables};
use sqlx::{
    SqliteConnection, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use super::Backend;

const INSERT: &str = "
INSERT INTO comms_event (source, msg_id, topic, key, type, headers, payload, version, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";

#[derive(Clone)]
pub(super) struct Sqlite {
    pool: SqlitePool,
    unit: SqliteUnit,
}

impl Sqlite {
    pub(super) async fn start(dir: &Path) -> Self {
        let options = SqliteConnectOptions::new()
            .filename(dir.join("bench.db"))
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full);
        let pool = SqlitePoolOptions::new().max_connections(1).connect_lazy_with(options);
        Tables::new().migrate(&pool).await.unwrap();
        Self { unit: SqliteUnit::new(pool.clone(), Tables::new()), pool }
    }
}

async fn insert(conn: &mut SqliteConnection, event: &Message, version: i64) {
    let query = sqlx::query(INSERT)
        .bind(event.source())
        .bind(event.id())
        .bind(event.topic())
        .bind(event.key())
        .bind(event.event_type())
        .bind(event.headers().encoded())
        .bind(event.payload())
        .bind(version)
        .bind(Clock::system().unix_millis());
    query.execute(conn).await.unwrap();
}

impl Backend for Sqlite {
    type Unit = SqliteUnit;

    fn unit(&self) -> SqliteUnit {
        self.unit.clone()
    }

    async fn insert_raw(&self, event: &Message, version: i64) {
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await.unwrap();
        insert(&mut tx, event, version).await;
        tx.commit().await.unwrap();
    }

    async fn insert(&self, tx: &mut SqliteTx, event: &Message, version: i64) {
        insert(tx, event, version).await;
    }
}
