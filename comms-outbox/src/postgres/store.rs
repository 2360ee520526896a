//! The source of a relay: reads rows, renews the lease while it saves the cursor, and finds released rows.

use std::sync::Arc;

use bytes::Bytes;
use comms_core::{Error, async_trait};
use sqlx::{PgConnection, PgPool, Row as _};

use super::{
    Tables, changes, lease,
    read::{self, Piece},
    row,
    snapshot::OLDEST,
    unit,
};
use crate::{
    commit_error,
    relay::{
        Changes, Filter, Lease, LeaseHolder, LeaseRequest, Page, ParkedLanes, Position, Query, Row,
        RowBuffer, Store,
    },
    sql_error,
};

/// The statement that stores the snapshot checks the guard, see [`read`].
const SAVE: &str = "
UPDATE {s}.comms_outbox_cursor
SET snap = $3::pg_snapshot, win = $4::pg_snapshot, last_id = $5::bigint,
    lease_until = clock_timestamp() + $6::float8 * interval '1 millisecond'
WHERE relay = $1 AND token = $2::uuid
  AND EXISTS (SELECT FROM {s}.comms_outbox_guard WHERE relay = $1 AND token = $2::uuid)";

/// Releases held rows whose time has come.
const DUE: &str = "
UPDATE {s}.comms_outbox_parked SET state = 'released'
WHERE relay = $1 AND state = 'held' AND retry_at <= clock_timestamp()";

const LANES: &str = "
SELECT DISTINCT topic, key FROM {s}.comms_outbox_parked WHERE relay = $1";

/// Released rows, found by the partial index, and the parked rows before them in their lanes.
const RELEASED: &str = "
WITH due AS MATERIALIZED (
    SELECT outbox_id, topic, key FROM {s}.comms_outbox_parked
    WHERE relay = $1 AND state = 'released' AND topic <> ALL ($4::text[])
      AND ($5::text[] IS NULL OR topic = ANY ($5)) ORDER BY outbox_id LIMIT $2
), lanes AS MATERIALIZED (
    SELECT topic, key, max(outbox_id) AS last FROM due WHERE key IS NOT NULL GROUP BY topic, key
),
ids AS MATERIALIZED (
    SELECT outbox_id FROM (
        SELECT p.outbox_id FROM lanes l, LATERAL (
            SELECT outbox_id FROM {s}.comms_outbox_parked p
            WHERE p.relay = $1 AND p.topic = l.topic AND p.key = l.key AND p.outbox_id <= l.last
            ORDER BY outbox_id LIMIT $2) p
        UNION ALL SELECT outbox_id FROM due WHERE key IS NULL
    ) u ORDER BY outbox_id LIMIT $2
)
SELECT * FROM (
    SELECT o.id, o.source, o.msg_id, o.topic, o.key, o.headers, o.payload,
           sum(coalesce(octet_length(o.payload), 0) + octet_length(o.headers))
               OVER (ORDER BY o.id ROWS UNBOUNDED PRECEDING)
           - coalesce(octet_length(o.payload), 0) - octet_length(o.headers) AS before
    FROM ids JOIN {s}.comms_outbox o ON o.id = ids.outbox_id
) r WHERE before < $3 ORDER BY id";

/// The outbox of one schema, as the source of a [`Relay`](crate::Relay).
///
/// It uses one or two connections of the pool, and up to four more while several topics catch up. Behind a pooler in
/// transaction mode that keeps no prepared statements it needs [`Tables::unprepared`]; otherwise the relay is unready
/// with a reason that names this setting.
#[derive(Debug, Clone)]
pub struct RelayStore {
    pool: PgPool,
    tables: Tables,
    piece: Arc<Piece>,
}

impl RelayStore {
    /// Creates a store for the outbox of `tables` that uses connections of `pool`.
    #[must_use]
    pub fn new(pool: PgPool, tables: Tables) -> Self {
        Self { pool, tables, piece: Arc::new(Piece::new()) }
    }
}

#[async_trait]
impl Store for RelayStore {
    fn oldest(&self) -> Position {
        Position { snapshot: OLDEST.into(), ..Position::default() }
    }

    async fn acquire(&self, request: &LeaseRequest<'_>) -> Result<Option<Lease>, Error> {
        lease::acquire(&self.pool, &self.tables, request).await
    }

    async fn read(&self, query: Query) -> Result<Option<Page>, Error> {
        read::read(&self.pool, &self.tables, &self.piece, query).await
    }

    async fn save(
        &self,
        holder: &LeaseHolder,
        position: &Position,
        changes: &Changes,
    ) -> Result<bool, Error> {
        if changes.is_empty() {
            let mut conn = self.pool.acquire().await.map_err(sql_error)?;
            return self.save_cursor(&mut conn, holder, position).await;
        }
        let mut tx = unit::begin(&self.pool).await?;
        // The cursor is written first. This locks its row, so that no other session can write in between.
        if !self.save_cursor(&mut tx, holder, position).await? {
            return Ok(false);
        }
        changes::save(&mut tx, &self.tables, &holder.relay, changes).await.map_err(sql_error)?;
        tx.commit().await.map_err(commit_error)?;
        Ok(true)
    }

    async fn parked_lanes(&self, relay: &str) -> Result<ParkedLanes, Error> {
        let query = self.tables.unnamed_query(LANES).bind(relay.to_owned());
        // In a transaction, because a pooler may otherwise execute each message of a statement in another session.
        let mut tx = unit::begin(&self.pool).await?;
        let rows = query.fetch_all(&mut *tx).await.map_err(sql_error)?;
        tx.commit().await.map_err(sql_error)?;
        let lane = |row: &'_ sqlx::postgres::PgRow| -> Result<Option<_>, sqlx::Error> {
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
        let due = self.tables.unnamed_query(DUE).bind(relay.to_owned());
        let mut tx = unit::begin_with(&self.pool, lease::BEGIN).await?;
        due.execute(&mut *tx).await.map_err(sql_error)?;
        let query = self.tables.unnamed_query(RELEASED).bind(relay.to_owned());
        let query = query.bind(max_rows).bind(max_bytes).bind(&*filter.except).bind(filter.only.as_deref());
        let rows = query.fetch_all(&mut *tx).await.map_err(sql_error)?;
        tx.commit().await.map_err(sql_error)?;
        let mut buffer = RowBuffer::new(0);
        rows.iter().map(|row| row::decode(row, &mut buffer)).collect::<Result<_, _>>().map_err(sql_error)
    }
}

impl RelayStore {
    async fn save_cursor(
        &self,
        conn: &mut PgConnection,
        holder: &LeaseHolder,
        position: &Position,
    ) -> Result<bool, Error> {
        let (last_id, lease) = (position.last_id.to_string(), (holder.lease.as_secs_f64() * 1e3).to_string());
        let save = self.tables.inline_values(
            SAVE,
            &[
                Some(&holder.relay),
                Some(&holder.token),
                Some(&position.snapshot),
                position.window.as_deref(),
                Some(&last_id),
                Some(&lease),
            ],
        );
        let done = sqlx::raw_sql(save).execute(conn).await.map_err(sql_error)?;
        Ok(done.rows_affected() == 1)
    }
}
