//! The benchmark on PostgreSQL.

use std::sync::Arc;

use comms_core::clock::Clock;
use comms_outbox::{
    LocalConsumer, LocalConsumerBuilder,
    postgres::{PgUnit, RelayStore, Tables},
};
use sqlx::{
    AssertSqlSafe, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use super::{Backend, LINE};

#[derive(Clone)]
pub(super) struct Postgres {
    pool: PgPool,
    tables: Tables,
    unit: PgUnit,
    schema: Arc<str>,
}

impl Postgres {
    pub(super) async fn start(url: &str) -> Self {
        let schema = format!("bench_{}", Clock::system().uuid_v7().simple());
        let options: PgConnectOptions = url.parse().unwrap();
        let options = options.application_name(&schema);
        let pool =
            PgPoolOptions::new().max_connections(16).min_connections(16).connect_with(options).await.unwrap();
        let tables = Tables::in_schema(&schema).unwrap();
        let unit = PgUnit::new(pool.clone(), tables.clone());
        tables.migrate(&pool).await.unwrap();
        Self { pool, tables, unit, schema: schema.into() }
    }

    pub(super) async fn drop_schema(&self) {
        sqlx::raw_sql(self.text("DROP SCHEMA {s} CASCADE")).execute(&self.pool).await.unwrap();
    }

    fn text(&self, text: &str) -> AssertSqlSafe<String> {
        AssertSqlSafe(text.replace("{s}", &self.schema))
    }
}

impl Backend for Postgres {
    type Unit = PgUnit;

    fn unit(&self) -> PgUnit {
        self.unit.clone()
    }

    fn consumer(&self, group: &str) -> LocalConsumerBuilder {
        let store = RelayStore::new(self.pool.clone(), self.tables.clone());
        LocalConsumer::builder(store, group).commit_signal(self.unit.commit_signal())
    }

    async fn clear_outbox(&self) {
        sqlx::raw_sql(self.text("TRUNCATE {s}.comms_outbox")).execute(&self.pool).await.unwrap();
    }

    async fn add_runs(&self, runs: &[String]) {
        let insert =
            "INSERT INTO {s}.comms_saga (saga, id, version, phase, state, revision, instance, headers)
            SELECT 'floor', id, 1, 'running', 'Running', 0, '{}', '' FROM unnest($1::text[]) AS r (id)";
        sqlx::query(self.text(insert)).bind(runs).execute(&self.pool).await.unwrap();
    }

    async fn by_hand(&self, run: &str, input: usize, instance: &str) {
        let message = format!("{run}-{input}");
        let mut tx = self.pool.begin().await.unwrap();
        let claim = "INSERT INTO {s}.comms_inbox (subscriber, handler, source, id) VALUES ('saga', 'saga', 'floor', $1)";
        sqlx::query(self.text(claim)).bind(&message).execute(&mut *tx).await.unwrap();
        let select =
            "SELECT instance::text, headers FROM {s}.comms_saga WHERE saga = 'floor' AND id = $1 FOR UPDATE";
        sqlx::query(self.text(select)).bind(run).fetch_one(&mut *tx).await.unwrap();
        let update = "UPDATE {s}.comms_saga SET instance = $2::json, state = $3, revision = revision + 1,
            updated_at = now() WHERE saga = 'floor' AND id = $1";
        let query = sqlx::query(self.text(update)).bind(run).bind(instance).bind("Running");
        query.execute(&mut *tx).await.unwrap();
        let insert = "INSERT INTO {s}.comms_outbox (source, msg_id, topic, key, type, headers, payload)
            VALUES ('floor', $1, 'order.work', $2, 'order.work.v1', $3, $4)";
        let query = sqlx::query(self.text(insert)).bind(&message).bind(run.as_bytes()).bind(LINE.as_bytes());
        query.bind(message.as_bytes()).execute(&mut *tx).await.unwrap();
        let log = "INSERT INTO {s}.comms_saga_log (saga, id, sequence, phase, state, entry)
            VALUES ('floor', $1, $2, 'running', 'Running', $3::json)";
        let query = sqlx::query(self.text(log)).bind(run).bind(i64::try_from(input).unwrap());
        query.bind(LINE).execute(&mut *tx).await.unwrap();
        tx.commit().await.unwrap();
    }

    async fn completed(&self, prefix: &str) -> usize {
        let count = "SELECT count(*) FROM {s}.comms_saga
            WHERE saga = 'bench' AND phase = 'completed' AND starts_with(id, $1)";
        let count = sqlx::query_scalar::<_, i64>(self.text(count)).bind(prefix.to_owned());
        usize::try_from(count.fetch_one(&self.pool).await.unwrap()).unwrap()
    }

    async fn server(&self) -> Vec<i32> {
        let pids = "SELECT pid FROM pg_stat_activity WHERE application_name = '{s}'";
        sqlx::query_scalar(self.text(pids)).fetch_all(&self.pool).await.unwrap()
    }
}
