//! Converts a row of the outbox or the event store to a message.

use comms_core::{Error, MessageParts};
use sqlx::{Row as _, postgres::PgRow};

use crate::relay::{Place, Row, RowBuffer, column, headers};

/// Decodes the columns of [`mod@column`], with the message in `buffer`.
pub(super) fn decode(row: &PgRow, buffer: &mut RowBuffer) -> Result<Row, sqlx::Error> {
    let (topic, key) = (row.try_get(column::TOPIC)?, row.try_get(column::KEY)?);
    let place = Place { id: row.try_get(column::ID)?, topic, key };
    let parts = || -> Result<MessageParts<'_>, Error> {
        let damaged = |e: sqlx::Error| Error::internal(e).context("decode the columns of a row");
        Ok(MessageParts {
            source: row.try_get(column::SOURCE).map_err(damaged)?,
            id: row.try_get(column::MSG_ID).map_err(damaged)?,
            topic,
            key,
            headers: headers(row.try_get(column::HEADERS).map_err(damaged)?)?,
            payload: row.try_get(column::PAYLOAD).map_err(damaged)?,
        })
    };
    Ok(buffer.row(place, parts()))
}
