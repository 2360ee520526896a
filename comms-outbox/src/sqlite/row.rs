//! Converts a row of the outbox or the event store to a message.

use std::str;

use comms_core::{Error, MessageParts};
use sqlx::{Row as _, sqlite::SqliteRow};

use crate::relay::{Place, Row, RowBuffer, column, headers};

/// The columns of [`mod@column`]. SQLite does not check that a text is UTF-8, and another program may have written it.
#[derive(Debug, Clone, Copy)]
struct Columns<'a> {
    id: i64,
    source: &'a [u8],
    msg_id: &'a [u8],
    topic: &'a [u8],
    key: Option<&'a [u8]>,
    headers: &'a [u8],
    payload: Option<&'a [u8]>,
}

impl Columns<'_> {
    /// Makes a row with its message in `buffer`.
    fn decode(self, buffer: &mut RowBuffer) -> Row {
        let Self { id, source, msg_id, topic, key, headers: encoded, payload } = self;
        let place = Place { id, topic: &String::from_utf8_lossy(topic), key };
        let text = |column| {
            str::from_utf8(column).map_err(|e| Error::internal(e).context("decode the columns of a row"))
        };
        let parts = || -> Result<MessageParts<'_>, Error> {
            Ok(MessageParts {
                source: text(source)?,
                id: text(msg_id)?,
                topic: text(topic)?,
                key,
                headers: headers(encoded)?,
                payload,
            })
        };
        buffer.row(place, parts())
    }
}

/// Decodes the columns of [`mod@column`], with the message in `buffer`.
pub(super) fn decode(row: &SqliteRow, buffer: &mut RowBuffer) -> Result<Row, sqlx::Error> {
    let columns = Columns {
        id: row.try_get(column::ID)?,
        source: row.try_get_unchecked(column::SOURCE)?,
        msg_id: row.try_get_unchecked(column::MSG_ID)?,
        topic: row.try_get_unchecked(column::TOPIC)?,
        key: row.try_get(column::KEY)?,
        headers: row.try_get(column::HEADERS)?,
        payload: row.try_get(column::PAYLOAD)?,
    };
    Ok(columns.decode(buffer))
}

/// A row in the JSON array of a page: the id, and the other columns of [`mod@column`] in hexadecimal digits.
pub(super) type HexRow<'a> = (i64, &'a str, &'a str, &'a str, Option<&'a str>, &'a str, Option<&'a str>);

/// Decodes a row of a page, with the message in `buffer`.
pub(super) fn decode_hex(row: HexRow<'_>, buffer: &mut RowBuffer) -> Row {
    let (id, source, msg_id, topic, key, headers, payload) = row;
    let (key, payload) = (key.map(bytes), payload.map(bytes));
    let columns = Columns {
        id,
        source: &bytes(source),
        msg_id: &bytes(msg_id),
        topic: &bytes(topic),
        key: key.as_deref(),
        headers: &bytes(headers),
        payload: payload.as_deref(),
    };
    columns.decode(buffer)
}

/// Returns the bytes of the digits that the function `hex` of SQLite returns.
fn bytes(hex: &str) -> Vec<u8> {
    let digit = |digit: u8| (digit & 0xf) + 9 * (digit >> 6);
    hex.as_bytes().as_chunks::<2>().0.iter().map(|[high, low]| digit(*high) << 4 | digit(*low)).collect()
}

/// Reads a text column that another program may have written. Invalid bytes are replaced.
pub(super) fn text(row: &SqliteRow, name: &str) -> Result<String, sqlx::Error> {
    Ok(String::from_utf8_lossy(row.try_get_unchecked::<&[u8], _>(name)?).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_digits_are_decoded() {
        let all: Vec<u8> = (0..=255).collect();
        let hex: String = all.iter().map(|byte| format!("{byte:02X}")).collect();
        assert_eq!(bytes(&hex), all);
    }
}
