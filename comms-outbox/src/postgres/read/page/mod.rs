//! Reads one page: the rows of a window in some ranges of ids.

mod statement;

use std::time::Duration;

use sqlx::{PgConnection, Row as _, ValueRef as _, postgres::PgRow};

use super::{
    piece::{Piece, SPAN},
    scan::Window,
};
use crate::{
    postgres::{Tables, row},
    relay::{Log, Page, Position, Query, RecordedAt, Row, RowBuffer},
};
use statement::{Bound, CREATED_AT, NOW, SIZE, VERSION, fetch};

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
    let most = max_bytes / limit.max(1);
    let mut bound = if piece.expects_large_rows() { Bound::Sum(max_bytes) } else { Bound::Rows(most) };
    let mut fetched = fetch(conn, tables, query, &within, &ranges, limit, bound).await?;
    let mut large = None;
    if let Bound::Rows(most) = bound {
        large = fetched.rows.iter().position(|row| size(row).is_ok_and(|size| size > most));
    }
    if large.is_some() {
        piece.found_large_row();
    }
    if large == Some(0) {
        (bound, large) = (Bound::Sum(max_bytes), None);
        fetched = fetch(conn, tables, query, &within, &ranges, limit, bound).await?;
    }
    if !fetched.same {
        return Ok(None);
    }
    // The next page begins with the large row.
    fetched.rows.truncate(large.unwrap_or(fetched.rows.len()));
    let Decoded { rows, recorded, age, bytes } = decode(tables, &fetched.rows)?;
    let filled = large.is_some()
        || i64::try_from(rows.len()).is_ok_and(|n| n >= limit)
        || matches!(bound, Bound::Sum(_)) && bytes >= max_bytes;
    let read = rows.last().filter(|_| filled).map_or(last, |row| row.id);
    window.done(read);
    Ok(Some(Page {
        rows,
        recorded,
        age,
        after: Position { last_id: read, ..within.clone() },
        within,
        scan: None,
        more: true,
    }))
}

struct Decoded {
    rows: Vec<Row>,
    recorded: Vec<RecordedAt>,
    age: Duration,
    bytes: i64,
}

fn decode(tables: &Tables, rows: &[PgRow]) -> Result<Decoded, sqlx::Error> {
    let mut bytes = 0_i64;
    for row in rows {
        bytes += size(row)?;
    }
    let is_of_events = tables.log() == Log::Events;
    let mut buffer = RowBuffer::new(usize::try_from(bytes).unwrap_or(0));
    let mut found = Vec::<Row>::with_capacity(rows.len());
    let mut recorded = Vec::with_capacity(if is_of_events { rows.len() } else { 0 });
    let mut oldest = 0;
    for row in rows {
        // A single row without values means that the page is empty.
        let Some(created_at) = micros(row, CREATED_AT)? else { continue };
        oldest = micros(row, NOW)?.unwrap_or(created_at).saturating_sub(created_at).max(oldest);
        let decoded = row::decode(row, &mut buffer)?;
        if found.last().is_some_and(|last| last.id >= decoded.id) {
            return Err(sqlx::Error::Protocol("the rows of a page came out of order".to_owned()));
        }
        found.push(decoded);
        if is_of_events {
            let micros = created_at.saturating_add(EPOCH);
            recorded.push(RecordedAt { version: row.try_get_unchecked(VERSION)?, micros });
        }
    }
    let age = Duration::from_micros(oldest.unsigned_abs());
    Ok(Decoded { rows: found, recorded, age, bytes })
}

/// Returns the bytes of the values of `row`.
fn size(row: &PgRow) -> Result<i64, sqlx::Error> {
    Ok(row.try_get_unchecked::<Option<i32>, _>(SIZE)?.unwrap_or(0).into())
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
