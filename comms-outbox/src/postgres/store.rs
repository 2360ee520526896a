//! What the relay does to the tables.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use comms_core::{Error, async_trait};
use sqlx::{PgConnection, PgPool, Row as _};

use super::{Tables, read, row, unit};
use crate::{
    commit_error,
    relay::{Changes, Holder, Lane, Lease, Page, Park, Position, Row, Store},
    sql_error,
};

/// The least snapshot: nothing is visible in it, so a new relay begins with the oldest row.
pub(super) const ACQUIRE: &str = "
INSERT INTO {s}.comms_outbox_cursor AS c
    (relay, snap, last_id, owner, epoch, lease_until, system_identifier)
SELECT $1, '3:3:', 0, $2, 1, clock_timestamp() + $3 * interval '1 millisecond', system_identifier
FROM pg_control_system()
ON CONFLICT (relay) DO UPDATE
SET owner = excluded.owner, epoch = c.epoch + 1, lease_until = excluded.lease_until
WHERE c.owner = excluded.owner OR c.lease_until <= clock_timestamp()
RETURNING epoch, snap::text AS snap, win::text AS win, last_id, system_identifier,
    (SELECT system_identifier FROM pg_control_system()) AS cluster";

pub(super) const SAVE: &str = "
UPDATE {s}.comms_outbox_cursor
SET snap = $3::text::pg_snapshot, win = $4::text::pg_snapshot, last_id = $5,
    lease_until = clock_timestamp() + $6 * interval '1 millisecond'
WHERE relay = $1 AND epoch = $2";

pub(super) const PARK: &str = "
INSERT INTO {s}.comms_outbox_parked (relay, outbox_id, topic, key, attempts, error_kind, error)
SELECT $1, p.* FROM unnest($2::bigint[], $3::text[], $4::bytea[], $5::integer[], $6::text[], $7::text[]) p
ON CONFLICT DO NOTHING";

/// What was parked behind a row while it was released follows it.
pub(super) const FOLLOW: &str = "
UPDATE {s}.comms_outbox_parked p SET state = 'released' FROM {s}.comms_outbox_parked d
WHERE d.relay = $1 AND d.outbox_id = ANY ($2)
  AND p.relay = $1 AND p.topic = d.topic AND p.key = d.key AND p.state = 'parked'";

pub(super) const UNPARK: &str =
    "DELETE FROM {s}.comms_outbox_parked WHERE relay = $1 AND outbox_id = ANY ($2)";

/// The row that failed again says why; the rest of its lane waits with it.
pub(super) const REPARK: &str = "
UPDATE {s}.comms_outbox_parked SET state = 'parked',
    attempts = CASE WHEN outbox_id = $2 THEN attempts + $5 ELSE attempts END,
    error_kind = CASE WHEN outbox_id = $2 THEN $6 ELSE error_kind END,
    error = CASE WHEN outbox_id = $2 THEN $7 ELSE error END
WHERE relay = $1 AND (outbox_id = $2 OR (topic = $3 AND key = $4))";

pub(super) const LANES: &str = "
SELECT DISTINCT topic, key FROM {s}.comms_outbox_parked WHERE relay = $1";

pub(super) const RELEASED: &str = "
SELECT o.id, o.source, o.msg_id, o.topic, o.key, o.headers, o.payload,
       extract(epoch FROM clock_timestamp() - o.created_at)::float8 AS age
FROM {s}.comms_outbox_parked p JOIN {s}.comms_outbox o ON o.id = p.outbox_id
WHERE p.relay = $1 AND (p.state = 'released' OR EXISTS (
    SELECT FROM {s}.comms_outbox_parked r
    WHERE r.relay = $1 AND r.state = 'released' AND r.topic = p.topic AND r.key = p.key))
ORDER BY o.id LIMIT $2";

/// The outbox of one schema, for a [`Relay`](crate::Relay). Uses one connection of the pool at a time.
#[derive(Debug, Clone)]
pub struct RelayStore {
    pool: PgPool,
    tables: Tables,
}

impl RelayStore {
    /// The outbox of `tables`, by connections of `pool`.
    #[must_use]
    pub fn new(pool: PgPool, tables: Tables) -> Self {
        Self { pool, tables }
    }
}

#[async_trait]
impl Store for RelayStore {
    async fn acquire(&self, relay: &str, owner: &str, lease: Duration) -> Result<Option<Lease>, Error> {
        let mut conn = self.pool.acquire().await.map_err(sql_error)?;
        self.tables.check(&mut conn).await?;
        let row = sqlx::query(self.tables.sql.acquire.clone())
            .bind(relay)
            .bind(owner)
            .bind(lease.as_secs_f64() * 1e3)
            .fetch_optional(&mut *conn)
            .await
            .map_err(sql_error)?;
        let Some(row) = row else { return Ok(None) };
        let columns = || Ok((row.try_get("system_identifier")?, row.try_get("cluster")?));
        let (stored, cluster): (i64, i64) = columns().map_err(sql_error)?;
        if stored != cluster {
            return Err(Error::fatal(format!(
                "the cursor of relay {relay} was written in another database cluster ({stored}, this is {cluster}): \
                 its snapshots mean nothing here. Stop the writers, call Tables::rebase, and start again"
            )));
        }
        let position = || -> Result<Position, sqlx::Error> {
            Ok(Position {
                snap: row.try_get("snap")?,
                window: row.try_get("win")?,
                last_id: row.try_get("last_id")?,
                bounds: None,
            })
        };
        let lease = || Ok(Lease { epoch: row.try_get("epoch")?, position: position()? });
        lease().map(Some).map_err(sql_error)
    }

