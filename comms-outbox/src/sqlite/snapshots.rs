//! Stores the latest snapshot of each stream.

use comms_core::{
    Error,
    event_sourcing::{Snapshot, Stream},
};
use sqlx::{Row, SqliteConnection};

use super::Tables;
use crate::{events, sql_error};

const SNAPSHOT: &str = "SELECT schema, version, state FROM comms_snapshot WHERE topic = $1 AND key = $2";

const SAVE: &str = "
INSERT INTO comms_snapshot (topic, key, schema, version, state) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (topic, key) DO UPDATE
SET schema = excluded.schema, version = excluded.version, state = excluded.state, created_at = excluded.created_at
WHERE comms_snapshot.schema <> excluded.schema OR comms_snapshot.version <= excluded.version";

impl Tables {
    /// Returns the snapshot of `stream`.
    ///
    /// # Errors
    /// Returns an error of the kind that [`sql_error`] lists if the statement fails.
    pub async fn snapshot(
        &self,
        conn: &mut SqliteConnection,
        stream: &Stream,
    ) -> Result<Option<Snapshot>, Error> {
        let query = sqlx::query(SNAPSHOT).bind(&*stream.category).bind(stream.id.as_bytes());
        let Some(row) = query.fetch_optional(conn).await.map_err(sql_error)? else { return Ok(None) };
        let columns = || Ok((row.try_get(0)?, row.try_get(1)?, row.try_get::<Vec<u8>, _>(2)?));
        let (schema, version, state) = columns().map_err(sql_error)?;
        Ok(Some(Snapshot { schema, version: events::version(version), state: state.into() }))
    }

    /// Stores the snapshot of `stream` in the caller's transaction, in place of an earlier one. A snapshot of the same
    /// schema and a higher version stays.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](comms_core::ErrorKind::Invalid) if the category or the id of the stream is empty,
    /// longer than 512 bytes or contains NUL. Otherwise returns an error of the kind that [`sql_error`] lists if the
    /// statement fails.
    pub async fn save_snapshot(
        &self,
        conn: &mut SqliteConnection,
        stream: &Stream,
        snapshot: &Snapshot,
    ) -> Result<(), Error> {
        events::check_stream(stream)?;
        sqlx::query(SAVE)
            .bind(&*stream.category)
            .bind(stream.id.as_bytes())
            .bind(snapshot.schema)
            .bind(events::signed(snapshot.version))
            .bind(&*snapshot.state)
            .execute(conn)
            .await
            .map_err(sql_error)?;
        Ok(())
    }
}
