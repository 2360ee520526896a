//! Appends events to a stream in the caller's transaction.

use comms_core::{
    Error,
    event_sourcing::{Append, Appended, EventStore, Read, Recorded, Snapshot, Stream},
};
use sqlx::{PgConnection, Row};

use super::{
    PgUnit, Tables,
    outbox::{bind_messages, commit_without_flush},
};
use crate::{events, sql_error};

/// The lock of the stream $1, $2 for appends at any version.
const LOCK: &str = "
SELECT pg_advisory_xact_lock(
    hashtextextended($2::text, hashtextextended($1::text, hashtextextended('{s}.comms_event', 0))))";

/// The append of most commands: at a version, without messages. Takes 0.6 of the server's CPU of [`APPEND`]. Inserts
/// all events, or none if the stream has another version: [`APPEND`] then finds the reason.
///
/// $1 category, $2 id, $3 version, $4 to $10 the columns of the events.
const INSERT: &str = "
INSERT INTO {s}.comms_event (source, msg_id, topic, key, type, headers, payload, version, created_at)
SELECT source, msg_id, topic, key, type, headers, payload, $3 + n, now
FROM (
    SELECT coalesce(max(version), 0) AS head, greatest(max(created_at), clock_timestamp()) AS now
    FROM (
        SELECT version, created_at FROM {s}.comms_event WHERE topic = $1 AND key = $2 ORDER BY version DESC LIMIT 1
    ) last
) stream, unnest($4::text[], $5::text[], $6::text[], $7::bytea[], $8::text[], $9::bytea[], $10::bytea[])
     WITH ORDINALITY AS e (source, msg_id, topic, key, type, headers, payload, n)
WHERE head = $3 AND current_setting('synchronous_commit') <> 'off'
ORDER BY n";

/// $1 category, $2 id, $3 version or NULL, $4 to $10 the columns of the events, $11 to $17 those of the messages.
///
/// Check and writes are one statement, so an append takes one round trip. A concurrent append that the snapshot of the
/// statement does not contain has written the same version, and the primary key refuses this one.
const APPEND: &str = "
WITH event AS MATERIALIZED (
    SELECT *
    FROM unnest($4::text[], $5::text[], $6::text[], $7::bytea[], $8::text[], $9::bytea[], $10::bytea[])
         WITH ORDINALITY AS e (source, msg_id, topic, key, type, headers, payload, n)
), stored AS MATERIALIZED (
    SELECT n, CASE WHEN s.topic = $1 AND s.key = $2 THEN s.version END AS version
    FROM event, LATERAL (
        SELECT topic, key, version FROM {s}.comms_event c
        WHERE c.source = event.source AND c.msg_id = event.msg_id LIMIT 1
    ) s
), last AS MATERIALIZED (
    SELECT version, created_at FROM {s}.comms_event WHERE topic = $1 AND key = $2 ORDER BY version DESC LIMIT 1
), head AS MATERIALIZED (
    SELECT coalesce(max(version), 0) AS version, greatest(max(created_at), clock_timestamp()) AS now,
           current_setting('synchronous_commit') <> 'off' AS durable
    FROM last
), gate AS MATERIALIZED (
    SELECT version, now FROM head
    WHERE durable AND ($3::bigint IS NULL OR version = $3) AND NOT EXISTS (SELECT FROM stored)
), written AS (
    INSERT INTO {s}.comms_event (source, msg_id, topic, key, type, headers, payload, version, created_at)
    SELECT source, msg_id, topic, key, type, headers, payload, gate.version + n, now
    FROM gate, event
    ORDER BY n
), announced AS (
    INSERT INTO {s}.comms_outbox (source, msg_id, topic, key, type, headers, payload)
    SELECT source, msg_id, topic, key, type, headers, payload
    FROM gate, unnest($11::text[], $12::text[], $13::text[], $14::bytea[], $15::text[], $16::bytea[], $17::bytea[])
         WITH ORDINALITY AS m (source, msg_id, topic, key, type, headers, payload, n)
    ORDER BY n
)
SELECT version, durable, ARRAY(SELECT version FROM stored ORDER BY n) FROM head";

const BEHIND: &str = "the sequence of comms_event.id is behind the ids of stored events, as after logical replication: stop \
                      the writers and relays, call Tables::rebase, and start again";

