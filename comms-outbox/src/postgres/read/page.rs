//! Reads one page: the rows of a window in some ranges of ids.

use std::time::Duration;

use sqlx::{PgConnection, Row as _, ValueRef as _, postgres::PgRow};

use super::{
    piece::{Piece, SPAN},
    scan::Window,
};
use crate::{
    postgres::{Tables, row},
    relay::{Log, Page, Position, Query, RecordedAt, Row, RowBuffer, column},
};

/// $1 A, $2 B, $3 and $4 ranges of ids, $5 only these topics or NULL, $6 none of these topics, $7 most rows, $8 most
/// bytes, $9 relay, $10 token.
///
/// The sizes are summed before the values of the rows are read, so that the server sends at most one row beyond the
/// limit. `octet_length` of a value that is stored out of line does not read the value.
///
/// No step sorts: the ranges ascend, the rows of a range come in the order of the index, and only nested loops can join
/// them. [`page`] fails if a row comes out of order, because the sum would then be wrong. The times are sent as they are
/// stored, without a function call for each row. The snapshots are selected, because a generic plan would otherwise parse
/// their text for each row.
const PAGE: &str = "
SELECT id, source, msg_id, topic, key, headers, payload, g.same, before + size AS bytes,
       statement_timestamp() AS now, created_at{more}
FROM (SELECT EXISTS (SELECT FROM {s}.comms_outbox_guard WHERE relay = $9 AND token = $10::text::uuid) AS same) g
LEFT JOIN (
    SELECT *, sum(size) OVER (ROWS UNBOUNDED PRECEDING) - size AS before
    FROM (
        SELECT id, source, msg_id, topic, key, headers, payload, created_at{more},
               (coalesce(octet_length(payload), 0) + octet_length(headers) + coalesce(octet_length(key), 0)
                + octet_length(source) + octet_length(msg_id) + octet_length(topic)) AS size
        FROM unnest($3::bigint[], $4::bigint[]) AS r (lo, hi),
        LATERAL (
            SELECT * FROM {s}.{log} o
            WHERE id >= r.lo AND id <= r.hi
              AND pg_visible_in_snapshot(xid, (SELECT $2::text::pg_snapshot))
              AND NOT pg_visible_in_snapshot(xid, (SELECT $1::text::pg_snapshot))
              AND ($5::text[] IS NULL OR topic = ANY ($5)) AND topic <> ALL ($6::text[])
            ORDER BY id LIMIT $7
        ) o LIMIT $7
    ) sized
) summed ON before < $8";

const BYTES: usize = column::NEXT + 1;
const NOW: usize = BYTES + 1;
const CREATED_AT: usize = NOW + 1;
const VERSION: usize = CREATED_AT + 1;

/// 2000-01-01, from which PostgreSQL counts, in microseconds since 1970.
const EPOCH: i64 = 946_684_800_000_000;

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
    let (mut oldest, mut found, mut recorded) = (0, Vec::<Row>::with_capacity(rows.len()), Vec::new());
    for row in &rows {
        // By name, which another statement does not have.
        if !row.try_get::<bool, _>("same")? {
            return Ok(None);
        }
        // A single row without values means that the page is empty.
        let Some(created_at) = micros(row, CREATED_AT)? else { continue };
        oldest = micros(row, NOW)?.unwrap_or(created_at).saturating_sub(created_at).max(oldest);
        let decoded = row::decode(row, &mut buffer)?;
        if found.last().is_some_and(|last| last.id >= decoded.id) {
            return Err(sqlx::Error::Protocol("the rows of a page came out of order".to_owned()));
        }
        found.push(decoded);
        if tables.log() == Log::Events {
            let micros = created_at.saturating_add(EPOCH);
            recorded.push(RecordedAt { version: row.try_get(VERSION)?, micros });
        }
    }
    let rows = found;
    let filled = bytes >= max_bytes || i64::try_from(rows.len()).is_ok_and(|n| n >= limit);
    let read = rows.last().filter(|_| filled).map_or(last, |row| row.id);
    window.done(read);
    Ok(Some(Page {
        rows,
        recorded,
        age: Duration::from_micros(oldest.unsigned_abs()),
        after: Position { last_id: read, ..within.clone() },
        within,
        scan: None,
        more: true,
    }))
}

/// Returns a time in microseconds since 2000, as the binary protocol has it.
fn micros(row: &PgRow, column: usize) -> Result<Option<i64>, sqlx::Error> {
    let value = row.try_get_raw(column)?;
    if value.is_null() {
        return Ok(None);
    }
    let bytes = value.as_bytes().map_err(sqlx::Error::Decode)?;
    let bytes = bytes.try_into().map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
    Ok(Some(i64::from_be_bytes(bytes)))
}
