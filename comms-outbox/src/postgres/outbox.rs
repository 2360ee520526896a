//! Writing messages in the caller's transaction.

use comms_core::{Error, Message};
use sqlx::PgConnection;

use super::Tables;
use crate::{codec, limits, sql_error};

/// One round trip for any number. Ids are given in the order of the input.
pub(super) const ENQUEUE: &str = "
INSERT INTO {s}.comms_outbox (source, msg_id, topic, key, type, headers, payload)
SELECT source, msg_id, topic, key, type, headers, payload
FROM unnest($1::text[], $2::text[], $3::text[], $4::bytea[], $5::text[], $6::bytea[], $7::bytea[])
     WITH ORDINALITY AS m (source, msg_id, topic, key, type, headers, payload, n)
WHERE current_setting('synchronous_commit') <> 'off'
ORDER BY n";

impl Tables {
    /// Writes `messages` in the caller's transaction: they leave if and only if it commits. One round trip.
    ///
    /// Messages of one key leave in this order, and in the order of their transactions where these follow one
    /// another (lock the row the message is about before you enqueue).
    ///
    /// # Errors
    /// The database's; `Invalid`, before anything is written, for a message over
    /// [`MESSAGE_LIMIT`](crate::MESSAGE_LIMIT) or more than [`BATCH_LIMIT`](crate::BATCH_LIMIT) of them;
    /// `Misconfigured` if `synchronous_commit` is off.
    pub async fn enqueue(&self, conn: &mut PgConnection, messages: &[Message]) -> Result<(), Error> {
        limits::check(messages)?;
        if messages.is_empty() {
            return Ok(());
        }
        let text = |f: fn(&Message) -> &str| messages.iter().map(f).collect::<Vec<_>>();
        let event_type = |m: &'_ Message| m.event_type().filter(|t| !t.contains('\0')).map(str::to_owned);
        let done = self
            .query(&self.sql.enqueue)
            .bind(text(|m| &m.source))
            .bind(text(|m| &m.id))
            .bind(text(|m| &m.topic))
            .bind(messages.iter().map(|m| m.key.as_deref()).collect::<Vec<_>>())
            .bind(messages.iter().map(event_type).collect::<Vec<_>>())
            .bind(messages.iter().map(|m| codec::encode(&m.headers)).collect::<Vec<_>>())
            .bind(messages.iter().map(|m| m.payload.as_deref()).collect::<Vec<_>>())
            .execute(conn)
            .await
            .map_err(sql_error)?;
        if done.rows_affected() != messages.len() as u64 {
            return Err(Error::misconfigured(
                "synchronous_commit is off: a message could be delivered whose transaction a crash then takes \
                 back; switch it on for transactions that enqueue",
            ));
        }
        Ok(())
    }
}
