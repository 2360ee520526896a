//! Stores the latest snapshot of each stream.

use comms_core::{
    Error,
    event_sourcing::{Snapshot, Stream},
};
use sqlx::{PgConnection, Row};

use super::Tables;
use crate::{events, sql_error};

const SNAPSHOT: &str = "SELECT schema, version, state FROM {s}.comms_snapshot WHERE topic = $1 AND key = $2";

const SAVE: &str = "
INSERT INTO {s}.comms_snapshot AS old (topic, key, schema, version, state) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (topic, key) DO UPDATE
SET schema = excluded.schema, version = excluded.version, state = excluded.state, created_at = excluded.created_at
WHERE old.schema <> excluded.schema OR old.version <= excluded.version";

impl Tables {
    /// Returns the snapshot of `stream`.
    ///
    /// # Errors
    /// Returns an error of the kind that [`sql_error`] lists if the statement fails.
    pub async fn snapshot(
        &self,
        conn: &mut PgConnection,
        stream: &Stream,
    ) -> Result<Option<Snapshot>, Error> {
        let query = self.query(SNAPSHOT).bind(&*stream.category).bind(stream.id.as_bytes());
        let Some(row) = query.fetch_optional(conn).await.map_err(sql_error)? else { return Ok(None) };
        let columns = || Ok((row.try_get(0)?, row.try_get(1)?, row.try_get::<Vec<u8>, _>(2)?));
        let (schema, version, state): (i64, _, _) = columns().map_err(sql_error)?;
        let schema = u32::try_from(schema).map_err(Error::internal)?;
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
        conn: &mut PgConnection,
        stream: &Stream,
        snapshot: &Snapshot,
    ) -> Result<(), Error> {
        events::check_stream(stream)?;
        self.query(SAVE)
            .bind(&*stream.category)
            .bind(stream.id.as_bytes())
            .bind(i64::from(snapshot.schema))
            .bind(events::signed(snapshot.version))
            .bind(&*snapshot.state)
            .execute(conn)
            .await
            .map_err(sql_error)?;
        Ok(())
    }
}
