//! Writing messages in the caller's transaction.

use comms_core::{Error, Message};
use sqlx::SqliteConnection;

use super::Tables;
use crate::{codec, limits, sql_error};

const ENQUEUE: &str = "
INSERT INTO comms_outbox (source, msg_id, topic, key, type, headers, payload)
VALUES ($1, $2, $3, $4, $5, $6, $7)";

impl Tables {
    /// Writes `messages` in the caller's transaction: they leave if and only if it commits, in this order.
    ///
    /// # Errors
    /// The database's; `Invalid`, before anything is written, for a message over
    /// [`MESSAGE_LIMIT`](crate::MESSAGE_LIMIT) or more than [`BATCH_LIMIT`](crate::BATCH_LIMIT) of them.
    pub async fn enqueue(&self, conn: &mut SqliteConnection, messages: &[Message]) -> Result<(), Error> {
        limits::check(messages)?;
        for message in messages {
            sqlx::query(ENQUEUE)
                .bind(&*message.source)
                .bind(&*message.id)
                .bind(&*message.topic)
                .bind(message.key.as_deref())
                .bind(message.event_type())
                .bind(codec::encode(&message.headers))
                .bind(message.payload.as_deref())
                .execute(&mut *conn)
                .await
                .map_err(sql_error)?;
        }
        Ok(())
    }
}
