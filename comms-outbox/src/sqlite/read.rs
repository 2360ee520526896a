//! Reading what was committed since an id: one writer at a time makes ids visible in their order.

use comms_core::Error;
use sqlx::SqlitePool;

use super::row;
use crate::{
    relay::{Page, Position},
    sql_error,
};

const LAST: &str = "SELECT coalesce(max(id), 0) FROM comms_outbox";

/// $4 topics as a JSON array, or NULL.
const PAGE: &str = "
SELECT id, source, msg_id, topic, key, headers, payload,
       CAST(unixepoch('subsec') * 1000 AS INTEGER) - created_at AS age
FROM comms_outbox
WHERE id > $1 AND id <= $2 AND ($4 IS NULL OR topic IN (SELECT value FROM json_each($4)))
ORDER BY id LIMIT $3";

/// The next page after `from`, and where reading stands once it is done. The last id is asked first, so that
/// rows for others are left behind for good.
pub(super) async fn read(
    pool: &SqlitePool,
    from: &Position,
    topics: Option<&[String]>,
    limit: i64,
) -> Result<Page, Error> {
    let mut conn = pool.acquire().await.map_err(sql_error)?;
    let last: i64 = sqlx::query_scalar(LAST).fetch_one(&mut *conn).await.map_err(sql_error)?;
    if last <= from.last_id {
        return Ok(Page { rows: Vec::new(), after: from.clone() });
    }
    let topics = topics.map(serde_json::to_string).transpose().map_err(Error::invalid)?;
    let rows = sqlx::query(PAGE)
        .bind(from.last_id)
        .bind(last)
        .bind(limit)
        .bind(topics)
        .fetch_all(&mut *conn)
        .await
        .map_err(sql_error)?;
    drop(conn);
    let rows = rows.iter().map(row::decode).collect::<Result<Vec<_>, _>>()?;
    let full = i64::try_from(rows.len()).is_ok_and(|n| n == limit);
    let last_id = rows.last().filter(|_| full).map_or(last, |row| row.id);
    Ok(Page { rows, after: Position { last_id, ..Position::default() } })
}
