//! Lists and releases parked messages, for operators.

use std::time::Duration;

use bytes::Bytes;
use comms_core::Error;
use sqlx::{PgConnection, Row, postgres::PgRow};

use super::Tables;
use crate::{Parked, ParkedState, sql_error};

const PARKED: &str = "
SELECT p.outbox_id, o.source, o.msg_id, p.topic, p.key, o.type, p.state, p.attempts, p.error_kind, p.error,
       extract(epoch FROM p.parked_at)::float8 AS parked_at
FROM {s}.comms_outbox_parked p JOIN {s}.comms_outbox o ON o.id = p.outbox_id
WHERE p.relay = $1 ORDER BY p.outbox_id LIMIT 1000";

const RELEASE: &str = "
UPDATE {s}.comms_outbox_parked SET state = 'released'
WHERE relay = $1 AND key IS NOT DISTINCT FROM $2 AND state <> 'released'";

impl Tables {
    /// Returns the parked, held and released messages of `relay`, in the order of delivery; at most the first 1,000.
    ///
    /// # Errors
    /// Returns an error of the kind that [`sql_error`] lists if the statement fails.
    pub async fn parked(&self, conn: &mut PgConnection, relay: &str) -> Result<Vec<Parked>, Error> {
        let rows =
            self.unnamed_query(PARKED).bind(relay.to_owned()).fetch_all(conn).await.map_err(sql_error)?;
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
        conn: &mut PgConnection,
        relay: &str,
        key: Option<&[u8]>,
    ) -> Result<u64, Error> {
        let query = self.unnamed_query(RELEASE).bind(relay.to_owned()).bind(key);
        query.execute(conn).await.map(|done| done.rows_affected()).map_err(sql_error)
    }
}

fn parked(row: &PgRow) -> Result<Parked, sqlx::Error> {
    Ok(Parked {
        outbox_id: row.try_get("outbox_id")?,
        source: row.try_get("source")?,
        id: row.try_get("msg_id")?,
        topic: row.try_get("topic")?,
        key: row.try_get::<Option<Vec<u8>>, _>("key")?.map(Bytes::from),
        event_type: row.try_get("type")?,
        state: ParkedState::of(row.try_get("state")?),
        attempts: row.try_get::<i32, _>("attempts")?.unsigned_abs(),
        error_kind: row.try_get("error_kind")?,
        error: row.try_get("error")?,
        parked_at: Duration::try_from_secs_f64(row.try_get("parked_at")?).unwrap_or_default(),
    })
}
