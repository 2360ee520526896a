//! A row of the outbox becomes a message.

use std::sync::Arc;

use bytes::Bytes;
use comms_core::{Error, Message};
use sqlx::{Row as _, postgres::PgRow};

use crate::{codec, relay::Row};

/// Of the columns id, source, msg_id, topic, key, headers, payload. What is damaged in one row stays that row's.
pub(super) fn decode(row: &PgRow) -> Result<Row, sqlx::Error> {
    let bytes = |name| row.try_get::<Option<Vec<u8>>, _>(name).map(|b| b.map(Bytes::from));
    let destination: Arc<str> = row.try_get::<&str, _>("topic")?.into();
    let key = bytes("key")?;
    let columns = || -> Result<Message, Error> {
        let damaged = |e: sqlx::Error| Error::internal(e).context("decode a row of the outbox");
        Ok(Message {
            source: row.try_get::<&str, _>("source").map_err(damaged)?.into(),
            id: row.try_get::<&str, _>("msg_id").map_err(damaged)?.into(),
            topic: destination.clone(),
            key: key.clone(),
            headers: codec::decode(row.try_get::<Vec<u8>, _>("headers").map_err(damaged)?.into())?,
            payload: bytes("payload").map_err(damaged)?,
        })
    };
    let message = columns();
    Ok(Row { id: row.try_get("id")?, destination, key, message })
}
