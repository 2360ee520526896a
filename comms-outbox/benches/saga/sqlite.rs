//! The benchmark on a SQLite file.

use std::{path::Path, time::Duration};

use comms_outbox::{
    LocalConsumer, LocalConsumerBuilder,
    sqlite::{RelayStore, SqliteUnit, Tables},
};
use sqlx::{
    SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use super::{Backend, LINE};

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
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(Duration::from_secs(20));
        let pool = SqlitePoolOptions::new().max_connections(6).connect_lazy_with(options);
        Tables::new().migrate(&pool).await.unwrap();
        Self { unit: SqliteUnit::new(pool.clone(), Tables::new()), pool }
    }
}

impl Backend for Sqlite {
    type Unit = SqliteUnit;

    fn unit(&self) -> SqliteUnit {
        self.unit.clone()
    }

    fn consumer(&self, group: &str) -> LocalConsumerBuilder {
        let store = RelayStore::new(self.pool.clone(), Tables::new());
        LocalConsumer::builder(store, group).commit_signal(self.unit.commit_signal())
    }

    async fn clear_outbox(&self) {
        sqlx::raw_sql("DELETE FROM comms_outbox").execute(&self.pool).await.unwrap();
    }

    async fn add_runs(&self, runs: &[String]) {
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await.unwrap();
        for run in runs {
            let insert =
                "INSERT INTO comms_saga (saga, id, version, phase, state, revision, instance, headers)
                VALUES ('floor', $1, 1, 'running', 'Running', 0, '{}', x'')";
            sqlx::query(insert).bind(run).execute(&mut *tx).await.unwrap();
        }
        tx.commit().await.unwrap();
    }

    async fn by_hand(&self, run: &str, input: usize, instance: &str) {
        let message = format!("{run}-{input}");
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await.unwrap();
        let claim =
            "INSERT INTO comms_inbox (subscriber, handler, source, id) VALUES ('saga', 'saga', 'floor', $1)";
        sqlx::query(claim).bind(&message).execute(&mut *tx).await.unwrap();
        let select = "SELECT instance, headers FROM comms_saga WHERE saga = 'floor' AND id = $1";
        sqlx::query(select).bind(run).fetch_one(&mut *tx).await.unwrap();
        let update = "UPDATE comms_saga SET instance = $2, state = $3, revision = revision + 1,
            updated_at = CAST(unixepoch('subsec') * 1000 AS INTEGER) WHERE saga = 'floor' AND id = $1";
        let query = sqlx::query(update).bind(run).bind(instance).bind("Running");
        query.execute(&mut *tx).await.unwrap();
        let insert = "INSERT INTO comms_outbox (source, msg_id, topic, key, type, headers, payload)
            VALUES ('floor', $1, 'order.work', $2, 'order.work.v1', $3, $4)";
        let query = sqlx::query(insert).bind(&message).bind(run.as_bytes()).bind(LINE.as_bytes());
        query.bind(message.as_bytes()).execute(&mut *tx).await.unwrap();
        let log = "INSERT INTO comms_saga_log (saga, id, sequence, phase, state, entry)
            VALUES ('floor', $1, $2, 'running', 'Running', $3)";
        let query = sqlx::query(log).bind(run).bind(i64::try_from(input).unwrap());
        query.bind(LINE).execute(&mut *tx).await.unwrap();
        tx.commit().await.unwrap();
    }

    async fn completed(&self, prefix: &str) -> usize {
        let count = "SELECT count(*) FROM comms_saga
            WHERE saga = 'bench' AND phase = 'completed' AND substr(id, 1, length($1)) = $1";
        let count = sqlx::query_scalar::<_, i64>(count).bind(prefix.to_owned());
        usize::try_from(count.fetch_one(&self.pool).await.unwrap()).unwrap()
    }

    async fn server(&self) -> Vec<i32> {
        Vec::new()
    }
}
