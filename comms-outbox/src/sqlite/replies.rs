//! Stores the reply of a request in the transaction of its effect, and returns it to a repetition of the request.

use comms_core::{
    Error,
    idempotency::{Admission, CallKey, StoredReply},
};
use sqlx::{Row, SqliteConnection};

use super::Tables;
use crate::{replies, sql_error};

const ADMIT: &str =
    "INSERT INTO comms_replies (scope, key, fingerprint) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";

const REPLY: &str =
    "SELECT fingerprint, status, headers, body FROM comms_replies WHERE scope = $1 AND key = $2";

const ANSWER: &str = "
UPDATE comms_replies SET status = $3, headers = $4, body = $5 WHERE scope = $1 AND key = $2 AND status IS NULL";

impl Tables {
    /// Admits the request with `key`, or returns its stored reply. The result is never `InFlight`, because SQLite has
    /// one writer at a time. If an earlier transaction with the key rolled back, the result is `Run`.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](comms_core::ErrorKind::Invalid) if an earlier request with the key was committed
    /// without a reply; executing it again could double its effect. Returns
    /// [`ErrorKind::Internal`](comms_core::ErrorKind::Internal) if the headers of the stored reply do not decode.
    /// Otherwise returns an error of the kind that [`sql_error`] lists if a statement fails.
    pub async fn admit(&self, conn: &mut SqliteConnection, key: &CallKey) -> Result<Admission, Error> {
        let query = sqlx::query(ADMIT).bind(&*key.scope).bind(&*key.key).bind(&key.fingerprint[..]);
        let done = query.execute(&mut *conn).await.map_err(sql_error)?;
        if done.rows_affected() == 1 {
            return Ok(Admission::Run(()));
        }
        let query = sqlx::query(REPLY).bind(&*key.scope).bind(&*key.key);
        let row = query.fetch_one(conn).await.map_err(sql_error)?;
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
        conn: &mut SqliteConnection,
        key: &CallKey,
        reply: &StoredReply,
    ) -> Result<(), Error> {
        reply.check()?;
        let done = sqlx::query(ANSWER)
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
