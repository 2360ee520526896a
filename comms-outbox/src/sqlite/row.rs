//! Converts a row of the outbox to a message.

use std::borrow::Cow;

use comms_core::{Error, MessageParts};
use sqlx::{Row as _, sqlite::SqliteRow};

use crate::relay::{Place, Row, RowBuffer, headers};

/// Decodes the columns id, source, msg_id, topic, key, headers and payload, with the message in `buffer`.
pub(super) fn decode(row: &SqliteRow, buffer: &mut RowBuffer) -> Result<Row, sqlx::Error> {
    let (column, key) = (row.try_get::<&str, _>("topic"), row.try_get("key")?);
    let topic = match &column {
        Ok(topic) => Cow::Borrowed(*topic),
        Err(_) => lossy(row, "topic")?,
    };
    let place = Place { id: row.try_get("id")?, topic: &topic, key };
    let parts = || -> Result<MessageParts<'_>, Error> {
        let damaged = |e: sqlx::Error| Error::internal(e).context("decode a row of the outbox");
        Ok(MessageParts {
            source: row.try_get("source").map_err(damaged)?,
            id: row.try_get("msg_id").map_err(damaged)?,
            topic: column.map_err(damaged)?,
            key,
            headers: headers(row.try_get("headers").map_err(damaged)?)?,
            payload: row.try_get("payload").map_err(damaged)?,
        })
    };
    Ok(buffer.row(place, parts()))
}

/// Reads a text column that another program may have written. SQLite does not check that it is UTF-8, so invalid bytes
/// are replaced.
pub(super) fn text(row: &SqliteRow, name: &str) -> Result<String, sqlx::Error> {
    lossy(row, name).map(Cow::into_owned)
}

fn lossy<'a>(row: &'a SqliteRow, name: &str) -> Result<Cow<'a, str>, sqlx::Error> {
    Ok(String::from_utf8_lossy(row.try_get_unchecked::<&[u8], _>(name)?))
}
