//! Writes messages in the caller's transaction.

use comms_core::{Error, Message};
use sqlx::SqliteConnection;

use super::Tables;
use crate::{limits, sql_error};

const ENQUEUE: &str = "
INSERT INTO comms_outbox (source, msg_id, topic, key, type, headers, payload)
VALUES ($1, $2, $3, $4, $5, $6, $7)";

impl Tables {
    /// Writes `messages` in the caller's transaction. They are published if and only if it commits, in this order.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](comms_core::ErrorKind::Invalid), before anything is written, if
    /// - the call has more than [`BATCH_LIMIT`](crate::BATCH_LIMIT) messages or 64 MiB,
    /// - a message is larger than [`MESSAGE_LIMIT`](crate::MESSAGE_LIMIT), or
    /// - a source, an id or a topic is empty, longer than 512 bytes, or contains NUL.
    ///
    /// Otherwise returns an error of the kind that [`sql_error`] lists if a statement fails.
    pub async fn enqueue(&self, conn: &mut SqliteConnection, messages: &[Message]) -> Result<(), Error> {
        limits::check(messages)?;
        for message in messages {
            sqlx::query(ENQUEUE)
                .bind(message.source())
                .bind(message.id())
                .bind(message.topic())
                .bind(message.key())
                .bind(message.event_type())
                .bind(message.headers().encoded())
                .bind(message.payload())
                .execute(&mut *conn)
                .await
                .map_err(sql_error)?;
        }
        Ok(())
    }
}
