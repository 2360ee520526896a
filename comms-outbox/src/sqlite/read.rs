//! Reads the rows that were committed since the last read. SQLite has one writer, so ids become visible in their order.

use std::time::Duration;

use comms_core::Error;
use sqlx::{AssertSqlSafe, Row as _, SqlSafeStr, SqlStr, SqlitePool, sqlite::SqliteRow};

use super::row;
use crate::{
    relay::{Log, Page, Position, Query, RecordedAt, Row, RowBuffer, column},
    sql_error,
};

/// The most ids that one page covers.
const SPAN: i64 = 5_000;

/// Whether the session still has the lease, and the last id. $1 relay, $2 token.
const LAST_ID: &str = "
SELECT EXISTS (SELECT 1 FROM comms_outbox_cursor WHERE relay = $1 AND token = $2) AS same,
       (SELECT coalesce(max(id), 0) FROM {log}) AS last";

/// $1 and $2 ids, $3 only these topics as a JSON array or NULL, $4 none of these topics as a JSON array, $5 most rows,
/// $6 most bytes. The sizes are summed before the values of the rows are read; `length` of a blob does not read the
/// value.
const PAGE: &str = "
SELECT o.id, source, msg_id, topic, key, headers, payload, bytes,
       CAST(unixepoch('subsec') * 1000 AS INTEGER) - created_at AS age{more}
FROM (
    SELECT id, before + size AS bytes
    FROM (
        SELECT id, size, sum(size) OVER (ORDER BY id ROWS UNBOUNDED PRECEDING) - size AS before
        FROM (
            SELECT id, coalesce(length(payload), 0) + length(headers) + coalesce(length(key), 0)
                       + length(source) + length(msg_id) + length(topic) AS size
            FROM {log}
            WHERE id > $1 AND id <= $2 AND ($3 IS NULL OR topic IN (SELECT value FROM json_each($3)))
              AND topic NOT IN (SELECT value FROM json_each($4))
            ORDER BY id LIMIT $5
        )
    ) WHERE before < $6
) p JOIN {log} o ON o.id = p.id
ORDER BY o.id";

const BYTES: usize = column::NEXT;
const AGE: usize = BYTES + 1;
const VERSION: usize = AGE + 1;
const MILLIS: usize = VERSION + 1;

/// The statements for one log.
#[derive(Debug)]
pub(super) struct Statements {
    last_id: SqlStr,
    page: SqlStr,
    log: Log,
}

impl Statements {
    pub(super) fn new(log: Log) -> Self {
        let more = if log == Log::Events { ", version, created_at" } else { "" };
        let of = |text: &str| {
            AssertSqlSafe(text.replace("{log}", log.table()).replace("{more}", more)).into_sql_str()
        };
        Self { last_id: of(LAST_ID), page: of(PAGE), log }
    }
}

/// Reads the next page of `query`. Returns `None` if the session has ended.
pub(super) async fn read(
    pool: &SqlitePool,
    statements: &Statements,
    query: Query,
) -> Result<Option<Page>, Error> {
    let mut conn = pool.acquire().await.map_err(sql_error)?;
    let row = sqlx::query(statements.last_id.clone())
        .bind(&*query.relay)
        .bind(&query.token)
        .fetch_one(&mut *conn)
        .await;
    let row = row.map_err(sql_error)?;
    let (same, last): (bool, i64) =
        (|| Ok((row.try_get("same")?, row.try_get("last")?)))().map_err(sql_error)?;
    if !same {
        return Ok(None);
    }
    let from = query.from.last_id;
    // The rows up to this id may be deleted by now.
    let end = query.up_to.map_or(last, |upto| upto.last_id);
    if end <= from {
        return Ok(Some(Page::empty(query.from)));
    }
    let stop = end.min(from + SPAN);
    let json = |topics: &[String]| serde_json::to_string(topics).map_err(Error::internal);
    let rows = sqlx::query(statements.page.clone())
        .bind(from)
        .bind(stop)
        .bind(query.filter.only.as_deref().map(json).transpose()?)
        .bind(json(&query.filter.except)?)
        .bind(query.max_rows)
        .bind(query.max_bytes)
        .fetch_all(&mut *conn)
        .await
        .map_err(sql_error)?;
    drop(conn);
    let recorded = match statements.log {
        Log::Outbox => Vec::new(),
        Log::Events => rows.iter().map(recorded_at).collect::<Result<_, _>>().map_err(sql_error)?,
    };
    let (rows, bytes, oldest) = decode(&rows).map_err(sql_error)?;
    let filled = bytes >= query.max_bytes || i64::try_from(rows.len()).is_ok_and(|n| n >= query.max_rows);
    let last_id = rows.last().filter(|_| filled).map_or(stop, |row| row.id);
    Ok(Some(Page {
        rows,
        recorded,
        age: u64::try_from(oldest).map_or(Duration::ZERO, Duration::from_millis),
        within: Position::default(),
        after: Position { last_id, ..Position::default() },
        scan: None,
        more: last_id < end,
    }))
}

fn recorded_at(row: &SqliteRow) -> Result<RecordedAt, sqlx::Error> {
    let millis: i64 = row.try_get(MILLIS)?;
    Ok(RecordedAt { version: row.try_get(VERSION)?, micros: millis.saturating_mul(1_000) })
}

/// Returns the rows, the sum of their sizes, and the age of the oldest in milliseconds.
fn decode(rows: &[SqliteRow]) -> Result<(Vec<Row>, i64, i64), sqlx::Error> {
    let bytes = rows.last().map_or(Ok(0), |row| row.try_get(BYTES))?;
    let (mut buffer, mut oldest) = (RowBuffer::new(usize::try_from(bytes).unwrap_or(0)), 0);
    let mut decoded = Vec::with_capacity(rows.len());
    for row in rows {
        oldest = oldest.max(row.try_get(AGE)?);
        decoded.push(row::decode(row, &mut buffer)?);
    }
    Ok((decoded, bytes, oldest))
}
