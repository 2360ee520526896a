//! Projections, for operators and for queries of their read models.

use std::time::Duration;

use comms_core::{Error, event_sourcing::Stream};
use sqlx::{PgConnection, Row as _, postgres::PgRow};

use super::Tables;
use crate::{ParkedEvent, ParkedEventState, Written, events, sql_error};

const WRITTEN: &str = "SELECT pg_current_xact_id()::text AS written";

const LIVE: &str = "SELECT live_revision FROM {s}.comms_projection WHERE name = $1";

const HIGHEST_LIVE: &str = "SELECT highest_live FROM {s}.comms_projection WHERE name = $1";

const SET_LIVE: &str = "
INSERT INTO {s}.comms_projection AS p (name, live_revision, highest_live) VALUES ($1, $2, $2)
ON CONFLICT (name) DO UPDATE
SET live_revision = excluded.live_revision, highest_live = greatest(p.highest_live, excluded.highest_live)";

const PARKED: &str = "
SELECT name, revision, event_id, source, msg_id, topic, key, version, state, error_kind, error,
       date_part('epoch', parked_at) AS parked_at, reason
FROM {s}.comms_projection_parked WHERE name = $1 ORDER BY revision, event_id";

const RETRY: &str = "
UPDATE {s}.comms_projection_parked SET state = 'retry'
WHERE name = $1 AND revision = $2 AND event_id = $3 AND state = 'parked'";

const SKIP: &str = "
UPDATE {s}.comms_projection_parked SET state = 'skipped', reason = $4, skipped_at = now()
WHERE name = $1 AND revision = $2 AND event_id = $3 AND state <> 'skipped'";

impl Tables {
    /// Returns the transaction of `conn`, which has appended events, for
    /// [`ProjectionHandle::wait_for`](crate::ProjectionHandle::wait_for) after its commit.
    ///
    /// # Errors
    /// Returns an error of the kind that [`sql_error`] lists if the statement fails.
    pub async fn written(&self, conn: &mut PgConnection) -> Result<Written, Error> {
        let row = sqlx::raw_sql(self.sql(WRITTEN)).fetch_one(conn).await.map_err(sql_error)?;
        row.try_get::<&str, _>("written").map_err(sql_error)?.parse()
    }

    /// Returns the revision of the projection `name` whose tables queries should read. Returns `None` if no revision has
    /// come to the last event yet.
    ///
    /// # Errors
    /// Returns an error of the kind that [`sql_error`] lists if the statement fails.
    pub async fn live_revision(&self, conn: &mut PgConnection, name: &str) -> Result<Option<u32>, Error> {
        self.revision(conn, LIVE, name).await
    }

    /// Returns the highest revision that was the live one.
    pub(super) async fn highest_live(
        &self,
        conn: &mut PgConnection,
        name: &str,
    ) -> Result<Option<u32>, Error> {
        self.revision(conn, HIGHEST_LIVE, name).await
    }

    async fn revision(
        &self,
        conn: &mut PgConnection,
        text: &'static str,
        name: &str,
    ) -> Result<Option<u32>, Error> {
        let query = self.unnamed_query(text).bind(name.to_owned());
        let row = query.fetch_optional(conn).await.map_err(sql_error)?;
        let revision = row.map(|row| row.try_get::<i64, _>(0)).transpose().map_err(sql_error)?;
        Ok(revision.map(|revision| u32::try_from(revision).unwrap_or(u32::MAX)))
    }

    /// Makes `revision` the live one, for example the older one after its program was started again. Afterwards only a
    /// revision that is higher than all that were live becomes the live one by itself.
    ///
    /// # Errors
    /// Returns an error of the kind that [`sql_error`] lists if the statement fails.
    pub async fn set_live_revision(
        &self,
        conn: &mut PgConnection,
        name: &str,
        revision: u32,
    ) -> Result<(), Error> {
        let query = self.unnamed_query(SET_LIVE).bind(name.to_owned()).bind(i64::from(revision));
        query.execute(conn).await.map(drop).map_err(sql_error)
    }

    /// Returns the event at which each revision of the projection `name` is parked, and the events that were skipped.
    ///
    /// # Errors
    /// Returns an error of the kind that [`sql_error`] lists if the statement fails.
    pub async fn parked_events(
        &self,
        conn: &mut PgConnection,
        name: &str,
    ) -> Result<Vec<ParkedEvent>, Error> {
        let rows =
            self.unnamed_query(PARKED).bind(name.to_owned()).fetch_all(conn).await.map_err(sql_error)?;
        rows.iter().map(parked).collect::<Result<_, _>>().map_err(sql_error)
    }

    /// Makes the projection attempt `event`, at which it is parked, again, within a second or when it starts. Returns `false`
    /// if it is not parked at this event. [`parked_events`](Self::parked_events) returns the event, with its revision.
    ///
    /// # Errors
    /// Returns an error of the kind that [`sql_error`] lists if the statement fails.
    pub async fn retry_event(&self, conn: &mut PgConnection, event: &ParkedEvent) -> Result<bool, Error> {
        let query = self
            .unnamed_query(RETRY)
            .bind(event.projection.clone())
            .bind(i64::from(event.revision))
            .bind(event.row);
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
        conn: &mut PgConnection,
        event: &ParkedEvent,
        reason: &str,
    ) -> Result<bool, Error> {
        let query = self
            .unnamed_query(SKIP)
            .bind(event.projection.clone())
            .bind(i64::from(event.revision))
            .bind(event.row)
            .bind(reason.to_owned());
        query.execute(conn).await.map(|done| done.rows_affected() > 0).map_err(sql_error)
    }
}

fn parked(row: &PgRow) -> Result<ParkedEvent, sqlx::Error> {
    Ok(ParkedEvent {
        projection: row.try_get("name")?,
        revision: u32::try_from(row.try_get::<i64, _>("revision")?).unwrap_or(u32::MAX),
        row: row.try_get("event_id")?,
        source: row.try_get("source")?,
        id: row.try_get("msg_id")?,
        stream: Stream::new(row.try_get::<&str, _>("topic")?, row.try_get::<&str, _>("key")?),
        version: events::version(row.try_get("version")?),
        state: ParkedEventState::of(row.try_get("state")?),
        error_kind: row.try_get("error_kind")?,
        error: row.try_get("error")?,
        parked_at: Duration::try_from_secs_f64(row.try_get("parked_at")?).unwrap_or_default(),
        reason: row.try_get("reason")?,
    })
}
