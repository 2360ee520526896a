//! The events of one schema, as the source of a projection.

use std::{sync::Arc, time::Duration};

use comms_core::{Error, async_trait, clock::Clock};
use sqlx::{PgConnection, PgPool, Postgres, Row as _, Transaction};

use super::{PgUnit, RelayStore, Tables, unit};
use crate::{
    commit_error,
    projection::{
        Checkpoint, Committed, Feed, ParkedEvent, Revisions, Stored, Written, applied, never_written,
        no_live_revision, wait_within,
    },
    relay::{LeaseHolder, Log, Position, Store},
    sql_error,
};

/// $1 cursor, $2 token, $3 milliseconds.
const RENEW: &str = "
UPDATE {s}.comms_outbox_cursor SET lease_until = clock_timestamp() + $3::float8 * interval '1 millisecond'
WHERE relay = $1 AND token = $2::uuid
  AND EXISTS (SELECT FROM {s}.comms_outbox_guard WHERE relay = $1 AND token = $2::uuid)";

/// $1 cursor, $2 token, $3 snapshot, $4 window, $5 last id, $6 milliseconds. Within a transaction it can be a named
/// statement, which costs a fraction of one that is parsed each time. Its column has a name that the result of another
/// statement does not have, see [`Tables::unprepared`].
const SAVE: &str = "
UPDATE {s}.comms_outbox_cursor
SET snap = $3::text::pg_snapshot, win = $4::text::pg_snapshot, last_id = $5,
    lease_until = clock_timestamp() + $6 * interval '1 millisecond'
WHERE relay = $1 AND token = $2::text::uuid
  AND EXISTS (SELECT FROM {s}.comms_outbox_guard WHERE relay = $1 AND token = $2::text::uuid)
RETURNING true AS saved_cursor";

const UNPARK: &str = "
DELETE FROM {s}.comms_projection_parked WHERE name = $1 AND revision = $2 AND state <> 'skipped'";

const GO_LIVE: &str = "
INSERT INTO {s}.comms_projection AS p (name, live_revision, highest_live) VALUES ($1, $2, $2)
ON CONFLICT (name) DO UPDATE SET live_revision = excluded.live_revision, highest_live = excluded.highest_live
WHERE p.highest_live < excluded.highest_live";

const PARK: &str = "
INSERT INTO {s}.comms_projection_parked AS p
    (name, revision, event_id, source, msg_id, topic, key, version, error_kind, error)
SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10
WHERE EXISTS (SELECT FROM {s}.comms_outbox_cursor WHERE relay = $11 AND token = $12::text::uuid)
ON CONFLICT (name, revision, event_id) DO UPDATE
SET state = CASE WHEN p.state = 'skipped' THEN 'skipped' ELSE 'parked' END,
    error_kind = excluded.error_kind, error = excluded.error, parked_at = now()";

const LAST_ID: &str = "SELECT coalesce(max(id), 0) AS last FROM {s}.comms_event";

/// $1 name of the projection, $2 own revision, $3 transaction. `least` ignores NULL.
const IS_APPLIED: &str = "
SELECT EXISTS (SELECT FROM {s}.comms_outbox_cursor
               WHERE relay = 'projection:' || $1::text || ':'
                     || least((SELECT live_revision FROM {s}.comms_projection WHERE name = $1::text), $2::text::bigint)
                 AND pg_visible_in_snapshot($3::text::xid8, snap)) AS applied,
       $3::text::xid8 >= pg_snapshot_xmax(pg_current_snapshot()) AS future";

const SNAPSHOT: &str = "SELECT pg_current_snapshot()::text AS snap";

