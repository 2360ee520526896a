//! The benchmark on a SQLite file.

use std::{path::Path, time::Duration};

use comms_core::Error;
use comms_outbox::{
    LocalConsumer, LocalConsumerBuilder, sql_error,
    sqlite::{RelayStore, SqliteTx, SqliteUnit, Tables},
};
use sqlx::{
    QueryBuilder, Sqlite as Db, SqliteConnection, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use super::{Backend, Viewed, setting};

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
            .row_buffer_size(setting("COMMS_BENCH_ROW_BUFFER", 50))
            .busy_timeout(Duration::from_secs(20));
        let pool = SqlitePoolOptions::new().max_connections(6).connect_lazy_with(options);
        Tables::new().migrate(&pool).await.unwrap();
        sqlx::raw_sql("CREATE TABLE effects (n INTEGER PRIMARY KEY, page TEXT, text TEXT)")
            .execute(&pool)
            .await
            .unwrap();
        Self { unit: SqliteUnit::new(pool.clone(), Tables::new()), pool }
    }
}

async fn insert(conn: &mut SqliteConnection, events: &[Viewed]) -> Result<(), sqlx::Error> {
    let mut query = QueryBuilder::<Db>::new("INSERT INTO effects (page, text) ");
    query.push_values(events, |mut row, event| {
        row.push_bind(&event.page).push_bind(&event.text);
    });
    query.build().execute(conn).await.map(drop)
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

    async fn insert(&self, tx: &mut SqliteTx, events: &[Viewed]) -> Result<(), Error> {
        insert(tx, events).await.map_err(sql_error)
    }

    async fn insert_raw(&self, events: &[Viewed]) {
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await.unwrap();
        insert(&mut tx, events).await.unwrap();
        tx.commit().await.unwrap();
    }

    async fn count(&self) -> usize {
        let count = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM effects");
        usize::try_from(count.fetch_one(&self.pool).await.unwrap()).unwrap()
    }

    async fn delete_effects(&self) {
        sqlx::raw_sql("DELETE FROM effects").execute(&self.pool).await.unwrap();
    }
}
