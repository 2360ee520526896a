//! Converts a row of the outbox to a message.

use std::sync::Arc;

use bytes::Bytes;
use comms_core::{Error, Message};
use sqlx::{Row as _, postgres::PgRow};

use crate::{codec, relay::Row};

/// Decodes the columns id, source, msg_id, topic, key, headers and payload. If the columns of the message do not
/// decode, the error becomes part of the row and does not fail the read.
pub(super) fn decode(row: &PgRow) -> Result<Row, sqlx::Error> {
    let bytes = |name| row.try_get::<Option<Vec<u8>>, _>(name).map(|b| b.map(Bytes::from));
    let topic: Arc<str> = row.try_get::<&str, _>("topic")?.into();
    let key = bytes("key")?;
    let columns = || -> Result<Message, Error> {
        let damaged = |e: sqlx::Error| Error::internal(e).context("decode a row of the outbox");
        Ok(Message {
            source: row.try_get::<&str, _>("source").map_err(damaged)?.into(),
            id: row.try_get::<&str, _>("msg_id").map_err(damaged)?.into(),
            topic: topic.clone(),
            key: key.clone(),
            headers: codec::decode(row.try_get::<Vec<u8>, _>("headers").map_err(damaged)?.into())?,
            payload: bytes("payload").map_err(damaged)?,
        })
    };
    let message = columns();
    Ok(Row { id: row.try_get("id")?, topic, key, message })
}
