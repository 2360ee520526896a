//! Reads the events of a stream in pages.

use std::time::Duration;

use bytes::BytesMut;
use comms_core::{
    Error, HeadersRef, Message, MessageParts,
    event_sourcing::{Direction, Read, Recorded, Stream},
};
use sqlx::{Row as _, SqliteConnection, sqlite::SqliteRow};

use super::Tables;
use crate::{
    events::{self, Bounds},
    sql_error,
};

/// $1 category, $2 id, $3 and $4 versions, $5 time or NULL, $6 most events, $7 most bytes. The sizes are summed before
/// the values are read.
const FORWARDS: &str = "
SELECT e.version, created_at, source, msg_id, topic, key, headers, payload
FROM (
    SELECT id, sum(size) OVER (ORDER BY version ROWS UNBOUNDED PRECEDING) - size AS before
    FROM (
        SELECT id, version, coalesce(length(payload), 0) + length(headers) + length(key)
               + octet_length(source) + octet_length(msg_id) + octet_length(topic) AS size
        FROM comms_event
        WHERE topic = $1 AND key = $2 AND version >= $3 AND version <= $4 AND ($5 IS NULL OR created_at <= $5)
        ORDER BY version LIMIT $6
    )
) p JOIN comms_event e ON e.id = p.id
WHERE before < $7
ORDER BY e.version";

/// As [`FORWARDS`], from the highest version on.
const BACKWARDS: &str = "
SELECT e.version, created_at, source, msg_id, topic, key, headers, payload
FROM (
    SELECT id, sum(size) OVER (ORDER BY version DESC ROWS UNBOUNDED PRECEDING) - size AS before
    FROM (
        SELECT id, version, coalesce(length(payload), 0) + length(headers) + length(key)
               + octet_length(source) + octet_length(msg_id) + octet_length(topic) AS size
        FROM comms_event
        WHERE topic = $1 AND key = $2 AND version >= $3 AND version <= $4 AND ($5 IS NULL OR created_at <= $5)
        ORDER BY version DESC LIMIT $6
    )
) p JOIN comms_event e ON e.id = p.id
WHERE before < $7
ORDER BY e.version DESC";

impl Tables {
    /// Returns one page of a stream, as [`EventStore::read`](comms_core::event_sourcing::EventStore::read) describes.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Internal`](comms_core::ErrorKind::Internal) if a row does not decode. Otherwise returns an
    /// error of the kind that [`sql_error`] lists if the statement fails.
    pub async fn read_stream(
        &self,
        conn: &mut SqliteConnection,
        stream: &Stream,
        read: Read,
    ) -> Result<Vec<Recorded>, Error> {
        let text = match read.direction {
            Direction::Forwards => FORWARDS,
            Direction::Backwards => BACKWARDS,
        };
        let bounds = Bounds::of(&read);
        let at = read.at.map(|at| i64::try_from(at.as_millis()).unwrap_or(i64::MAX));
        let rows = sqlx::query(text)
            .bind(&*stream.category)
            .bind(stream.id.as_bytes())
            .bind(bounds.from)
            .bind(bounds.up_to)
            .bind(at)
            .bind(bounds.max_events)
            .bind(bounds.max_bytes)
            .fetch_all(conn)
            .await
            .map_err(sql_error)?;
        let mut buffer = BytesMut::new();
        let recorded = |row: &_| decode(row, &mut buffer);
        let events = rows.iter().map(recorded).collect::<Result<Vec<_>, Error>>();
        events.map_err(|error| error.context(format_args!("decode an event of the stream {stream}")))
    }
}

fn decode(row: &SqliteRow, buffer: &mut BytesMut) -> Result<Recorded, Error> {
    let (version, millis): (i64, i64) = (get(row, 0)?, get(row, 1)?);
    let parts = MessageParts {
        source: get(row, 2)?,
        id: get(row, 3)?,
        topic: get(row, 4)?,
        key: get(row, 5)?,
        headers: HeadersRef::decode(get(row, 6)?)?,
        payload: get(row, 7)?,
    };
    Ok(Recorded {
        version: events::version(version),
        recorded_at: Duration::from_millis(u64::try_from(millis).unwrap_or(0)),
        message: Message::in_buffer(parts, buffer),
    })
}

fn get<'r, T>(row: &'r SqliteRow, column: usize) -> Result<T, Error>
where
    T: sqlx::Decode<'r, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
{
    row.try_get(column).map_err(sql_error)
}
