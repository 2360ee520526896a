//! Writes parked rows, branches and covered topics, in one transaction with a relay's position.

use sqlx::PgConnection;

use super::Tables;
use crate::relay::{Changes, RowToPark};

const COVERS: &str = "UPDATE {s}.comms_outbox_cursor SET covers = $2 WHERE relay = $1";

const BRANCH: &str = "
INSERT INTO {s}.comms_outbox_branch AS b (relay, topic, snap, win, last_id, error_kind, error)
SELECT $1, t.topic, t.snap::pg_snapshot, t.win::pg_snapshot, t.last_id, t.kind, t.error
FROM unnest($2::text[], $3::text[], $4::text[], $5::bigint[], $6::text[], $7::text[])
     AS t (topic, snap, win, last_id, kind, error)
ON CONFLICT (relay, topic) DO UPDATE
SET snap = excluded.snap, win = excluded.win, last_id = excluded.last_id, error_kind = excluded.error_kind,
    error = excluded.error,
    since = CASE WHEN (b.error IS NULL) = (excluded.error IS NULL) THEN b.since ELSE now() END";

const JOIN: &str = "DELETE FROM {s}.comms_outbox_branch WHERE relay = $1 AND topic = ANY ($2)";

const PARK: &str = "
INSERT INTO {s}.comms_outbox_parked (relay, outbox_id, topic, key, attempts, error_kind, error, state, retry_at)
SELECT $1, t.id, t.topic, t.key, t.attempts, t.kind, t.error,
    CASE WHEN t.hold IS NULL THEN 'parked' ELSE 'held' END,
    clock_timestamp() + t.hold * interval '1 millisecond'
FROM unnest($2::bigint[], $3::text[], $4::bytea[], $5::integer[], $6::text[], $7::text[], $8::float8[])
     AS t (id, topic, key, attempts, kind, error, hold)
ON CONFLICT DO NOTHING";

/// Rows that were parked behind a row while it was released are released too.
const FOLLOW: &str = "
UPDATE {s}.comms_outbox_parked p SET state = 'released'
FROM (SELECT DISTINCT topic, key FROM {s}.comms_outbox_parked WHERE relay = $1 AND outbox_id = ANY ($2)) d
WHERE p.relay = $1 AND p.topic = d.topic AND p.key = d.key AND p.state = 'parked'";

const UNPARK: &str = "DELETE FROM {s}.comms_outbox_parked WHERE relay = $1 AND outbox_id = ANY ($2)";

/// The row that failed again gets the reason. The other released rows of its lane are parked again.
const REPARK: &str = "
UPDATE {s}.comms_outbox_parked SET
    state = CASE WHEN outbox_id = $2 AND $8::float8 IS NOT NULL THEN 'held' ELSE 'parked' END,
    attempts = CASE WHEN outbox_id = $2 THEN attempts + $5 ELSE attempts END,
    error_kind = CASE WHEN outbox_id = $2 THEN $6 ELSE error_kind END,
    error = CASE WHEN outbox_id = $2 THEN $7 ELSE error END,
    retry_at = CASE WHEN outbox_id = $2 THEN clock_timestamp() + $8::float8 * interval '1 millisecond' END
WHERE relay = $1 AND (outbox_id = $2 OR (topic = $3 AND key = $4 AND state = 'released'))";

/// Writes `changes` in the transaction that has locked the cursor's row.
pub(super) async fn save(
    conn: &mut PgConnection,
    tables: &Tables,
    relay: &str,
    changes: &Changes,
) -> Result<(), sqlx::Error> {
    if let Some(covers) = &changes.covers {
        tables.unnamed_query(COVERS).bind(relay).bind(covers.as_deref()).execute(&mut *conn).await?;
    }
    // Before the branches: a topic that joined may have got a new branch since.
    if !changes.joined.is_empty() {
        let joined: Vec<_> = changes.joined.iter().map(|topic| &**topic).collect();
        tables.unnamed_query(JOIN).bind(relay).bind(joined).execute(&mut *conn).await?;
    }
    if !changes.branches.is_empty() {
        let rows = &changes.branches;
        tables
            .unnamed_query(BRANCH)
            .bind(relay)
            .bind(rows.iter().map(|b| &*b.topic).collect::<Vec<_>>())
            .bind(rows.iter().map(|b| &*b.position.snapshot).collect::<Vec<_>>())
            .bind(rows.iter().map(|b| b.position.window.as_deref()).collect::<Vec<_>>())
            .bind(rows.iter().map(|b| b.position.last_id).collect::<Vec<_>>())
            .bind(rows.iter().map(|b| b.held.as_ref().map(|h| h.0.as_str())).collect::<Vec<_>>())
            .bind(rows.iter().map(|b| b.held.as_ref().map(|h| &*h.1)).collect::<Vec<_>>())
            .execute(&mut *conn)
            .await?;
    }
    save_parked(conn, tables, relay, changes).await
}

async fn save_parked(
    conn: &mut PgConnection,
    tables: &Tables,
    relay: &str,
    changes: &Changes,
) -> Result<(), sqlx::Error> {
    if !changes.park.is_empty() {
        let rows = &changes.park;
        tables
            .unnamed_query(PARK)
            .bind(relay)
            .bind(rows.iter().map(|p| p.outbox_id).collect::<Vec<_>>())
            .bind(rows.iter().map(|p| &*p.topic).collect::<Vec<_>>())
            .bind(rows.iter().map(|p| p.key.as_deref()).collect::<Vec<_>>())
            .bind(rows.iter().map(attempts).collect::<Vec<_>>())
            .bind(rows.iter().map(|p| p.refusal.kind.map(|k| k.as_str())).collect::<Vec<_>>())
            .bind(rows.iter().map(|p| &*p.refusal.reason).collect::<Vec<_>>())
            .bind(rows.iter().map(hold).collect::<Vec<_>>())
            .execute(&mut *conn)
            .await?;
    }
    if !changes.unpark.is_empty() {
        for text in [FOLLOW, UNPARK] {
            tables.unnamed_query(text).bind(relay).bind(&changes.unpark).execute(&mut *conn).await?;
        }
    }
    for row in &changes.repark {
        tables
            .unnamed_query(REPARK)
            .bind(relay)
            .bind(row.outbox_id)
            .bind(&*row.topic)
            .bind(row.key.as_deref())
            .bind(attempts(row))
            .bind(row.refusal.kind.map(|k| k.as_str()))
            .bind(&*row.refusal.reason)
            .bind(hold(row))
            .execute(&mut *conn)
            .await?;
    }
    Ok(())
}

fn attempts(row: &RowToPark) -> i32 {
    i32::try_from(row.refusal.attempts).unwrap_or(i32::MAX)
}

/// Returns how long to hold the row, in milliseconds; `None`: until it is released.
fn hold(row: &RowToPark) -> Option<f64> {
    row.refusal.hold.map(|hold| hold.as_secs_f64() * 1e3)
}
