//! The benchmark on PostgreSQL.

use std::sync::Arc;

use comms_core::{Message, clock::Clock};
use comms_outbox::postgres::{PgUnit, Tables};
use sqlx::{AssertSqlSafe, PgConnection, PgPool, Postgres as Db, Transaction, postgres::PgPoolOptions};

use super::Backend;

#[derive(Clone)]
pub(super) struct Postgres {
    pool: PgPool,
    unit: PgUnit,
    schema: Arc<str>,
    insert: Arc<str>,
}

impl Postgres {
    pub(super) async fn start(url: &str) -> Self {
        let pool = PgPoolOptions::new().max_connections(32).connect(url).await.unwrap();
        let schema = format!("bench_{}", Clock::system().uuid_v7().simple());
        let tables = Tables::in_schema(&schema).unwrap();
        tables.migrate(&pool).await.unwrap();
        let insert = format!(
            "INSERT INTO {schema}.comms_event
                 (source, msg_id, topic, key, type, headers, payload, version, created_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, now())"
        );
        Self { unit: PgUnit::new(pool.clone(), tables), pool, schema: schema.into(), insert: insert.into() }
    }

    pub(super) async fn drop_schema(&self) {
        let drop = AssertSqlSafe(format!("DROP SCHEMA {} CASCADE", self.schema));
        sqlx::raw_sql(drop).execute(&self.pool).await.unwrap();
    }

    async fn insert_into(&self, conn: &mut PgConnection, event: &Message, version: i64) {
        let query = sqlx::query(AssertSqlSafe(self.insert.clone()))
            .bind(event.source())
            .bind(event.id())
            .bind(event.topic())
            .bind(event.key())
            .bind(event.event_type())
            .bind(event.headers().encoded())
            .bind(event.payload())
            .bind(version);
        query.execute(conn).await.unwrap();
    }
}

impl Backend for Postgres {
    type Unit = PgUnit;

    fn unit(&self) -> PgUnit {
        self.unit.clone()
    }

    async fn insert_raw(&self, event: &Message, version: i64) {
        let mut tx = self.pool.begin().await.unwrap();
        self.insert_into(&mut tx, event, version).await;
        tx.commit().await.unwrap();
    }

    async fn insert(&self, tx: &mut Transaction<'static, Db>, event: &Message, version: i64) {
        self.insert_into(tx, event, version).await;
    }
}
