//! Replies that commit with the effect they belong to.

use std::time::Duration;

use comms_core::{
    Error,
    idempotency::{Admission, CallKey, StoredReply},
};
use sqlx::{PgConnection, Row};

use super::Tables;
use crate::{codec, replies, sql_error};

/// An advisory lock of the transaction stands before the unique index: it can be tried without waiting, and
/// a `lock_timeout` on the index would abort the caller's transaction.
pub(super) const ADMIT: &str = "
WITH gate AS MATERIALIZED (
    SELECT pg_try_advisory_xact_lock(hashtextextended($2::text, hashtextextended($1::text, hashtextextended('{s}', 0)))) AS open
), first AS (
    INSERT INTO {s}.comms_replies (scope, key, fingerprint)
    SELECT $1, $2, $3::bytea FROM gate WHERE open
    ON CONFLICT DO NOTHING
    RETURNING 1
)
SELECT open, EXISTS (SELECT FROM first) AS first FROM gate";

pub(super) const REPLY: &str =
    "SELECT fingerprint, status, headers, body FROM {s}.comms_replies WHERE scope = $1 AND key = $2";

pub(super) const ANSWER: &str = "
UPDATE {s}.comms_replies SET status = $3, headers = $4, body = $5 WHERE scope = $1 AND key = $2 AND status IS NULL";

/// How long a request waits for another of its key.
const WAIT: Duration = Duration::from_secs(5);
/// When a request that is still in flight is worth asking for again.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// The first pause between two tries, doubled until a quarter of a second.
const PAUSE: Duration = Duration::from_millis(5);

impl Tables {
    /// Admits the request of `key`. A transaction that holds the same key is waited for, at most 5 s; then
    /// the answer is `InFlight`, and the transaction stays usable. A transaction that rolled back leaves
    /// nothing: the next one runs.
    ///
    /// # Errors
    /// As [`sql_error`] says; `Invalid` if an earlier request of the key was committed without an answer: running
    /// it again could double its effect.
    pub async fn admit(&self, conn: &mut PgConnection, key: &CallKey) -> Result<Admission, Error> {
        let (mut waited, mut pause) = (Duration::ZERO, PAUSE);
        loop {
            let row = self
                .query(&self.sql.admit)
                .bind(&*key.scope)
                .bind(&*key.key)
                .bind(&key.fingerprint[..])
                .fetch_one(&mut *conn)
                .await
                .map_err(sql_error)?;
            if row.try_get("open").map_err(sql_error)? {
                let first = row.try_get("first").map_err(sql_error)?;
                return if first { Ok(Admission::Run(())) } else { self.replay(conn, key).await };
            }
            if waited >= WAIT {
                return Ok(Admission::InFlight { retry_after: RETRY_AFTER });
            }
            tokio::time::sleep(pause).await;
            waited += pause;
            pause = (pause * 2).min(Duration::from_millis(250));
        }
    }

    async fn replay(&self, conn: &mut PgConnection, key: &CallKey) -> Result<Admission, Error> {
        let row = self
            .query(&self.sql.reply)
            .bind(&*key.scope)
            .bind(&*key.key)
            .fetch_optional(conn)
            .await
            .map_err(sql_error)?;
        // Deleted since, by whoever keeps the table small: the next try runs.
        let Some(row) = row else { return Err(Error::conflict("the stored reply went away")) };
        let column = || Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?));
        let (fingerprint, status, headers, body) = column().map_err(sql_error)?;
        replies::stored(key, fingerprint, status, headers, body)
    }

    /// Stores the reply of a request that was admitted with `Run` in this transaction.
    ///
    /// # Errors
    /// As [`sql_error`] says; `Invalid` for a request that was not admitted, or is answered already, and for a reply
    /// over its limits.
    pub async fn complete(
        &self,
        conn: &mut PgConnection,
        key: &CallKey,
        reply: &StoredReply,
    ) -> Result<(), Error> {
        reply.check()?;
        let done = self
            .query(&self.sql.answer)
            .bind(&*key.scope)
            .bind(&*key.key)
            .bind(reply.status)
            .bind(codec::encode(&reply.headers))
            .bind(&*reply.body)
            .execute(conn)
            .await
            .map_err(sql_error)?;
        replies::answered(done.rows_affected())
    }
}
