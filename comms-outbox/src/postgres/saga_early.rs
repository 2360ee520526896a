//! Messages that came before their run.

use std::time::Duration;

use comms_core::{Error, Message, MessageParts};
use sqlx::{PgConnection, Row as _, postgres::PgRow};

use super::Tables;
use crate::{
    relay::headers,
    saga::{EARLY_LIMIT, RunId, too_many_early},
    sql_error,
};

const KEEP: &str = "
INSERT INTO {s}.comms_saga_early (saga, id, source, msg_id, topic, key, headers, payload)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (saga, id, source, msg_id) DO NOTHING";

const COUNT: &str = "SELECT count(*) FROM {s}.comms_saga_early WHERE saga = $1 AND id = $2";

const TAKE: &str = "
WITH taken AS (
    DELETE FROM {s}.comms_saga_early WHERE saga = $1 AND id = $2
    RETURNING kept_at, source, msg_id, topic, key, headers, payload)
SELECT source, msg_id, topic, key, headers, payload FROM taken ORDER BY kept_at, source, msg_id";

const DELETE_OLD: &str = "
DELETE FROM {s}.comms_saga_early WHERE (saga, id, source, msg_id) IN (
    SELECT saga, id, source, msg_id FROM {s}.comms_saga_early WHERE kept_at < statement_timestamp() - make_interval(secs => $1) LIMIT 1000)";

impl Tables {
    /// Keeps `message` for `run`, which has not started. A message that is kept already is not kept twice.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](comms_core::ErrorKind::Invalid) if 100 messages are kept for the run. Otherwise returns
    /// an error of the kind that [`sql_error`] lists if a statement fails.
    pub async fn keep_early(
        &self,
        conn: &mut PgConnection,
        run: &RunId,
        message: &Message,
    ) -> Result<(), Error> {
        let query = self
            .query(KEEP)
            .bind(run.saga.clone())
            .bind(run.id.clone())
            .bind(message.source())
            .bind(message.id())
            .bind(message.topic())
            .bind(message.key())
            .bind(message.headers().encoded())
            .bind(message.payload());
        query.execute(&mut *conn).await.map_err(sql_error)?;
        let count = self.query(COUNT).bind(run.saga.clone()).bind(run.id.clone());
        let row = count.fetch_one(conn).await.map_err(sql_error)?;
        let kept: i64 = row.try_get(0).map_err(sql_error)?;
        if kept > EARLY_LIMIT { Err(too_many_early(run)) } else { Ok(()) }
    }

    /// Deletes the messages that are kept for `run`, and returns them in the order in which they came.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Internal`](comms_core::ErrorKind::Internal) if a row is damaged. Otherwise returns an error of
    /// the kind that [`sql_error`] lists if the statement fails.
    pub async fn take_early(&self, conn: &mut PgConnection, run: &RunId) -> Result<Vec<Message>, Error> {
        let query = self.query(TAKE).bind(run.saga.clone()).bind(run.id.clone());
        query.fetch_all(conn).await.map_err(sql_error)?.iter().map(message).collect()
    }

    /// Deletes messages that have been kept for longer than `retention`, at most 1,000 with a statement.
    pub(super) async fn delete_early(
        &self,
        conn: &mut PgConnection,
        retention: Duration,
    ) -> Result<u64, Error> {
        let mut deleted = 0;
        loop {
            let query = self.unnamed_query(DELETE_OLD).bind(seconds(retention));
            let count = query.execute(&mut *conn).await.map_err(sql_error)?.rows_affected();
            deleted += count;
            if count < 1000 {
                return Ok(deleted);
            }
        }
    }
}

/// Returns a number of seconds that fits into an interval: at most about 100 years.
pub(super) fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64().min(3_200_000_000.0)
}

fn message(row: &PgRow) -> Result<Message, Error> {
    Ok(Message::new(MessageParts {
        source: row.try_get("source").map_err(sql_error)?,
        id: row.try_get("msg_id").map_err(sql_error)?,
        topic: row.try_get("topic").map_err(sql_error)?,
        key: row.try_get("key").map_err(sql_error)?,
        headers: headers(row.try_get("headers").map_err(sql_error)?)?,
        payload: row.try_get("payload").map_err(sql_error)?,
    }))
}
