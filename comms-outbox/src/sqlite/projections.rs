//! Projections, for operators and for queries of their read models.

use std::time::Duration;

use comms_core::{Error, event_sourcing::Stream};
use sqlx::{Row as _, SqliteConnection, sqlite::SqliteRow};

use super::Tables;
use crate::{ParkedEvent, ParkedEventState, Written, events, sql_error};

const WRITTEN: &str = "SELECT coalesce(max(id), 0) FROM comms_event";

const LIVE: &str = "SELECT live_revision FROM comms_projection WHERE name = $1";

const HIGHEST_LIVE: &str = "SELECT highest_live FROM comms_projection WHERE name = $1";

const SET_LIVE: &str = "
INSERT INTO comms_projection AS p (name, live_revision, highest_live) VALUES ($1, $2, $2)
ON CONFLICT (name) DO UPDATE
SET live_revision = excluded.live_revision, highest_live = max(p.highest_live, excluded.highest_live)";

const PARKED: &str = "
SELECT name, revision, event_id, source, msg_id, topic, key, version, state, error_kind, error,
       parked_at, reason
FROM comms_projection_parked WHERE name = $1 ORDER BY revision, event_id";

const RETRY: &str = "
UPDATE comms_projection_parked SET state = 'retry'
WHERE name = $1 AND revision = $2 AND event_id = $3 AND state = 'parked'";

const SKIP: &str = "
UPDATE comms_projection_parked SET state = 'skipped', reason = $4, skipped_at = CAST(unixepoch('subsec') * 1000 AS INTEGER)
WHERE name = $1 AND revision = $2 AND event_id = $3 AND state <> 'skipped'";

impl Tables {
    /// Returns the transaction of `conn`, which has appended events, for
    /// [`ProjectionHandle::wait_for`](crate::ProjectionHandle::wait_for) after its commit.
    ///
    /// # Errors
    /// Returns an error of the kind that [`sql_error`] lists if the statement fails.
    pub async fn written(&self, conn: &mut SqliteConnection) -> Result<Written, Error> {
        let row = sqlx::query(WRITTEN).fetch_one(conn).await.map_err(sql_error)?;
        row.try_get(0).map(Written).map_err(sql_error)
    }

    /// Returns the revision of the projection `name` whose tables queries should read. Returns `None` if no revision has
    /// come to the last event yet.
    ///
    /// # Errors
    /// Returns an error of the kind that [`sql_error`] lists if the statement fails.
    pub async fn live_revision(&self, conn: &mut SqliteConnection, name: &str) -> Result<Option<u32>, Error> {
        revision(conn, LIVE, name).await
    }

    /// Returns the highest revision that was the live one.
    pub(super) async fn highest_live(
        &self,
        conn: &mut SqliteConnection,
        name: &str,
    ) -> Result<Option<u32>, Error> {
        revision(conn, HIGHEST_LIVE, name).await
    }

    /// Makes `revision` the live one, for example the older one after its program was started again. Afterwards only a
    /// revision that is higher than all that were live becomes the live one by itself.
    ///
    /// # Errors
    /// Returns an error of the kind that [`sql_error`] lists if the statement fails.
    pub async fn set_live_revision(
        &self,
        conn: &mut SqliteConnection,
        name: &str,
        revision: u32,
    ) -> Result<(), Error> {
        let query = sqlx::query(SET_LIVE).bind(name).bind(revision);
        query.execute(conn).await.map(drop).map_err(sql_error)
    }

    /// Returns the event at which each revision of the projection `name` is parked, and the events that were skipped.
    ///
    /// # Errors
    /// Returns an error of the kind that [`sql_error`] lists if the statement fails.
    pub async fn parked_events(
        &self,
        conn: &mut SqliteConnection,
        name: &str,
    ) -> Result<Vec<ParkedEvent>, Error> {
        let rows = sqlx::query(PARKED).bind(name).fetch_all(conn).await.map_err(sql_error)?;
        rows.iter().map(parked).collect::<Result<_, _>>().map_err(sql_error)
    }

    /// Makes the projection attempt `event`, at which it is parked, again, within a second or when it starts. Returns `false`
    /// if it is not parked at this event. [`parked_events`](Self::parked_events) returns the event, with its revision.
    ///
    /// # Errors
    /// Returns an error of the kind that [`sql_error`] lists if the statement fails.
    pub async fn retry_event(&self, conn: &mut SqliteConnection, event: &ParkedEvent) -> Result<bool, Error> {
        let query = sqlx::query(RETRY).bind(&event.projection).bind(event.revision).bind(event.row);
        query.execute(conn).await.map(|done| done.rows_affected() > 0).map_err(sql_error)
    }

    /// Makes the projection pass over `event`, at which it is parked, within a second or when it starts. Other revisions do
    /// not pass over it. The event, the failure and `reason` stay in `comms_projection_parked`. Returns `false` if the
    /// projection is not parked at this event. [`parked_events`](Self::parked_events) returns the event, with its revision.
    ///
    /// # Errors
    /// Returns an error of the kind that [`sql_error`] lists if the statement fails.
    pub async fn skip_event(
        &self,
        conn: &mut SqliteConnection,
        event: &ParkedEvent,
        reason: &str,
    ) -> Result<bool, Error> {
        let query =
            sqlx::query(SKIP).bind(&event.projection).bind(event.revision).bind(event.row).bind(reason);
        query.execute(conn).await.map(|done| done.rows_affected() > 0).map_err(sql_error)
    }
}

async fn revision(conn: &mut SqliteConnection, text: &'static str, name: &str) -> Result<Option<u32>, Error> {
    let row = sqlx::query(text).bind(name).fetch_optional(conn).await.map_err(sql_error)?;
    row.map(|row| row.try_get(0)).transpose().map_err(sql_error)
}

fn parked(row: &SqliteRow) -> Result<ParkedEvent, sqlx::Error> {
    Ok(ParkedEvent {
        projection: row.try_get("name")?,
        revision: row.try_get("revision")?,
        row: row.try_get("event_id")?,
        source: row.try_get("source")?,
        id: row.try_get("msg_id")?,
        stream: Stream::new(row.try_get::<&str, _>("topic")?, row.try_get::<&str, _>("key")?),
        version: events::version(row.try_get("version")?),
        state: ParkedEventState::of(row.try_get("state")?),
        error_kind: row.try_get("error_kind")?,
        error: row.try_get("error")?,
        parked_at: Duration::from_millis(row.try_get::<i64, _>("parked_at")?.unsigned_abs()),
        reason: row.try_get("reason")?,
    })
}
