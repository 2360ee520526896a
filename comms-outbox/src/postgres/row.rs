//! Converts a row of the outbox or the event store to a message.

use comms_core::{Error, MessageParts};
use sqlx::{Row as _, postgres::PgRow};

use crate::relay::{Place, Row, RowBuffer, column, headers};

/// Decodes the columns of [`mod@column`], with the message in `buffer`. The statement determines their types, so the types
/// are not compared for each value.
pub(super) fn decode(row: &PgRow, buffer: &mut RowBuffer) -> Result<Row, sqlx::Error> {
    let (topic, key) = (row.try_get_unchecked(column::TOPIC)?, row.try_get_unchecked(column::KEY)?);
    let place = Place { id: row.try_get_unchecked(column::ID)?, topic, key };
    let parts = || -> Result<MessageParts<'_>, Error> {
        let damaged = |e: sqlx::Error| Error::internal(e).context("decode the columns of a row");
        Ok(MessageParts {
            source: row.try_get_unchecked(column::SOURCE).map_err(damaged)?,
            id: row.try_get_unchecked(column::MSG_ID).map_err(damaged)?,
            topic,
            key,
            headers: headers(row.try_get_unchecked(column::HEADERS).map_err(damaged)?)?,
            payload: row.try_get_unchecked(column::PAYLOAD).map_err(damaged)?,
        })
    };
    Ok(buffer.row(place, parts()))
}