impl Tables {
    /// Appends events to a stream, and writes messages to the outbox, in the caller's transaction, as
    /// [`EventStore::append`] describes. One round trip; two at
    /// [`Expected::Any`](comms_core::event_sourcing::Expected::Any), for a conflict and for a repetition.
    ///
    /// At READ COMMITTED an append at [`Expected::Any`](comms_core::event_sourcing::Expected::Any) waits for another
    /// one and continues behind it. At a higher isolation level it may fail with `Conflict`.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Conflict`](comms_core::ErrorKind::Conflict), with a
    /// [`VersionConflict`](comms_core::event_sourcing::VersionConflict), if the stream does not have the expected
    /// version, or if a concurrent append commits first. Returns `Conflict` if an event is stored already and the
    /// append is not a repetition.
    ///
    /// Returns [`ErrorKind::Invalid`](comms_core::ErrorKind::Invalid), before anything is written, if an event belongs
    /// to another stream, two events have the same identity, the category or the id of the stream is empty, longer than
    /// 512 bytes or contains NUL, or the events or the messages exceed a limit of [`enqueue`](Self::enqueue).
    ///
    /// Returns [`ErrorKind::Misconfigured`](comms_core::ErrorKind::Misconfigured) if `synchronous_commit` is off, or if the
    /// next id belongs to a stored event: see [`rebase`](Self::rebase).
    /// Otherwise returns an error of the kind that [`sql_error`] lists if a statement fails.
    pub async fn append(&self, conn: &mut PgConnection, append: Append<'_>) -> Result<Appended, Error> {
        events::check(&append)?;
        let Stream { category, id } = append.stream;
        match append.expected.version() {
            // In a statement of its own, because the snapshot of the next one must be newer than the lock.
            None => {
                let lock = self.query(LOCK).bind(&**category).bind(&**id);
                lock.execute(&mut *conn).await.map_err(sql_error)?;
            }
            Some(version) if append.messages.is_empty() && !append.events.is_empty() => {
                if self.insert(conn, &append, version).await? {
                    return append.outcome(version, &[]);
                }
            }
            Some(_) => {}
        }
        let query = self.query(APPEND).bind(&**category).bind(id.as_bytes());
        let query = query.bind(append.expected.version().map(events::signed));
        let query = bind_messages(bind_messages(query, append.events), append.messages);
        let row = query.fetch_one(conn).await.map_err(|error| refused(error, &append))?;
        let columns = || Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?));
        let (head, durable, stored): (i64, bool, Vec<Option<i64>>) = columns().map_err(sql_error)?;
        if !durable {
            return Err(commit_without_flush());
        }
        let stored: Vec<_> = stored.into_iter().map(|version| version.map(events::version)).collect();
        append.outcome(events::version(head), &stored)
    }

    /// Returns whether the events were inserted.
    async fn insert(
        &self,
        conn: &mut PgConnection,
        append: &Append<'_>,
        version: u64,
    ) -> Result<bool, Error> {
        let Stream { category, id } = append.stream;
        let query = self.query(INSERT).bind(&**category).bind(id.as_bytes()).bind(events::signed(version));
        let done = bind_messages(query, append.events).execute(conn).await;
        let done = done.map_err(|error| refused(error, append))?;
        Ok(done.rows_affected() > 0)
    }
}

/// A concurrent transaction has committed the same version, or an event with the same identity.
fn refused(error: sqlx::Error, append: &Append<'_>) -> Error {
    match error.as_database_error().and_then(|database| database.constraint()) {
        Some("comms_event_version") => append.conflict(None),
        Some("comms_event_identity") => append.identity_conflict(),
        Some("comms_event_id") => Error::misconfigured(error).context(BEHIND),
        _ => sql_error(error),
    }
}

impl EventStore for PgUnit {
    async fn append(&self, tx: &mut Self::Tx, append: Append<'_>) -> Result<Appended, Error> {
        self.tables.append(tx, append).await
    }

    async fn read(&self, tx: &mut Self::Tx, stream: &Stream, read: Read) -> Result<Vec<Recorded>, Error> {
        self.tables.read_stream(tx, stream, read).await
    }

    async fn snapshot(&self, tx: &mut Self::Tx, stream: &Stream) -> Result<Option<Snapshot>, Error> {
        self.tables.snapshot(tx, stream).await
    }

    async fn save_snapshot(
        &self,
        tx: &mut Self::Tx,
        stream: &Stream,
        snapshot: &Snapshot,
    ) -> Result<(), Error> {
        self.tables.save_snapshot(tx, stream, snapshot).await
    }
}
