//! The two statements of a page, and their parameters.

use sqlx::{PgConnection, postgres::PgRow};

use crate::{
    postgres::{Tables, read::scan::is_same},
    relay::{Position, Query, column},
};

/// $1 A, $2 B, $3 and $4 ranges of ids, $5 only these topics or NULL, $6 none of these topics, $7 most rows, $8 most
/// bytes of a row, $9 relay, $10 token.
///
/// The values of a row that has more bytes are not sent. So the bytes of a page are bounded by the bound of each row, and
/// the server need not hold the rows to sum their sizes. `octet_length` of a value that is stored out of line does not read
/// the value.
///
/// No step sorts: the ranges ascend, the rows of a range come in the order of the index, and only nested loops can join
/// them. [`page`](super::page) fails if a row comes out of order. The times are sent as they are stored, without a function
/// call for each row. The snapshots are selected, because a generic plan would otherwise parse their text for each row.
///
/// Most transactions of a window are older than every transaction that was in progress when B was taken, and none of those
/// that A lists. Two comparisons find them, without a look at the lists.
const BOUNDED_ROWS: &str = "
SELECT id, CASE WHEN size <= $8 THEN source END AS source, CASE WHEN size <= $8 THEN msg_id END AS msg_id,
       CASE WHEN size <= $8 THEN topic END AS topic, CASE WHEN size <= $8 THEN key END AS key,
       CASE WHEN size <= $8 THEN headers END AS headers, CASE WHEN size <= $8 THEN payload END AS payload,
       g.same AS {log}_rows, size, statement_timestamp() AS now, created_at{more}
FROM (SELECT EXISTS (SELECT FROM {s}.comms_outbox_guard WHERE relay = $9 AND token = $10::text::uuid) AS same) g
LEFT JOIN (
    SELECT id, source, msg_id, topic, key, headers, payload, created_at{more},
           (coalesce(octet_length(payload), 0) + octet_length(headers) + coalesce(octet_length(key), 0)
            + octet_length(source) + octet_length(msg_id) + octet_length(topic)) AS size
    FROM unnest($3::bigint[], $4::bigint[]) AS r (lo, hi),
    LATERAL (
        SELECT * FROM {s}.{log} o
        WHERE id >= r.lo AND id <= r.hi
          AND (xid < (SELECT pg_snapshot_xmin($2::text::pg_snapshot))
               OR pg_visible_in_snapshot(xid, (SELECT $2::text::pg_snapshot)))
          AND (xid >= (SELECT pg_snapshot_xmax($1::text::pg_snapshot))
               OR NOT pg_visible_in_snapshot(xid, (SELECT $1::text::pg_snapshot)))
          AND ($5::text[] IS NULL OR topic = ANY ($5)) AND topic <> ALL ($6::text[])
        ORDER BY id LIMIT $7
    ) o LIMIT $7
) sized ON true";

/// As [`BOUNDED_ROWS`], but $8 are the most bytes of the page, which one row may exceed. The sizes are summed before the
/// values of the rows are sent. For that the server copies each row, which costs more than to read it.
const BOUNDED_SUM: &str = "
SELECT id, source, msg_id, topic, key, headers, payload,
       g.same AS {log}_sum, size, statement_timestamp() AS now, created_at{more}
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
              AND (xid < (SELECT pg_snapshot_xmin($2::text::pg_snapshot))
                   OR pg_visible_in_snapshot(xid, (SELECT $2::text::pg_snapshot)))
              AND (xid >= (SELECT pg_snapshot_xmax($1::text::pg_snapshot))
                   OR NOT pg_visible_in_snapshot(xid, (SELECT $1::text::pg_snapshot)))
              AND ($5::text[] IS NULL OR topic = ANY ($5)) AND topic <> ALL ($6::text[])
            ORDER BY id LIMIT $7
        ) o LIMIT $7
    ) sized
) summed ON before < $8";

pub(super) const SIZE: usize = column::NEXT + 1;
pub(super) const NOW: usize = SIZE + 1;
pub(super) const CREATED_AT: usize = NOW + 1;
pub(super) const VERSION: usize = CREATED_AT + 1;

/// Rows of a page, or one row without values if there are none.
pub(super) struct Fetched {
    pub(super) rows: Vec<PgRow>,
    /// Whether the guard exists.
    pub(super) same: bool,
}

/// How the bytes of a page are bounded.
#[derive(Debug, Clone, Copy)]
pub(super) enum Bound {
    /// Rows with more bytes come without values.
    Rows(i64),
    /// No row follows when the rows have this many bytes.
    Sum(i64),
}

/// Reads the rows of `ranges`, at most `limit`.
pub(super) async fn fetch(
    conn: &mut PgConnection,
    tables: &Tables,
    query: &Query,
    within: &Position,
    ranges: &[(i64, i64)],
    limit: i64,
    bound: Bound,
) -> Result<Fetched, sqlx::Error> {
    let (text, name, bytes) = match bound {
        Bound::Rows(bytes) => (BOUNDED_ROWS, "rows", bytes),
        Bound::Sum(bytes) => (BOUNDED_SUM, "sum", bytes),
    };
    let rows = tables
        .query(text)
        .bind(&*within.snapshot)
        .bind(within.window.as_deref())
        .bind(ranges.iter().map(|r| r.0).collect::<Vec<_>>())
        .bind(ranges.iter().map(|r| r.1).collect::<Vec<_>>())
        .bind(query.filter.only.as_deref())
        .bind(&*query.filter.except)
        .bind(limit)
        .bind(bytes)
        .bind(&*query.relay)
        .bind(&query.token)
        .fetch_all(conn)
        .await?;
    let same = rows.first().map(|row| is_same(row, tables, name)).transpose()?;
    Ok(Fetched { rows, same: same == Some(true) })
}