/// $1 name of the projection, $2 own revision, $3 snapshot. The events that are not applied are those of the transactions that the snapshot of the cursor
/// does not contain: the later ones, and those in progress. Both are ranges of the index; the planner takes it for the
/// sake of the order.
const ARE_APPLIED: &str = "
WITH applied AS MATERIALIZED (
    SELECT coalesce((
        SELECT snap FROM {s}.comms_outbox_cursor
        WHERE relay = 'projection:' || $1::text || ':'
              || least((SELECT live_revision FROM {s}.comms_projection WHERE name = $1::text), $2::text::bigint)
    ), '1:1:'::pg_snapshot) AS snap
), later AS (
    SELECT xid FROM {s}.comms_event
    WHERE xid >= (SELECT pg_snapshot_xmax(snap) FROM applied) AND pg_visible_in_snapshot(xid, $3::pg_snapshot)
    ORDER BY xid, id LIMIT 1
), in_progress AS (
    SELECT xid FROM {s}.comms_event
    WHERE xid = ANY (ARRAY(SELECT pg_snapshot_xip(snap) FROM applied))
      AND pg_visible_in_snapshot(xid, $3::pg_snapshot)
    ORDER BY xid, id LIMIT 1
)
SELECT NOT EXISTS (SELECT FROM later) AND NOT EXISTS (SELECT FROM in_progress) AS applied";

/// The events of one schema, as the source of a [`Projection`](crate::Projection).
///
/// A projection uses up to three connections of the pool: one for the transaction, one for the read ahead of it, and one
/// that renews the lease. Its transactions are at READ COMMITTED, in the database of the events, which has the read model as well.
#[derive(Debug, Clone)]
pub struct EventFeed {
    pool: PgPool,
    tables: Tables,
    store: RelayStore,
}

impl EventFeed {
    /// Creates a feed of the events of `tables` that uses connections of `pool`.
    #[must_use]
    pub fn new(pool: PgPool, tables: Tables) -> Self {
        let store = RelayStore::new(pool.clone(), tables.reading(Log::Events));
        Self { pool, tables, store }
    }

    /// Waits until the live revision of the projection `name`, in any process, has applied the events of the transaction
    /// `written`, at most `limit`. [`ProjectionHandle::wait_for`](crate::ProjectionHandle::wait_for) is faster in the
    /// process of the projection. The wait ends at the deadline of the current [`Context`](comms_core::context::Context), if
    /// that is earlier.
    ///
    /// # Errors
    /// Returns [`ErrorKind::NotExecuted`](comms_core::ErrorKind::NotExecuted) if the limit or the deadline is reached first,
    /// and [`ErrorKind::NotFound`](comms_core::ErrorKind::NotFound) if the projection has no live revision. Otherwise returns an
    /// error of the kind that [`sql_error`] lists if a statement fails.
    pub async fn wait_for(&self, name: &str, written: Written, limit: Duration) -> Result<(), Error> {
        let clock = Clock::system();
        let wait = async {
            let mut conn = self.pool.acquire().await.map_err(sql_error)?;
            let revision = self.tables.live_revision(&mut conn, name).await?;
            drop(conn);
            let own = revision.ok_or_else(|| no_live_revision(name))?;
            applied(self, Revisions { name, own }, &clock, written, None).await
        };
        wait_within(limit, &clock, name, &format!("the transaction {written}"), wait).await
    }

    /// Writes the position. If a pooler has another statement under this name, returns an error, so that the transaction is
    /// rolled back.
    async fn save(
        &self,
        conn: &mut PgConnection,
        holder: &LeaseHolder,
        position: &Position,
    ) -> Result<bool, Error> {
        // To the end of the statement, whose failure would otherwise be lost.
        let rows = self
            .tables
            .query(SAVE)
            .bind(&*holder.relay)
            .bind(&holder.token)
            .bind(&*position.snapshot)
            .bind(position.window.as_deref())
            .bind(position.last_id)
            .bind(holder.lease.as_secs_f64() * 1e3)
            .fetch_all(conn)
            .await
            .map_err(sql_error)?;
        let saved = rows.first().map(|row| row.try_get("saved_cursor")).transpose().map_err(sql_error)?;
        Ok(saved == Some(true))
    }
}

#[async_trait]
impl Feed for EventFeed {
    type Unit = PgUnit;

