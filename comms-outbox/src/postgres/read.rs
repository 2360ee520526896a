//! Reading what was committed since a snapshot: no loss, no stall.
//!
//! The cursor is a snapshot A whose rows are all done. A read takes the current snapshot B; the rows that are
//! visible in B and not in A are the *window*, a set that never changes again, delivered in the order of their
//! ids, page by page. So a row that commits late is in a later window however old it is; and of two
//! transactions that follow one another the first is never in a later window than the second.
//!
//! Two indexes keep this cheap however long the table is. New transactions (`xid >= xmax(A)`) are a range of
//! `(xid, id)`, read once per window for its bounds; their rows are then paged by `id` between the bounds.
//! Transactions that were open in A are few, and each is paged on its own. The two conditions in one `OR`, or
//! conditions on `xid` while paging by `id`, make the planner read the whole window again for every page.

use comms_core::Error;
use sqlx::{PgConnection, PgPool, Row};

use super::{Tables, row, unit};
use crate::{
    relay::{Page, Position},
    sql_error,
};

/// Statistics of an outbox are of the past: it was empty a second ago. No plan may rest on them.
const BEGIN: &str = "BEGIN READ ONLY; SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off;
    SET LOCAL jit = off";

/// $1 A, $2 B or NULL for now. Reads the index alone, about half a microsecond a row. Counted, or the planner
/// answers min(id) by walking the primary key from its very beginning.
pub(super) const WINDOW: &str = "
WITH w AS MATERIALIZED (
    SELECT $1::text::pg_snapshot AS a, coalesce($2::text::pg_snapshot, pg_current_snapshot()) AS b
)
SELECT w.b::text AS b, new.n > 0 OR late.any AS found, coalesce(new.lo, 0) AS lo, coalesce(new.hi, 0) AS hi
FROM w,
LATERAL (
    SELECT count(*) AS n, min(id) AS lo, max(id) AS hi FROM {s}.comms_outbox
    WHERE xid >= pg_snapshot_xmax(w.a) AND xid < pg_snapshot_xmax(w.b) AND pg_visible_in_snapshot(xid, w.b)
) new,
LATERAL (
    SELECT EXISTS (
        SELECT FROM {s}.comms_outbox
        WHERE xid = ANY (ARRAY(SELECT x FROM pg_snapshot_xip(w.a) x WHERE pg_visible_in_snapshot(x, w.b)))
    ) AS any
) late";

/// $1 A, $2 B, $3 topics or NULL, $4 the last id done, $5 and $6 the bounds, $7 the size of the page.
pub(super) const PAGE: &str = "
WITH w AS MATERIALIZED (
    SELECT $1::text::pg_snapshot AS a, $2::text::pg_snapshot AS b,
        ARRAY(SELECT x FROM pg_snapshot_xip($1::text::pg_snapshot) x
              WHERE pg_visible_in_snapshot(x, $2::text::pg_snapshot)) AS late
)
SELECT id, source, msg_id, topic, key, headers, payload,
       extract(epoch FROM clock_timestamp() - created_at)::float8 AS age
FROM (
    (SELECT o.* FROM {s}.comms_outbox o
     WHERE id > greatest($4::bigint, $5::bigint - 1) AND id <= $6::bigint
       AND pg_visible_in_snapshot(xid, (SELECT b FROM w))
       AND NOT pg_visible_in_snapshot(xid, (SELECT a FROM w))
       AND xid <> ALL ((SELECT late FROM w)::xid8[])
       AND ($3::text[] IS NULL OR topic = ANY ($3))
     ORDER BY id LIMIT $7)
    UNION ALL
    (SELECT l.* FROM w, unnest(w.late) AS t (xid), LATERAL (
        SELECT o.* FROM {s}.comms_outbox o
        WHERE o.xid = t.xid AND o.id > $4::bigint AND ($3::text[] IS NULL OR topic = ANY ($3))
        ORDER BY o.xid, o.id LIMIT $7
     ) l)
) page
ORDER BY id LIMIT $7";

/// The next page after `from`, and where reading stands once it is done.
pub(super) async fn read(
    pool: &PgPool,
    tables: &Tables,
    from: &Position,
    topics: Option<&[String]>,
    limit: i64,
) -> Result<Page, Error> {
    if from.window.is_none() {
        let now = sqlx::query_scalar("SELECT pg_current_snapshot()::text").fetch_one(pool);
        let now: String = now.await.map_err(sql_error)?;
        if now == from.snap {
            return Ok(Page { rows: Vec::new(), after: from.clone() });
        }
    }
    let mut tx = unit::begin_with(pool, BEGIN).await?;
    let page = page(&mut tx, tables, from, topics, limit).await?;
    tx.commit().await.map_err(sql_error)?;
    Ok(page)
}

async fn page(
    conn: &mut PgConnection,
    tables: &Tables,
    from: &Position,
    topics: Option<&[String]>,
    limit: i64,
) -> Result<Page, Error> {
    let (b, lo, hi) = match (&from.window, from.bounds) {
        (Some(b), Some((lo, hi))) => (b.clone(), lo, hi),
        (window, _) => {
            let row = sqlx::query(tables.sql.window.clone())
                .bind(&from.snap)
                .bind(window)
                .fetch_one(&mut *conn)
                .await
                .map_err(sql_error)?;
            let columns =
                || Ok((row.try_get("b")?, row.try_get("lo")?, row.try_get("hi")?, row.try_get("found")?));
            let (b, lo, hi, found): (String, i64, i64, bool) = columns().map_err(sql_error)?;
            if !found {
                let after = Position { snap: b, window: None, bounds: None, last_id: from.last_id };
                return Ok(Page { rows: Vec::new(), after });
            }
            (b, lo, hi)
        }
    };
    // Between windows `last_id` says only where the last one ended.
    let done = if from.window.is_some() { from.last_id } else { 0 };
    let rows = sqlx::query(tables.sql.page.clone())
        .bind(&from.snap)
        .bind(&b)
        .bind(topics)
        .bind(done)
        .bind(lo)
        .bind(hi)
        .bind(limit)
        .fetch_all(conn)
        .await
        .map_err(sql_error)?;
    let rows = rows.iter().map(row::decode).collect::<Result<Vec<_>, _>>()?;
    let last_id = rows.last().map_or(from.last_id, |row| row.id);
    let full = i64::try_from(rows.len()).is_ok_and(|n| n == limit);
    let after = if full {
        Position { snap: from.snap.clone(), window: Some(b), last_id, bounds: Some((lo, hi)) }
    } else {
        Position { snap: b, window: None, last_id, bounds: None }
    };
    Ok(Page { rows, after })
}
