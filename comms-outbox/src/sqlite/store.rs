//! The source of a relay: takes the lease, reads rows, renews the lease while it saves the cursor, and finds released
//! rows.

use std::sync::Arc;

use bytes::Bytes;
use comms_core::{Error, async_trait};
use sqlx::{Row as _, SqliteConnection, SqlitePool, sqlite::SqliteRow};

use super::{Tables, changes, read, row, tx};
use crate::{
    branch::hold_reason,
    relay::{
        Changes, Filter, Lease, LeaseHolder, LeaseRequest, Log, Page, ParkedLanes, Position, Query, Row,
        RowBuffer, Start, Store, StoredBranch,
    },
    sql_error,
};

/// A lease that ends later than now plus its length was written by a wrong clock, and may be taken. One second is
/// allowed for a clock that is being corrected.
/// If $5 is true, a new relay begins after the last row, otherwise at the oldest.
const ACQUIRE: &str = "
INSERT INTO comms_outbox_cursor AS c (relay, last_id, token, owner, lease, lease_until, covers)
VALUES ($1, CASE WHEN $5 THEN (SELECT coalesce(max(id), 0) FROM comms_outbox) ELSE 0 END, hex(randomblob(16)),
        $2, $3, CAST(unixepoch('subsec') * 1000 AS INTEGER) + $3, $4)
ON CONFLICT (relay) DO UPDATE
SET token = excluded.token, owner = excluded.owner, lease = excluded.lease, lease_until = excluded.lease_until
WHERE c.owner = excluded.owner OR c.lease_until <= CAST(unixepoch('subsec') * 1000 AS INTEGER)
    OR c.lease_until > CAST(unixepoch('subsec') * 1000 AS INTEGER) + c.lease + 1000
RETURNING token, last_id, covers";

const BRANCHES: &str =
    "SELECT topic, last_id, error_kind, error FROM comms_outbox_branch WHERE relay = $1 ORDER BY topic";

const SAVE: &str = "
UPDATE comms_outbox_cursor
SET last_id = $3, lease_until = CAST(unixepoch('subsec') * 1000 AS INTEGER) + $4
WHERE relay = $1 AND token = $2";

/// Releases held rows whose time has come. Without `INDEXED BY` the planner would prefer the primary key, and read
/// every parked row.
const DUE: &str = "
UPDATE comms_outbox_parked INDEXED BY comms_outbox_parked_due SET state = 'released'
WHERE relay = $1 AND state <> 'parked' AND state = 'held'
  AND retry_at <= CAST(unixepoch('subsec') * 1000 AS INTEGER)";

const LANES: &str = "SELECT DISTINCT topic, key FROM comms_outbox_parked WHERE relay = $1";

/// Released rows, found by the partial index, and the parked rows before them in their lanes.
const RELEASED: &str = "
WITH due AS MATERIALIZED (
    SELECT outbox_id, topic, key FROM comms_outbox_parked INDEXED BY comms_outbox_parked_due
    WHERE relay = $1 AND state <> 'parked' AND state = 'released'
      AND ($5 IS NULL OR topic IN (SELECT value FROM json_each($5)))
      AND topic NOT IN (SELECT value FROM json_each($4)) ORDER BY outbox_id LIMIT $2
), lanes AS MATERIALIZED (
    SELECT topic, key, max(outbox_id) AS last FROM due WHERE key IS NOT NULL GROUP BY topic, key
), ids AS MATERIALIZED (
    SELECT outbox_id FROM (
        SELECT p.outbox_id FROM lanes l CROSS JOIN comms_outbox_parked p
        WHERE p.relay = $1 AND p.topic = l.topic AND p.key = l.key AND p.outbox_id <= l.last
        UNION ALL SELECT outbox_id FROM due WHERE key IS NULL
    ) ORDER BY outbox_id LIMIT $2
), summed AS MATERIALIZED (
    SELECT o.id, sum(coalesce(length(payload), 0) + length(headers))
                     OVER (ORDER BY o.id ROWS UNBOUNDED PRECEDING)
                 - coalesce(length(payload), 0) - length(headers) AS before
    FROM ids CROSS JOIN comms_outbox o ON o.id = ids.outbox_id
)
SELECT o.id, source, msg_id, topic, key, headers, payload
FROM summed s CROSS JOIN comms_outbox o ON o.id = s.id WHERE before < $3 ORDER BY o.id";

/// The outbox of one file, as the source of a [`Relay`](crate::Relay). It needs connections that may write, and uses
/// one at a time.
#[derive(Debug, Clone)]
pub struct RelayStore {
    pool: SqlitePool,
    tables: Tables,
    statements: Arc<read::Statements>,
}

impl RelayStore {
    /// Creates a store for the outbox of `tables` that uses connections of `pool`.
    #[must_use]
    pub fn new(pool: SqlitePool, tables: Tables) -> Self {
        Self::reading(pool, tables, Log::Outbox)
    }
}

impl RelayStore {
    /// Creates a store for the rows of `log`.
    pub(super) fn reading(pool: SqlitePool, tables: Tables, log: Log) -> Self {
        Self { pool, tables, statements: Arc::new(read::Statements::new(log)) }
    }
}

