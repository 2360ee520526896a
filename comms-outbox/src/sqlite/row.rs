//! Converts a row of the outbox to a message.

use std::borrow::Cow;

use comms_core::{Error, MessageParts};
use sqlx::{ColumnIndex, Row as _, sqlite::SqliteRow};

use crate::relay::{Place, Row, RowBuffer, column, headers};

/// Decodes the columns of [`mod@column`], with the message in `buffer`.
pub(super) fn decode(row: &SqliteRow, buffer: &mut RowBuffer) -> Result<Row, sqlx::Error> {
    let (column, key) = (row.try_get::<&str, _>(column::TOPIC), row.try_get(column::KEY)?);
    let topic = match &column {
        Ok(topic) => Cow::Borrowed(*topic),
        Err(_) => lossy(row, column::TOPIC)?,
    };
    let place = Place { id: row.try_get(column::ID)?, topic: &topic, key };
    let parts = || -> Result<MessageParts<'_>, Error> {
        let damaged = |e: sqlx::Error| Error::internal(e).context("decode a row of the outbox");
        Ok(MessageParts {
            source: row.try_get(column::SOURCE).map_err(damaged)?,
            id: row.try_get(column::MSG_ID).map_err(damaged)?,
            topic: column.map_err(damaged)?,
            key,
            headers: headers(row.try_get(column::HEADERS).map_err(damaged)?)?,
            payload: row.try_get(column::PAYLOAD).map_err(damaged)?,
        })
    };
    Ok(buffer.row(place, parts()))
}

/// Reads a text column that another program may have written. SQLite does not check that it is UTF-8, so invalid bytes
/// are replaced.
pub(super) fn text(row: &SqliteRow, name: &str) -> Result<String, sqlx::Error> {
    lossy(row, name).map(Cow::into_owned)
}

fn lossy<I: ColumnIndex<SqliteRow>>(row: &SqliteRow, column: I) -> Result<Cow<'_, str>, sqlx::Error> {
    Ok(String::from_utf8_lossy(row.try_get_unchecked::<&[u8], _>(column)?))
}