    /// At a higher level the checkpoint would fail with a serialization failure after each renewal of the lease.
    async fn begin(&self) -> Result<Transaction<'static, Postgres>, Error> {
        unit::begin_with(&self.pool, "BEGIN ISOLATION LEVEL READ COMMITTED").await
    }

    fn store(&self) -> Arc<dyn Store> {
        Arc::new(self.store.clone())
    }

    fn renews_during_transaction(&self) -> bool {
        true
    }

    async fn renew(&self, holder: &LeaseHolder) -> Result<bool, Error> {
        let millis = (holder.lease.as_secs_f64() * 1e3).to_string();
        let renew =
            self.tables.inline_values(RENEW, &[Some(&holder.relay), Some(&holder.token), Some(&millis)]);
        let done = sqlx::raw_sql(renew).execute(&self.pool).await.map_err(sql_error)?;
        Ok(done.rows_affected() == 1)
    }

    async fn commit(
        &self,
        mut tx: Transaction<'static, Postgres>,
        checkpoint: &Checkpoint<'_>,
    ) -> Result<bool, Error> {
        let Checkpoint { holder, position, name, revision, go_live, unpark } = *checkpoint;
        // It fails if an earlier statement of the transaction has failed, so the commit needs no check of its own.
        if !self.save(&mut tx, holder, position).await? {
            return Ok(false);
        }
        for (_, text) in [(unpark, UNPARK), (go_live, GO_LIVE)].into_iter().filter(|(due, _)| *due) {
            let query = self.tables.unnamed_query(text).bind(name.to_owned()).bind(i64::from(revision));
            query.execute(&mut *tx).await.map_err(sql_error)?;
        }
        tx.commit().await.map_err(commit_error)?;
        Ok(true)
    }

    async fn load(&self, name: &str, revision: u32) -> Result<Stored, Error> {
        // In a transaction, because a pooler may otherwise execute each message of a statement in another session.
        let mut tx = unit::begin(&self.pool).await?;
        let highest_live = self.tables.highest_live(&mut tx, name).await?;
        let mut events = self.tables.parked_events(&mut tx, name).await?;
        tx.commit().await.map_err(sql_error)?;
        events.retain(|event| event.revision == revision);
        Ok(Stored { highest_live, events })
    }

    async fn park(&self, holder: &LeaseHolder, event: &ParkedEvent) -> Result<bool, Error> {
        let mut tx = unit::begin(&self.pool).await?;
        let done = self
            .tables
            .unnamed_query(PARK)
            .bind(event.projection.clone())
            .bind(i64::from(event.revision))
            .bind(event.row)
            .bind(event.source.clone())
            .bind(event.id.clone())
            .bind(event.stream.category.to_string())
            .bind(event.stream.id.to_string())
            .bind(crate::events::signed(event.version))
            .bind(event.error_kind.clone())
            .bind(event.error.clone())
            .bind(holder.relay.to_string())
            .bind(holder.token.clone())
            .execute(&mut *tx)
            .await
            .map_err(sql_error)?;
        tx.commit().await.map_err(commit_error)?;
        Ok(done.rows_affected() == 1)
    }

    async fn last_id(&self) -> Result<i64, Error> {
        let row = sqlx::raw_sql(self.tables.sql(LAST_ID)).fetch_one(&self.pool).await;
        row.map_err(sql_error)?.try_get("last").map_err(sql_error)
    }

    async fn is_applied(&self, revisions: Revisions<'_>, written: Written) -> Result<bool, Error> {
        if written.0 < 0 {
            return Err(never_written(written));
        }
        let (own, xid) = (revisions.own.to_string(), written.to_string());
        let values = [Some(revisions.name), Some(&own), Some(&xid)];
        let look = self.tables.inline_values(IS_APPLIED, &values);
        let row = sqlx::raw_sql(look).fetch_one(&self.pool).await.map_err(sql_error)?;
        if row.try_get("future").map_err(sql_error)? {
            return Err(never_written(written));
        }
        row.try_get("applied").map_err(sql_error)
    }

    async fn committed(&self) -> Result<Committed, Error> {
        let row = sqlx::raw_sql(SNAPSHOT).fetch_one(&self.pool).await.map_err(sql_error)?;
        row.try_get("snap").map(Committed).map_err(sql_error)
    }

    async fn are_applied(
        &self,
        revisions: Revisions<'_>,
        Committed(snap): &Committed,
    ) -> Result<bool, Error> {
        let own = revisions.own.to_string();
        let look = self.tables.inline_values(ARE_APPLIED, &[Some(revisions.name), Some(&own), Some(snap)]);
        let row = sqlx::raw_sql(look).fetch_one(&self.pool).await.map_err(sql_error)?;
        row.try_get("applied").map_err(sql_error)
    }
}
