//! Reads the rows that were committed since the last read. SQLite has one writer, so ids become visible in their order.

use std::time::Duration;

use comms_core::Error;
use sqlx::{AssertSqlSafe, Row as _, SqlSafeStr, SqlStr, SqliteConnection, SqlitePool, sqlite::SqliteRow};

use super::row::{self, HexRow};
use crate::{
    relay::{Log, Page, Position, Query, RecordedAt, Row, RowBuffer},
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
///
/// The page is one row, because sqlx wakes the reader for each row. Its column `small` is a JSON array of arrays, the
/// columns of the rows with the bytes in hexadecimal digits. Rows of more than $7 bytes are not worth the digits: their
/// ids are in the column `large`.
const PAGE: &str = "
SELECT json_group_array(json_array(o.id, hex(source), hex(msg_id), hex(topic), iif(key IS NULL, NULL, hex(key)),
                                   hex(headers), iif(payload IS NULL, NULL, hex(payload))))
           FILTER (WHERE size <= $7) AS small,
       json_group_array(o.id) FILTER (WHERE size > $7) AS large,
       count(*) AS count, coalesce(max(o.id), 0) AS last, coalesce(max(bytes), 0) AS bytes,
       coalesce(CAST(unixepoch('subsec') * 1000 AS INTEGER) - min(created_at), 0) AS age
FROM (
    SELECT id, size, before + size AS bytes
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
) p JOIN {log} o ON o.id = p.id";

/// The most bytes of a row that is part of the JSON of a page.
const SMALL: i64 = 4_096;

/// $1 ids as a JSON array.
const LARGE: &str = "
SELECT id, source, msg_id, topic, key, headers, payload FROM {log}
WHERE id IN (SELECT value FROM json_each($1))";

/// $1 ids as a JSON array.
const RECORDED: &str = "
SELECT version, created_at FROM comms_event WHERE id IN (SELECT value FROM json_each($1)) ORDER BY id";

/// The statements for one log.
#[derive(Debug)]
pub(super) struct Statements {
    last_id: SqlStr,
    page: SqlStr,
    large: SqlStr,
    log: Log,
}

impl Statements {
    pub(super) fn new(log: Log) -> Self {
        let of = |text: &str| AssertSqlSafe(text.replace("{log}", log.table())).into_sql_str();
        Self { last_id: of(LAST_ID), page: of(PAGE), large: of(LARGE), log }
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
    let row = sqlx::query(statements.page.clone())
        .bind(from)
        .bind(stop)
        .bind(query.filter.only.as_deref().map(json).transpose()?)
        .bind(json(&query.filter.except)?)
        .bind(query.max_rows)
        .bind(query.max_bytes)
        .bind(SMALL)
        .fetch_one(&mut *conn)
        .await
        .map_err(sql_error)?;
    let number = |column| row.try_get::<i64, _>(column).map_err(sql_error);
    let bytes = number("bytes")?;
    let age = number("age")?;
    let filled = bytes >= query.max_bytes || number("count")? >= query.max_rows;
    let last_id = if filled { number("last")? } else { stop };
    let rows = rows(&mut conn, statements, &row, bytes).await?;
    let recorded = match statements.log {
        Log::Outbox => Vec::new(),
        Log::Events => recorded(&mut conn, &rows).await?,
    };
    drop(conn);
    Ok(Some(Page {
        rows,
        recorded,
        age: u64::try_from(age).map_or(Duration::ZERO, Duration::from_millis),
        within: Position::default(),
        after: Position { last_id, ..Position::default() },
        scan: None,
        more: last_id < end,
    }))
}

/// Returns the versions and times of events, in their order.
async fn recorded(conn: &mut SqliteConnection, rows: &[Row]) -> Result<Vec<RecordedAt>, Error> {
    let ids: Vec<_> = rows.iter().map(|row| row.id).collect();
    let ids = serde_json::to_string(&ids).map_err(Error::internal)?;
    let found = sqlx::query(RECORDED).bind(ids).fetch_all(conn).await.map_err(sql_error)?;
    let recorded = |row: &SqliteRow| -> Result<RecordedAt, sqlx::Error> {
        let millis: i64 = row.try_get(1)?;
        Ok(RecordedAt { version: row.try_get(0)?, micros: millis.saturating_mul(1_000) })
    };
    found.iter().map(recorded).collect::<Result<_, _>>().map_err(sql_error)
}

/// Returns the rows of a page, whose messages have `bytes` bytes, in the order of their ids.
async fn rows(
    conn: &mut SqliteConnection,
    statements: &Statements,
    page: &SqliteRow,
    bytes: i64,
) -> Result<Vec<Row>, Error> {
    let (small, large): (&str, &str) =
        (|| Ok((page.try_get("small")?, page.try_get("large")?)))().map_err(sql_error)?;
    let mut buffer = RowBuffer::new(usize::try_from(bytes).unwrap_or(0));
    let small: Vec<HexRow<'_>> = serde_json::from_str(small).map_err(Error::internal)?;
    let mut rows: Vec<_> = small.into_iter().map(|row| row::decode_hex(row, &mut buffer)).collect();
    if large != "[]" {
        let large =
            sqlx::query(statements.large.clone()).bind(large).fetch_all(conn).await.map_err(sql_error)?;
        for row in &large {
            rows.push(row::decode(row, &mut buffer).map_err(sql_error)?);
        }
    }
    // SQLite promises no order of an array.
    rows.sort_unstable_by_key(|row| row.id);
    Ok(rows)
}
