//! Appends events to a stream in the caller's transaction.

use comms_core::{
    Error, Message,
    event_sourcing::{Append, Appended, EventStore, Read, Recorded, Snapshot, Stream},
};
use sqlx::{Row, SqliteConnection};

use super::{SqliteTx, SqliteUnit, Tables};
use crate::{events, sql_error};

/// The head of the stream $1, $2, the time, and the stored ones among the identities of $3, a JSON array of [source,
/// id], as a JSON array: the version, or null in another stream.
const HEAD: &str = "
SELECT (SELECT version FROM comms_event WHERE topic = $1 AND key = $2 ORDER BY version DESC LIMIT 1) AS head,
       (SELECT created_at FROM comms_event WHERE topic = $1 AND key = $2 ORDER BY version DESC LIMIT 1) AS last,
       CAST(unixepoch('subsec') * 1000 AS INTEGER) AS now,
       (SELECT json_group_array(version) FROM (
            SELECT CASE WHEN e.topic = $1 AND e.key = $2 THEN e.version END AS version
            FROM json_each($3) AS i CROSS JOIN comms_event AS e
            WHERE e.source = i.value ->> 0 AND e.msg_id = i.value ->> 1
            ORDER BY i.key)) AS stored";

const INSERT: &str = "
INSERT INTO comms_event (source, msg_id, topic, key, type, headers, payload, version, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";

impl Tables {
    /// Appends events to a stream, and writes messages to the outbox, in the caller's transaction, as
    /// [`EventStore::append`] describes.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Conflict`](comms_core::ErrorKind::Conflict), with a
    /// [`VersionConflict`](comms_core::event_sourcing::VersionConflict), if the stream does not have the expected
    /// version, and `Conflict` if an event is stored already and the append is not a repetition.
    ///
    /// Returns [`ErrorKind::Invalid`](comms_core::ErrorKind::Invalid), before anything is written, if an event belongs
    /// to another stream, two events have the same identity, the category or the id of the stream is empty, longer than
    /// 512 bytes or contains NUL, or the events or the messages exceed a limit of [`enqueue`](Self::enqueue).
    ///
    /// Otherwise returns an error of the kind that [`sql_error`] lists if a statement fails.
    pub async fn append(&self, conn: &mut SqliteConnection, append: Append<'_>) -> Result<Appended, Error> {
        events::check(&append)?;
        let (stream, key) = (append.stream, append.stream.id.as_bytes());
        let identities: Vec<_> = append.events.iter().map(|event| (event.source(), event.id())).collect();
        let identities = serde_json::to_string(&identities).map_err(Error::internal)?;
        let query = sqlx::query(HEAD).bind(&*stream.category).bind(key).bind(identities);
        let row = query.fetch_one(&mut *conn).await.map_err(sql_error)?;
        let columns = || Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?));
        let (head, last, now, stored): (Option<i64>, Option<i64>, i64, String) =
            columns().map_err(sql_error)?;
        let stored: Vec<Option<u64>> = serde_json::from_str(&stored).map_err(Error::internal)?;
        let appended = append.outcome(events::version(head.unwrap_or(0)), &stored)?;
        if appended.repeated {
            return Ok(appended);
        }
        // The clock of the machine may be set back. The times of a stream do not decrease.
        let now = last.map_or(now, |last| now.max(last));
        for (version, event) in (appended.first..).zip(append.events) {
            let inserted = insert(conn, event, events::signed(version), now).await;
            inserted.map_err(|error| refused(error, &append))?;
        }
        self.enqueue(conn, append.messages).await?;
        Ok(appended)
    }
}

async fn insert(
    conn: &mut SqliteConnection,
    event: &Message,
    version: i64,
    now: i64,
) -> Result<(), sqlx::Error> {
    sqlx::query(INSERT)
        .bind(event.source())
        .bind(event.id())
        .bind(event.topic())
        .bind(event.key())
        .bind(event.event_type())
        .bind(event.headers().encoded())
        .bind(event.payload())
        .bind(version)
        .bind(now)
        .execute(conn)
        .await
        .map(drop)
}

/// Outside a transaction another writer may append between the two statements.
fn refused(error: sqlx::Error, append: &Append<'_>) -> Error {
    match error.as_database_error() {
        Some(database) if database.is_unique_violation() => append.conflict(None),
        _ => sql_error(error),
    }
}

impl EventStore for SqliteUnit {
    async fn append(&self, tx: &mut SqliteTx, append: Append<'_>) -> Result<Appended, Error> {
        let result = self.tables.append(tx, append).await;
        tx.checked(result)
    }

    async fn read(&self, tx: &mut SqliteTx, stream: &Stream, read: Read) -> Result<Vec<Recorded>, Error> {
        let result = self.tables.read_stream(tx, stream, read).await;
        tx.checked(result)
    }

    async fn snapshot(&self, tx: &mut SqliteTx, stream: &Stream) -> Result<Option<Snapshot>, Error> {
        let result = self.tables.snapshot(tx, stream).await;
        tx.checked(result)
    }

    async fn save_snapshot(
        &self,
        tx: &mut SqliteTx,
        stream: &Stream,
        snapshot: &Snapshot,
    ) -> Result<(), Error> {
        let result = self.tables.save_snapshot(tx, stream, snapshot).await;
        tx.checked(result)
    }
}
