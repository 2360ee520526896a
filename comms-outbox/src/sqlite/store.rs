//! What the relay does to the tables.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use comms_core::{Error, async_trait};
use sqlx::{Row as _, SqliteConnection, SqlitePool};

use super::{Tables, read, row, unit};
use crate::{
    relay::{Changes, Holder, Lane, Lease, Page, Park, Position, Row, Store},
    sql_error,
};

const ACQUIRE: &str = "
INSERT INTO comms_outbox_cursor AS c (relay, last_id, owner, epoch, lease_until)
VALUES ($1, 0, $2, 1, CAST(unixepoch('subsec') * 1000 AS INTEGER) + $3)
ON CONFLICT (relay) DO UPDATE
SET owner = excluded.owner, epoch = c.epoch + 1, lease_until = excluded.lease_until
WHERE c.owner = excluded.owner OR c.lease_until <= CAST(unixepoch('subsec') * 1000 AS INTEGER)
RETURNING epoch, last_id";

const SAVE: &str = "
UPDATE comms_outbox_cursor
SET last_id = $3, lease_until = CAST(unixepoch('subsec') * 1000 AS INTEGER) + $4
WHERE relay = $1 AND epoch = $2";

const PARK: &str = "
INSERT INTO comms_outbox_parked (relay, outbox_id, topic, key, attempts, error_kind, error)
VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING";

/// What was parked behind a row while it was released follows it.
const FOLLOW: &str = "
UPDATE comms_outbox_parked AS p SET state = 'released' FROM comms_outbox_parked AS d
WHERE d.relay = $1 AND d.outbox_id = $2
  AND p.relay = $1 AND p.topic = d.topic AND p.key = d.key AND p.state = 'parked'";

const UNPARK: &str = "DELETE FROM comms_outbox_parked WHERE relay = $1 AND outbox_id = $2";

/// The row that failed again says why; the rest of its lane waits with it.
const REPARK: &str = "
UPDATE comms_outbox_parked SET state = 'parked',
    attempts = CASE WHEN outbox_id = $2 THEN attempts + $5 ELSE attempts END,
    error_kind = CASE WHEN outbox_id = $2 THEN $6 ELSE error_kind END,
    error = CASE WHEN outbox_id = $2 THEN $7 ELSE error END
WHERE relay = $1 AND (outbox_id = $2 OR (topic = $3 AND key = $4))";

const LANES: &str = "SELECT DISTINCT topic, key FROM comms_outbox_parked WHERE relay = $1";

const RELEASED: &str = "
SELECT o.id, o.source, o.msg_id, o.topic, o.key, o.headers, o.payload,
       CAST(unixepoch('subsec') * 1000 AS INTEGER) - o.created_at AS age
FROM comms_outbox_parked p JOIN comms_outbox o ON o.id = p.outbox_id
WHERE p.relay = $1 AND (p.state = 'released' OR EXISTS (
    SELECT 1 FROM comms_outbox_parked r
    WHERE r.relay = $1 AND r.state = 'released' AND r.topic = p.topic AND r.key = p.key))
ORDER BY o.id LIMIT $2";

/// The outbox of one file, for a [`Relay`](crate::Relay). Needs connections that may write; uses one at a time.
#[derive(Debug, Clone)]
pub struct RelayStore {
    pool: SqlitePool,
    tables: Tables,
}

impl RelayStore {
    /// The outbox of `tables`, by connections of `pool`.
    #[must_use]
    pub fn new(pool: SqlitePool, tables: Tables) -> Self {
        Self { pool, tables }
    }
}

#[async_trait]
impl Store for RelayStore {
    async fn acquire(&self, relay: &str, owner: &str, lease: Duration) -> Result<Option<Lease>, Error> {
        let mut conn = self.pool.acquire().await.map_err(sql_error)?;
        self.tables.check(&mut conn).await?;
        let query = sqlx::query(ACQUIRE).bind(relay).bind(owner).bind(millis(lease));
        // All rows: a statement that is left after its first row has not committed yet.
        let rows = query.fetch_all(&mut *conn).await.map_err(sql_error)?;
        let Some(row) = rows.first() else { return Ok(None) };
        let position = |last_id| Position { last_id, ..Position::default() };
        let lease =
            || Ok(Lease { epoch: row.try_get("epoch")?, position: position(row.try_get("last_id")?) });
        lease().map(Some).map_err(sql_error)
    }

    async fn read(&self, from: &Position, topics: Option<&[String]>, limit: i64) -> Result<Page, Error> {
        read::read(&self.pool, from, topics, limit).await
    }

    async fn save(&self, holder: &Holder, position: &Position, changes: &Changes) -> Result<bool, Error> {
        if changes.is_empty() {
            let mut conn = self.pool.acquire().await.map_err(sql_error)?;
            return save_cursor(&mut conn, holder, position).await;
        }
        let mut tx = unit::begin(&self.pool).await?;
        if !save_cursor(&mut tx, holder, position).await? {
            return Ok(false);
        }
        save_changes(&mut tx, &holder.relay, changes).await.map_err(sql_error)?;
        unit::commit(tx).await?;
        Ok(true)
    }

    async fn parked_lanes(&self, relay: &str) -> Result<(Vec<Lane>, bool), Error> {
        let rows = sqlx::query(LANES).bind(relay).fetch_all(&self.pool).await.map_err(sql_error)?;
        let lane = |row: &'_ sqlx::sqlite::SqliteRow| -> Result<Option<Lane>, sqlx::Error> {
            let key: Option<Vec<u8>> = row.try_get(1)?;
            let topic: Arc<str> = row.try_get::<&str, _>(0)?.into();
            Ok(key.map(|key| (topic, Bytes::from(key))))
        };
        let lanes = rows.iter().filter_map(|row| lane(row).transpose()).collect::<Result<_, _>>();
        Ok((lanes.map_err(sql_error)?, !rows.is_empty()))
    }

    async fn released(&self, relay: &str, limit: i64) -> Result<Vec<Row>, Error> {
        let query = sqlx::query(RELEASED).bind(relay).bind(limit);
        query.fetch_all(&self.pool).await.map_err(sql_error)?.iter().map(row::decode).collect()
    }
}

async fn save_cursor(
    conn: &mut SqliteConnection,
    holder: &Holder,
    position: &Position,
) -> Result<bool, Error> {
    let done = sqlx::query(SAVE)
        .bind(&*holder.relay)
        .bind(holder.epoch)
        .bind(position.last_id)
        .bind(millis(holder.lease))
        .execute(conn)
        .await
        .map_err(sql_error)?;
    Ok(done.rows_affected() == 1)
}

async fn save_changes(
    conn: &mut SqliteConnection,
    relay: &str,
    changes: &Changes,
) -> Result<(), sqlx::Error> {
    for row in &changes.park {
        write(conn, PARK, relay, row).await?;
    }
    for id in &changes.unpark {
        for text in [FOLLOW, UNPARK] {
            sqlx::query(text).bind(relay).bind(id).execute(&mut *conn).await?;
        }
    }
    for row in &changes.repark {
        write(conn, REPARK, relay, row).await?;
    }
    Ok(())
}

async fn write(
    conn: &mut SqliteConnection,
    text: &'static str,
    relay: &str,
    row: &Park,
) -> Result<(), sqlx::Error> {
    sqlx::query(text)
        .bind(relay)
        .bind(row.outbox_id)
        .bind(&*row.topic)
        .bind(row.key.as_deref())
        .bind(row.refusal.attempts)
        .bind(row.refusal.kind.map(|k| k.as_str()))
        .bind(&row.refusal.reason)
        .execute(conn)
        .await
        .map(drop)
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
