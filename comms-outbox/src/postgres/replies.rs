//! Stores the reply of a request in the transaction of its effect, and returns it to a repetition of the request.

use std::time::Duration;

use comms_core::{
    Error,
    clock::Clock,
    idempotency::{Admission, CallKey, StoredReply},
};
use sqlx::{PgConnection, Row};

use super::Tables;
use crate::{replies, sql_error};

/// An advisory lock of the transaction is taken before the row is inserted. It can be attempted without waiting; a
/// `lock_timeout` on the unique index would abort the caller's transaction.
const ADMIT: &str = "
WITH gate AS MATERIALIZED (
    SELECT pg_try_advisory_xact_lock(hashtextextended($2::text, hashtextextended($1::text, hashtextextended('{s}', 0)))) AS open
), first AS (
    INSERT INTO {s}.comms_replies (scope, key, fingerprint)
    SELECT $1, $2, $3::bytea FROM gate WHERE open
    ON CONFLICT DO NOTHING
    RETURNING 1
)
SELECT open, EXISTS (SELECT FROM first) AS first FROM gate";

const REPLY: &str =
    "SELECT fingerprint, status, headers, body FROM {s}.comms_replies WHERE scope = $1 AND key = $2";

const ANSWER: &str = "
UPDATE {s}.comms_replies SET status = $3, headers = $4, body = $5 WHERE scope = $1 AND key = $2 AND status IS NULL";

/// How long a request waits for another one with the same key.
const WAIT: Duration = Duration::from_secs(5);
/// After what time the caller should repeat a request whose key is still in flight.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// The first pause between two attempts to take the lock; it doubles up to 250 ms.
const PAUSE: Duration = Duration::from_millis(5);

impl Tables {
    /// Admits the request with `key`, or returns its stored reply.
    ///
    /// If another open transaction has admitted a request with the same key, the call waits for it, at most 5 s. Then
    /// the result is `InFlight`, and the caller's transaction stays usable. If the other transaction rolls back, the
    /// result is `Run`.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](comms_core::ErrorKind::Invalid) if an earlier request with the key was committed
    /// without a reply; executing it again could double its effect. Returns
    /// [`ErrorKind::Conflict`](comms_core::ErrorKind::Conflict) if the stored reply was deleted during the call, and
    /// [`ErrorKind::Internal`](comms_core::ErrorKind::Internal) if its headers do not decode. Otherwise returns an
    /// error of the kind that [`sql_error`] lists if a statement fails.
    pub async fn admit(&self, conn: &mut PgConnection, key: &CallKey) -> Result<Admission, Error> {
        let (mut waited, mut pause) = (Duration::ZERO, PAUSE);
        loop {
            let row = self
                .query(ADMIT)
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
            // The system clock: `Tables` has no clock, because the tables live by the time of the database. The wait is
            // bounded, and its length affects no result.
            Clock::system().sleep(pause).await;
            waited += pause;
            pause = (pause * 2).min(Duration::from_millis(250));
        }
    }

    async fn replay(&self, conn: &mut PgConnection, key: &CallKey) -> Result<Admission, Error> {
        let row = self
            .query(REPLY)
            .bind(&*key.scope)
            .bind(&*key.key)
            .fetch_optional(conn)
            .await
            .map_err(sql_error)?;
        // The reply was deleted after the insert found it. The next attempt runs.
        let Some(row) = row else {
            return Err(Error::conflict("the stored reply was deleted during the call: repeat the request"));
        };
        let column = || Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?));
        let (fingerprint, status, headers, body) = column().map_err(sql_error)?;
        replies::replay(key, fingerprint, status, headers, body)
    }

    /// Stores the reply of a request that was admitted with `Run` in this transaction.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](comms_core::ErrorKind::Invalid) if the request was not admitted, has a reply
    /// already, or if the reply exceeds the limits of [`StoredReply`]. Otherwise returns an error of the kind that
    /// [`sql_error`] lists if the statement fails.
    pub async fn complete(
        &self,
        conn: &mut PgConnection,
        key: &CallKey,
        reply: &StoredReply,
    ) -> Result<(), Error> {
        reply.check()?;
        let done = self
            .query(ANSWER)
            .bind(&*key.scope)
            .bind(&*key.key)
            .bind(reply.status)
            .bind(reply.headers.view().encoded())
            .bind(&*reply.body)
            .execute(conn)
            .await
            .map_err(sql_error)?;
        replies::check_stored(done.rows_affected())
    }
}
