//! Converts a row of the outbox to a message.

use comms_core::{Error, MessageParts};
use sqlx::{Row as _, postgres::PgRow};

use crate::relay::{Place, Row, RowBuffer, headers};

/// Decodes the columns id, source, msg_id, topic, key, headers and payload, with the message in `buffer`.
pub(super) fn decode(row: &PgRow, buffer: &mut RowBuffer) -> Result<Row, sqlx::Error> {
    let (topic, key) = (row.try_get("topic")?, row.try_get("key")?);
    let place = Place { id: row.try_get("id")?, topic, key };
    let parts = || -> Result<MessageParts<'_>, Error> {
        let damaged = |e: sqlx::Error| Error::internal(e).context("decode a row of the outbox");
        Ok(MessageParts {
            source: row.try_get("source").map_err(damaged)?,
            id: row.try_get("msg_id").map_err(damaged)?,
            topic,
            key,
            headers: headers(row.try_get("headers").map_err(damaged)?)?,
            payload: row.try_get("payload").map_err(damaged)?,
        })
    };
    Ok(buffer.row(place, parts()))
}