#[async_trait]
impl Store for RelayStore {
    fn oldest(&self) -> Position {
        Position::default()
    }

    async fn acquire(&self, request: &LeaseRequest<'_>) -> Result<Option<Lease>, Error> {
        let mut tx = tx::begin(&self.pool).await?;
        self.tables.check(&mut tx).await?;
        let covers = request.covers.map(serde_json::to_string).transpose().map_err(Error::internal)?;
        let query = sqlx::query(ACQUIRE)
            .bind(request.relay)
            .bind(request.owner)
            .bind(changes::millis(request.lease))
            .bind(covers)
            .bind(request.start == Start::Now);
        // All rows are fetched: a statement that is dropped after its first row has not ended.
        let rows = query.fetch_all(&mut *tx).await.map_err(sql_error)?;
        let Some(row) = rows.first() else { return Ok(None) };
        let mut lease = granted(row)?;
        let rows = sqlx::query(BRANCHES).bind(request.relay).fetch_all(&mut *tx).await.map_err(sql_error)?;
        lease.branches = rows.iter().map(branch).collect::<Result<_, _>>().map_err(sql_error)?;
        tx::commit(tx).await?;
        Ok(Some(lease))
    }

    async fn read(&self, query: Query) -> Result<Option<Page>, Error> {
        read::read(&self.pool, &self.statements, query).await
    }

    async fn save(
        &self,
        holder: &LeaseHolder,
        position: &Position,
        changes: &Changes,
    ) -> Result<bool, Error> {
        if changes.is_empty() {
            let mut conn = self.pool.acquire().await.map_err(sql_error)?;
            return save_cursor(&mut conn, holder, position).await;
        }
        let mut tx = tx::begin(&self.pool).await?;
        if !save_cursor(&mut tx, holder, position).await? {
            return Ok(false);
        }
        changes::save(&mut tx, &holder.relay, changes).await?;
        tx::commit(tx).await?;
        Ok(true)
    }

    async fn parked_lanes(&self, relay: &str) -> Result<ParkedLanes, Error> {
        let rows = sqlx::query(LANES).bind(relay).fetch_all(&self.pool).await.map_err(sql_error)?;
        let lane = |row: &'_ SqliteRow| -> Result<Option<_>, sqlx::Error> {
            let key: Option<Vec<u8>> = row.try_get(1)?;
            let topic: Arc<str> = row.try_get::<&str, _>(0)?.into();
            Ok(key.map(|key| (topic, Bytes::from(key))))
        };
        let lanes = rows.iter().filter_map(|row| lane(row).transpose()).collect::<Result<_, _>>();
        Ok(ParkedLanes { lanes: lanes.map_err(sql_error)?, any: !rows.is_empty() })
    }

    async fn released(
        &self,
        relay: &str,
        filter: &Filter,
        max_rows: i64,
        max_bytes: i64,
    ) -> Result<Vec<Row>, Error> {
        let except = serde_json::to_string(&*filter.except).map_err(Error::internal)?;
        let only = filter.only.as_deref().map(serde_json::to_string).transpose().map_err(Error::internal)?;
        let mut conn = self.pool.acquire().await.map_err(sql_error)?;
        sqlx::query(DUE).bind(relay).execute(&mut *conn).await.map_err(sql_error)?;
        let query = sqlx::query(RELEASED).bind(relay).bind(max_rows).bind(max_bytes).bind(except).bind(only);
        let rows = query.fetch_all(&mut *conn).await.map_err(sql_error)?;
        let mut buffer = RowBuffer::new(0);
        rows.iter().map(|row| row::decode(row, &mut buffer)).collect::<Result<_, _>>().map_err(sql_error)
    }
}

pub(super) async fn save_cursor(
    conn: &mut SqliteConnection,
    holder: &LeaseHolder,
    position: &Position,
) -> Result<bool, Error> {
    let done = sqlx::query(SAVE)
        .bind(&*holder.relay)
        .bind(&holder.token)
        .bind(position.last_id)
        .bind(changes::millis(holder.lease))
        .execute(conn)
        .await
        .map_err(sql_error)?;
    Ok(done.rows_affected() == 1)
}

fn granted(row: &SqliteRow) -> Result<Lease, Error> {
    let covers: Option<String> = row.try_get("covers").map_err(sql_error)?;
    let covers = covers.as_deref().map(serde_json::from_str).transpose();
    let covers = covers.map_err(|e| Error::internal(e).context("comms_outbox_cursor.covers"))?;
    let lease = || -> Result<Lease, sqlx::Error> {
        let token = row.try_get("token")?;
        Ok(Lease { token, position: position(row)?, covers, branches: Vec::new() })
    };
    lease().map_err(sql_error)
}

fn position(row: &SqliteRow) -> Result<Position, sqlx::Error> {
    Ok(Position { last_id: row.try_get("last_id")?, ..Position::default() })
}

fn branch(row: &SqliteRow) -> Result<StoredBranch, sqlx::Error> {
    let held = hold_reason(row.try_get("error_kind")?, row.try_get("error")?);
    Ok(StoredBranch { topic: row.try_get::<&str, _>("topic")?.into(), position: position(row)?, held })
}
