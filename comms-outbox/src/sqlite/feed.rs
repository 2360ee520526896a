//! The events of one file, as the source of a projection.

use std::{sync::Arc, time::Duration};

use comms_core::{Error, UnitOfWork, async_trait, clock::Clock};
use sqlx::{Row as _, SqlitePool};

use super::{RelayStore, SqliteTx, SqliteUnit, Tables, changes, store, tx};
use crate::{
    projection::{
        Checkpoint, Committed, Feed, ParkedEvent, Revisions, Stored, Written, applied, never_written,
        no_live_revision, wait_within,
    },
    relay::{LeaseHolder, Log, Store},
    sql_error,
};

const RENEW: &str = "
UPDATE comms_outbox_cursor SET lease_until = CAST(unixepoch('subsec') * 1000 AS INTEGER) + $3
WHERE relay = $1 AND token = $2";

const UNPARK: &str =
    "DELETE FROM comms_projection_parked WHERE name = $1 AND revision = $2 AND state <> 'skipped'";

const GO_LIVE: &str = "
INSERT INTO comms_projection AS p (name, live_revision, highest_live) VALUES ($1, $2, $2)
ON CONFLICT (name) DO UPDATE SET live_revision = excluded.live_revision, highest_live = excluded.highest_live
WHERE p.highest_live < excluded.highest_live";

const PARK: &str = "
INSERT INTO comms_projection_parked AS p
    (name, revision, event_id, source, msg_id, topic, key, version, error_kind, error)
SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10
WHERE EXISTS (SELECT 1 FROM comms_outbox_cursor WHERE relay = $11 AND token = $12)
ON CONFLICT (name, revision, event_id) DO UPDATE
SET state = CASE WHEN p.state = 'skipped' THEN 'skipped' ELSE 'parked' END,
    error_kind = excluded.error_kind, error = excluded.error,
    parked_at = CAST(unixepoch('subsec') * 1000 AS INTEGER)";

const LAST_ID: &str = "SELECT coalesce(max(id), 0) FROM comms_event";

/// $1 name of the projection, $2 own revision, $3 last event of the transaction.
const IS_APPLIED: &str = "
SELECT EXISTS (SELECT 1 FROM comms_outbox_cursor
               WHERE relay = 'projection:' || $1 || ':'
                     || min(coalesce((SELECT live_revision FROM comms_projection WHERE name = $1), $2), $2)
                 AND last_id >= $3) AS applied,
       $3 < 0 OR $3 > (SELECT coalesce(max(id), 0) FROM comms_event) AS never";

/// $1 name of the projection, $2 own revision, $3 last event.
const ARE_APPLIED: &str = "
SELECT coalesce((
    SELECT last_id FROM comms_outbox_cursor
    WHERE relay = 'projection:' || $1 || ':'
          || min(coalesce((SELECT live_revision FROM comms_projection WHERE name = $1), $2), $2)
), 0) >= CAST($3 AS INTEGER)";

/// The events of one file, as the source of a [`Projection`](crate::Projection). One connection is enough.
///
/// Its transactions are in the file of the events, which has the read model as well.
#[derive(Debug, Clone)]
pub struct EventFeed {
    pool: SqlitePool,
    tables: Tables,
    unit: SqliteUnit,
    store: RelayStore,
}

impl EventFeed {
    /// Creates a feed of the events of `tables` that uses connections of `pool`.
    #[must_use]
    pub fn new(pool: SqlitePool, tables: Tables) -> Self {
        let unit = SqliteUnit::new(pool.clone(), tables.clone());
        let store = RelayStore::reading(pool.clone(), tables.clone(), Log::Events);
        Self { pool, tables, unit, store }
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
}

#[async_trait]
impl Feed for EventFeed {
    type Unit = SqliteUnit;

    async fn begin(&self) -> Result<SqliteTx, Error> {
        self.unit.begin().await
    }

    fn store(&self) -> Arc<dyn Store> {
        Arc::new(self.store.clone())
    }

    /// The transaction locks the file, also against another process that would take the lease.
    fn renews_during_transaction(&self) -> bool {
        false
    }

    async fn renew(&self, holder: &LeaseHolder) -> Result<bool, Error> {
        let query = sqlx::query(RENEW).bind(&*holder.relay).bind(&holder.token);
        let done = query.bind(changes::millis(holder.lease)).execute(&self.pool).await.map_err(sql_error)?;
        Ok(done.rows_affected() == 1)
    }

    async fn commit(&self, mut tx: SqliteTx, checkpoint: &Checkpoint<'_>) -> Result<bool, Error> {
        let Checkpoint { holder, position, name, revision, go_live, unpark } = *checkpoint;
        if !store::save_cursor(&mut tx, holder, position).await? {
            return Ok(false);
        }
        for (_, text) in [(unpark, UNPARK), (go_live, GO_LIVE)].into_iter().filter(|(due, _)| *due) {
            sqlx::query(text).bind(name).bind(revision).execute(&mut *tx).await.map_err(sql_error)?;
        }
        tx::commit(tx).await?;
        Ok(true)
    }

    async fn load(&self, name: &str, revision: u32) -> Result<Stored, Error> {
        let mut conn = self.pool.acquire().await.map_err(sql_error)?;
        let highest_live = self.tables.highest_live(&mut conn, name).await?;
        let mut events = self.tables.parked_events(&mut conn, name).await?;
        events.retain(|event| event.revision == revision);
        Ok(Stored { highest_live, events })
    }

    async fn park(&self, holder: &LeaseHolder, event: &ParkedEvent) -> Result<bool, Error> {
        let done = sqlx::query(PARK)
            .bind(&event.projection)
            .bind(event.revision)
            .bind(event.row)
            .bind(&event.source)
            .bind(&event.id)
            .bind(&*event.stream.category)
            .bind(&*event.stream.id)
            .bind(crate::events::signed(event.version))
            .bind(&event.error_kind)
            .bind(&event.error)
            .bind(&*holder.relay)
            .bind(&holder.token)
            .execute(&self.pool)
            .await
            .map_err(sql_error)?;
        Ok(done.rows_affected() == 1)
    }

    async fn last_id(&self) -> Result<i64, Error> {
        let row = sqlx::query(LAST_ID).fetch_one(&self.pool).await.map_err(sql_error)?;
        row.try_get(0).map_err(sql_error)
    }

    async fn is_applied(&self, revisions: Revisions<'_>, written: Written) -> Result<bool, Error> {
        let query = sqlx::query(IS_APPLIED).bind(revisions.name).bind(revisions.own).bind(written.0);
        let row = query.fetch_one(&self.pool).await.map_err(sql_error)?;
        let (applied, never): (bool, bool) =
            (row.try_get("applied").map_err(sql_error)?, row.try_get("never").map_err(sql_error)?);
        if never && !applied { Err(never_written(written)) } else { Ok(applied) }
    }

    async fn committed(&self) -> Result<Committed, Error> {
        Ok(Committed(self.last_id().await?.to_string()))
    }

    async fn are_applied(
        &self,
        revisions: Revisions<'_>,
        Committed(last): &Committed,
    ) -> Result<bool, Error> {
        let query = sqlx::query(ARE_APPLIED).bind(revisions.name).bind(revisions.own).bind(last);
        query.fetch_one(&self.pool).await.map_err(sql_error)?.try_get(0).map_err(sql_error)
    }
}
