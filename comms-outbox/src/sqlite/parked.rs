//! Lists and releases parked messages, for operators.

use std::time::Duration;

use bytes::Bytes;
use comms_core::Error;
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

use super::{Tables, row::text};
use crate::{Parked, ParkedState, sql_error};

const PARKED: &str = "
SELECT p.outbox_id, o.source, o.msg_id, p.topic, p.key, o.type, p.state, p.attempts, p.error_kind, p.error,
       p.parked_at
FROM comms_outbox_parked p JOIN comms_outbox o ON o.id = p.outbox_id
WHERE p.relay = $1 ORDER BY p.outbox_id LIMIT 1000";

const RELEASE: &str = "
UPDATE comms_outbox_parked SET state = 'released' WHERE relay = $1 AND key IS $2 AND state <> 'released'";

impl Tables {
    /// Returns the parked, held and released messages of `relay`, in the order of delivery; at most the first 1,000.
    ///
    /// # Errors
    /// Returns an error of the kind that [`sql_error`] lists if the statement fails.
    pub async fn parked(&self, conn: &mut SqliteConnection, relay: &str) -> Result<Vec<Parked>, Error> {
        let rows = sqlx::query(PARKED).bind(relay).fetch_all(conn).await.map_err(sql_error)?;
        rows.iter().map(parked).collect::<Result<_, _>>().map_err(sql_error)
    }

    /// Releases every parked or held message of `key` (`None`: those without a key) of `relay`, and returns how many.
    ///
    /// Within about a second the relay delivers them in order, and then the messages that were parked behind them
    /// meanwhile. After that the key is no longer parked. If a message is refused again, it and the remaining messages
    /// of its key are parked again.
    ///
    /// # Errors
    /// Returns an error of the kind that [`sql_error`] lists if the statement fails.
    pub async fn release(
        &self,
        conn: &mut SqliteConnection,
        relay: &str,
        key: Option<&[u8]>,
    ) -> Result<u64, Error> {
        let query = sqlx::query(RELEASE).bind(relay).bind(key);
        query.execute(conn).await.map(|done| done.rows_affected()).map_err(sql_error)
    }
}

fn parked(row: &SqliteRow) -> Result<Parked, sqlx::Error> {
    Ok(Parked {
        outbox_id: row.try_get("outbox_id")?,
        source: text(row, "source")?,
        id: text(row, "msg_id")?,
        topic: row.try_get("topic")?,
        key: row.try_get::<Option<Vec<u8>>, _>("key")?.map(Bytes::from),
        event_type: row.try_get("type")?,
        state: ParkedState::of(row.try_get("state")?),
        attempts: row.try_get::<u32, _>("attempts")?,
        error_kind: row.try_get("error_kind")?,
        error: row.try_get("error")?,
        parked_at: Duration::from_millis(row.try_get::<i64, _>("parked_at")?.unsigned_abs()),
    })
}