    async fn read(&self, from: &Position, topics: Option<&[String]>, limit: i64) -> Result<Page, Error> {
        read::read(&self.pool, &self.tables, from, topics, limit).await
    }

    async fn save(&self, holder: &Holder, position: &Position, changes: &Changes) -> Result<bool, Error> {
        if changes.is_empty() {
            let mut conn = self.pool.acquire().await.map_err(sql_error)?;
            return self.save_cursor(&mut conn, holder, position).await;
        }
        let mut tx = unit::begin(&self.pool).await?;
        // First the cursor: its row is locked, and another epoch cannot come in between.
        if !self.save_cursor(&mut tx, holder, position).await? {
            return Ok(false);
        }
        self.save_changes(&mut tx, &holder.relay, changes).await.map_err(sql_error)?;
        tx.commit().await.map_err(commit_error)?;
        Ok(true)
    }

    async fn parked_lanes(&self, relay: &str) -> Result<(Vec<Lane>, bool), Error> {
        let query = sqlx::query(self.tables.sql.lanes.clone()).bind(relay);
        let rows = query.fetch_all(&self.pool).await.map_err(sql_error)?;
        let lane = |row: &'_ sqlx::postgres::PgRow| -> Result<Option<Lane>, sqlx::Error> {
            let key: Option<Vec<u8>> = row.try_get(1)?;
            let topic: Arc<str> = row.try_get::<&str, _>(0)?.into();
            Ok(key.map(|key| (topic, Bytes::from(key))))
        };
        let lanes = rows.iter().filter_map(|row| lane(row).transpose()).collect::<Result<_, _>>();
        Ok((lanes.map_err(sql_error)?, !rows.is_empty()))
    }

    async fn released(&self, relay: &str, limit: i64) -> Result<Vec<Row>, Error> {
        let query = sqlx::query(self.tables.sql.released.clone()).bind(relay).bind(limit);
        query.fetch_all(&self.pool).await.map_err(sql_error)?.iter().map(row::decode).collect()
    }
}

impl RelayStore {
    async fn save_cursor(
        &self,
        conn: &mut PgConnection,
        holder: &Holder,
        position: &Position,
    ) -> Result<bool, Error> {
        let done = sqlx::query(self.tables.sql.save.clone())
            .bind(&*holder.relay)
            .bind(holder.epoch)
            .bind(&position.snap)
            .bind(&position.window)
            .bind(position.last_id)
            .bind(holder.lease.as_secs_f64() * 1e3)
            .execute(conn)
            .await
            .map_err(sql_error)?;
        Ok(done.rows_affected() == 1)
    }

    async fn save_changes(
        &self,
        conn: &mut PgConnection,
        relay: &str,
        changes: &Changes,
    ) -> Result<(), sqlx::Error> {
        let sql = &self.tables.sql;
        if !changes.park.is_empty() {
            let rows = &changes.park;
            sqlx::query(sql.park.clone())
                .bind(relay)
                .bind(rows.iter().map(|p| p.outbox_id).collect::<Vec<_>>())
                .bind(rows.iter().map(|p| &*p.topic).collect::<Vec<_>>())
                .bind(rows.iter().map(|p| p.key.as_deref()).collect::<Vec<_>>())
                .bind(rows.iter().map(attempts).collect::<Vec<_>>())
                .bind(rows.iter().map(|p| p.refusal.kind.map(|k| k.as_str())).collect::<Vec<_>>())
                .bind(rows.iter().map(|p| &*p.refusal.reason).collect::<Vec<_>>())
                .execute(&mut *conn)
                .await?;
        }
        if !changes.unpark.is_empty() {
            for text in [&sql.follow, &sql.unpark] {
                sqlx::query(text.clone()).bind(relay).bind(&changes.unpark).execute(&mut *conn).await?;
            }
        }
        for row in &changes.repark {
            sqlx::query(sql.repark.clone())
                .bind(relay)
                .bind(row.outbox_id)
                .bind(&*row.topic)
                .bind(row.key.as_deref())
                .bind(attempts(row))
                .bind(row.refusal.kind.map(|k| k.as_str()))
                .bind(&row.refusal.reason)
                .execute(&mut *conn)
                .await?;
        }
        Ok(())
    }
}

fn attempts(row: &Park) -> i32 {
    i32::try_from(row.refusal.attempts).unwrap_or(i32::MAX)
}
