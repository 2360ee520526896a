//! Writes messages in the caller's transaction.

use comms_core::{Error, Message};
use sqlx::{PgConnection, Postgres, postgres::PgArguments, query::Query};

use super::Tables;
use crate::{limits, sql_error};

/// One round trip for any number of messages. Ids are given out in the order of the input.
const ENQUEUE: &str = "
INSERT INTO {s}.comms_outbox (source, msg_id, topic, key, type, headers, payload)
SELECT source, msg_id, topic, key, type, headers, payload
FROM unnest($1::text[], $2::text[], $3::text[], $4::bytea[], $5::text[], $6::bytea[], $7::bytea[])
     WITH ORDINALITY AS m (source, msg_id, topic, key, type, headers, payload, n)
WHERE current_setting('synchronous_commit') <> 'off'
ORDER BY n";

impl Tables {
    /// Writes `messages` in the caller's transaction, in one round trip. They are published if and only if it commits.
    ///
    /// Messages of one key are published in this order, and in the order of their transactions if these follow one
    /// another. To make the transactions of a key follow one another, lock the row that the message is about before the
    /// call.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](comms_core::ErrorKind::Invalid), before anything is written, if
    /// - the call has more than [`BATCH_LIMIT`](crate::BATCH_LIMIT) messages or 64 MiB,
    /// - a message is larger than [`MESSAGE_LIMIT`](crate::MESSAGE_LIMIT), or
    /// - a source, an id or a topic is empty, longer than 512 bytes, or contains NUL.
    ///
    /// Returns [`ErrorKind::Misconfigured`](comms_core::ErrorKind::Misconfigured) if `synchronous_commit` is off.
    /// Otherwise returns an error of the kind that [`sql_error`] lists if the statement fails.
    pub async fn enqueue(&self, conn: &mut PgConnection, messages: &[Message]) -> Result<(), Error> {
        limits::check(messages)?;
        if messages.is_empty() {
            return Ok(());
        }
        let done = bind_messages(self.query(ENQUEUE), messages).execute(conn).await.map_err(sql_error)?;
        if done.rows_affected() != messages.len() as u64 {
            return Err(commit_without_flush());
        }
        Ok(())
    }
}

/// Binds seven arrays, one for each column of `messages`.
pub(super) fn bind_messages<'q>(
    query: Query<'q, Postgres, PgArguments>,
    messages: &'q [Message],
) -> Query<'q, Postgres, PgArguments> {
    let text = |f: fn(&Message) -> &str| messages.iter().map(f).collect::<Vec<_>>();
    let event_type = |m: &'q Message| m.event_type().filter(|t| !t.contains('\0'));
    query
        .bind(text(Message::source))
        .bind(text(Message::id))
        .bind(text(Message::topic))
        .bind(messages.iter().map(Message::key).collect::<Vec<_>>())
        .bind(messages.iter().map(event_type).collect::<Vec<_>>())
        .bind(messages.iter().map(|m| m.headers().encoded()).collect::<Vec<_>>())
        .bind(messages.iter().map(Message::payload).collect::<Vec<_>>())
}

pub(super) fn commit_without_flush() -> Error {
    Error::misconfigured(
        "synchronous_commit is off: a message or an event could be read whose transaction a crash then loses. Switch it on \
         for transactions that enqueue or append",
    )
}
