//! Reads one page: the rows of a window in some ranges of ids.

use std::time::Duration;

use sqlx::{PgConnection, Row as _};

use super::{
    piece::{Piece, SPAN},
    scan::Window,
};
use crate::{
    postgres::{Tables, row},
    relay::{Log, Page, Position, Query, RecordedAt, RowBuffer, column},
};

/// $1 A, $2 B, $3 and $4 ranges of ids, $5 only these topics or NULL, $6 none of these topics, $7 most rows, $8 most
/// bytes, $9 relay, $10 token.
///
/// The sizes are summed before the values of the rows are read, so that the server sends at most one row beyond the
/// limit. `octet_length` of a value that is stored out of line does not read the value.
const PAGE: &str = "
SELECT id, source, msg_id, topic, key, headers, payload, g.same, before + size AS bytes,
       date_part('epoch', clock_timestamp() - created_at) AS age{more}
FROM (SELECT EXISTS (SELECT FROM {s}.comms_outbox_guard WHERE relay = $9 AND token = $10::text::uuid) AS same) g
LEFT JOIN (
    SELECT *, sum(size) OVER (ORDER BY id ROWS UNBOUNDED PRECEDING) - size AS before
    FROM (
        SELECT o.*, (coalesce(octet_length(payload), 0) + octet_length(headers) + coalesce(octet_length(key), 0)
                     + octet_length(source) + octet_length(msg_id) + octet_length(topic)) AS size
        FROM unnest($3::bigint[], $4::bigint[]) AS r (lo, hi),
        LATERAL (
            SELECT * FROM {s}.{log} o
            WHERE id >= r.lo AND id <= r.hi
              AND pg_visible_in_snapshot(xid, $2::text::pg_snapshot)
              AND NOT pg_visible_in_snapshot(xid, $1::text::pg_snapshot)
              AND ($5::text[] IS NULL OR topic = ANY ($5)) AND topic <> ALL ($6::text[])
            ORDER BY id LIMIT $7
        ) o LIMIT $7
    ) sized
) summed ON before < $8
ORDER BY id";

const BYTES: usize = column::NEXT + 1;
const AGE: usize = BYTES + 1;
const VERSION: usize = AGE + 1;
const MICROS: usize = VERSION + 1;

/// Reads the next ranges of `window`, and records in it what was read. Returns `None` if the guard is gone: under a
/// snapshot of another history some rows of a key may be missing, so a later row could be delivered before an earlier
/// one.
pub(super) async fn page(
    conn: &mut PgConnection,
    tables: &Tables,
    piece: &Piece,
    query: &Query,
    within: Position,
    window: &mut Window,
) -> Result<Option<Page>, sqlx::Error> {
    let (limit, max_bytes) = (query.max_rows.min(piece.get()), piece.bytes(query.max_bytes));
    let ranges = window.next(SPAN.min(piece.get()));
    let Some((_, last)) = ranges.last().copied() else {
        return Ok(Some(Page::empty(within)));
    };
    let rows = tables
        .query(PAGE)
        .bind(&*within.snapshot)
        .bind(within.window.as_deref())
        .bind(ranges.iter().map(|r| r.0).collect::<Vec<_>>())
        .bind(ranges.iter().map(|r| r.1).collect::<Vec<_>>())
        .bind(query.filter.only.as_deref())
        .bind(&*query.filter.except)
        .bind(limit)
        .bind(max_bytes)
        .bind(&*query.relay)
        .bind(&query.token)
        .fetch_all(conn)
        .await?;
    let bytes =
        rows.last().map(|row| row.try_get::<Option<i64>, _>(BYTES)).transpose()?.flatten().unwrap_or(0);
    let mut buffer = RowBuffer::new(usize::try_from(bytes).unwrap_or(0));
    let (mut oldest, mut found, mut recorded) = (0.0_f64, Vec::with_capacity(rows.len()), Vec::new());
    for row in &rows {
        // By name, which another statement does not have.
        if !row.try_get::<bool, _>("same")? {
            return Ok(None);
        }
        // A single row without values means that the page is empty.
        let Some(age) = row.try_get::<Option<f64>, _>(AGE)? else { continue };
        oldest = oldest.max(age);
        found.push(row::decode(row, &mut buffer)?);
        if tables.log() == Log::Events {
            recorded.push(RecordedAt { version: row.try_get(VERSION)?, micros: row.try_get(MICROS)? });
        }
    }
    let rows = found;
    let filled = bytes >= max_bytes || i64::try_from(rows.len()).is_ok_and(|n| n >= limit);
    let read = rows.last().filter(|_| filled).map_or(last, |row| row.id);
    window.done(read);
    Ok(Some(Page {
        rows,
        recorded,
        age: Duration::try_from_secs_f64(oldest).unwrap_or_default(),
        after: Position { last_id: read, ..within.clone() },
        within,
        scan: None,
        more: true,
    }))
}
