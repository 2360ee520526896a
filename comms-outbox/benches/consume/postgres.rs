//! The benchmark on PostgreSQL.

use comms_core::{Error, clock::Clock};
use comms_outbox::{
    LocalConsumer, LocalConsumerBuilder,
    postgres::{PgUnit, RelayStore, Tables},
    sql_error,
};
use sqlx::{AssertSqlSafe, PgConnection, PgPool, Postgres as Db, Transaction, postgres::PgPoolOptions};

use super::{Backend, Viewed};

#[derive(Clone)]
pub(super) struct Postgres {
    pool: PgPool,
    tables: Tables,
    unit: PgUnit,
    schema: String,
}

impl Postgres {
    pub(super) async fn start(url: &str) -> Self {
        let pool = PgPoolOptions::new().max_connections(24).connect(url).await.unwrap();
        let schema = format!("bench_{}", Clock::system().uuid_v7().simple());
        let tables = Tables::in_schema(&schema).unwrap();
        let unit = PgUnit::new(pool.clone(), tables.clone());
        tables.migrate(&pool).await.unwrap();
        let backend = Self { pool, tables, unit, schema };
        backend.sql("CREATE TABLE {s}.effects (n bigserial PRIMARY KEY, page text, text text)").await;
        backend
    }

    pub(super) async fn drop_schema(&self) {
        self.sql("DROP SCHEMA {s} CASCADE").await;
    }

    fn text(&self, text: &str) -> AssertSqlSafe<String> {
        AssertSqlSafe(text.replace("{s}", &self.schema))
    }

    async fn sql(&self, text: &str) {
        sqlx::raw_sql(self.text(text)).execute(&self.pool).await.unwrap();
    }

    async fn insert_into(&self, conn: &mut PgConnection, events: &[Viewed]) -> Result<(), sqlx::Error> {
        let text =
            self.text("INSERT INTO {s}.effects (page, text) SELECT * FROM unnest($1::text[], $2::text[])");
        let column = |f: fn(&Viewed) -> &str| events.iter().map(f).collect::<Vec<_>>();
        let query = sqlx::query(text).bind(column(|e| &e.page)).bind(column(|e| &e.text));
        query.execute(conn).await.map(drop)
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

    async fn insert(&self, tx: &mut Transaction<'static, Db>, events: &[Viewed]) -> Result<(), Error> {
        self.insert_into(tx, events).await.map_err(sql_error)
    }

    async fn insert_raw(&self, events: &[Viewed]) {
        let mut tx = self.pool.begin().await.unwrap();
        self.insert_into(&mut tx, events).await.unwrap();
        tx.commit().await.unwrap();
    }

    async fn count(&self) -> usize {
        let count = sqlx::query_scalar::<_, i64>(self.text("SELECT count(*) FROM {s}.effects"));
        usize::try_from(count.fetch_one(&self.pool).await.unwrap()).unwrap()
    }

    async fn delete_effects(&self) {
        self.sql("TRUNCATE {s}.effects").await;
    }
}
