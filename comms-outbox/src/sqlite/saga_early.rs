//! Messages that came before their run.

use std::time::Duration;

use comms_core::{Error, Message, MessageParts};
use sqlx::{Row as _, SqliteConnection, sqlite::SqliteRow};

use super::Tables;
use crate::{
    relay::headers,
    saga::{EARLY_LIMIT, RunId, too_many_early},
    sql_error,
};

const KEEP: &str = "
INSERT INTO comms_saga_early (saga, id, source, msg_id, topic, key, headers, payload)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING";

const COUNT: &str = "SELECT count(*) FROM comms_saga_early WHERE saga = $1 AND id = $2";

const READ: &str = "
SELECT source, msg_id, topic, key, headers, payload FROM comms_saga_early WHERE saga = $1 AND id = $2 ORDER BY n";

const DELETE: &str = "DELETE FROM comms_saga_early WHERE saga = $1 AND id = $2";

const DELETE_OLD: &str = "
DELETE FROM comms_saga_early WHERE n IN (
    SELECT n FROM comms_saga_early WHERE kept_at < CAST(unixepoch('subsec') * 1000 AS INTEGER) - $1 LIMIT 1000)";

impl Tables {
    /// Keeps `message` for `run`, which has not started. A message that is kept already is not kept twice.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](comms_core::ErrorKind::Invalid) if 100 messages are kept for the run. Otherwise returns
    /// an error of the kind that [`sql_error`] lists if a statement fails.
    pub async fn keep_early(
        &self,
        conn: &mut SqliteConnection,
        run: &RunId,
        message: &Message,
    ) -> Result<(), Error> {
        let query = sqlx::query(KEEP)
            .bind(&run.saga)
            .bind(&run.id)
            .bind(message.source())
            .bind(message.id())
            .bind(message.topic())
            .bind(message.key())
            .bind(message.headers().encoded())
            .bind(message.payload());
        query.execute(&mut *conn).await.map_err(sql_error)?;
        let count = sqlx::query_scalar(COUNT).bind(&run.saga).bind(&run.id);
        let kept: i64 = count.fetch_one(conn).await.map_err(sql_error)?;
        if kept > EARLY_LIMIT { Err(too_many_early(run)) } else { Ok(()) }
    }

    /// Deletes the messages that are kept for `run`, and returns them in the order in which they came.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Internal`](comms_core::ErrorKind::Internal) if a row is damaged. Otherwise returns an error of
    /// the kind that [`sql_error`] lists if a statement fails.
    pub async fn take_early(&self, conn: &mut SqliteConnection, run: &RunId) -> Result<Vec<Message>, Error> {
        let query = sqlx::query(READ).bind(&run.saga).bind(&run.id);
        let rows = query.fetch_all(&mut *conn).await.map_err(sql_error)?;
        if !rows.is_empty() {
            sqlx::query(DELETE).bind(&run.saga).bind(&run.id).execute(conn).await.map_err(sql_error)?;
        }
        rows.iter().map(message).collect()
    }

    /// Deletes messages that have been kept for longer than `retention`, at most 1,000 with a statement.
    pub(super) async fn delete_early(
        &self,
        conn: &mut SqliteConnection,
        retention: Duration,
    ) -> Result<u64, Error> {
        let retention = i64::try_from(retention.as_millis()).unwrap_or(i64::MAX);
        let mut deleted = 0;
        loop {
            let query = sqlx::query(DELETE_OLD).bind(retention);
            let count = query.execute(&mut *conn).await.map_err(sql_error)?.rows_affected();
            deleted += count;
            if count < 1000 {
                return Ok(deleted);
            }
        }
    }
}

fn message(row: &SqliteRow) -> Result<Message, Error> {
    Ok(Message::new(MessageParts {
        source: row.try_get("source").map_err(sql_error)?,
        id: row.try_get("msg_id").map_err(sql_error)?,
        topic: row.try_get("topic").map_err(sql_error)?,
        key: row.try_get("key").map_err(sql_error)?,
        headers: headers(row.try_get("headers").map_err(sql_error)?)?,
        payload: row.try_get("payload").map_err(sql_error)?,
    }))
}
