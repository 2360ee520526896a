//! A row of the outbox becomes a message.

use std::time::Duration;

use bytes::Bytes;
use comms_core::{Error, Message};
use sqlx::{Row as _, sqlite::SqliteRow};

use crate::{codec, relay::Row, sql_error};

/// Of the columns id, source, msg_id, topic, key, headers, payload, age.
pub(super) fn decode(row: &SqliteRow) -> Result<Row, Error> {
    let headers: Vec<u8> = row.try_get("headers").map_err(sql_error)?;
    let headers = codec::decode(headers.into())?;
    let columns = || -> Result<Row, sqlx::Error> {
        let bytes = |name| row.try_get::<Option<Vec<u8>>, _>(name).map(|b| b.map(Bytes::from));
        let message = Message {
            source: row.try_get::<&str, _>("source")?.into(),
            id: row.try_get::<&str, _>("msg_id")?.into(),
            destination: row.try_get::<&str, _>("topic")?.into(),
            key: bytes("key")?,
            headers,
            payload: bytes("payload")?,
        };
        let age = u64::try_from(row.try_get::<i64, _>("age")?).map_or(Duration::ZERO, Duration::from_millis);
        Ok(Row { id: row.try_get("id")?, age, message })
    };
    columns().map_err(sql_error)
}
