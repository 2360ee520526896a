//! Takes the lease of a relay, after checks of the server.

use std::sync::Arc;

use comms_core::Error;
use sqlx::{PgConnection, PgPool, Row as _, postgres::PgRow};

use super::{Tables, unit};
use crate::{
    branch::hold_reason,
    commit_error,
    relay::{Lease, LeaseRequest, Position, Start, StoredBranch},
    sql_error,
};

/// Planner statistics for the outbox are usually stale, so force index scans.
pub(super) const BEGIN: &str = "BEGIN; SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off";

const CHECK: &str = "
SELECT pg_is_in_recovery() AS standby,
    (SELECT relpersistence = 'u' FROM pg_class WHERE oid = to_regclass($1 || '.comms_outbox_guard')) AS unlogged,
    EXISTS (SELECT FROM {s}.{log} WHERE xid >= pg_snapshot_xmax(pg_current_snapshot()))
    OR EXISTS (SELECT FROM {s}.comms_outbox_cursor
               WHERE relay = $2 AND pg_snapshot_xmax(snap) > pg_snapshot_xmax(pg_current_snapshot())) AS future";

/// A lease that ends later than now plus its length was written by a wrong clock, and may be taken. One second is
/// allowed for a clock that is being corrected.
/// A new relay begins with `3:3:`, the least snapshot, in which nothing is visible, so that it reads from the oldest
/// row. If $5 is true, it begins with the current snapshot. Both are stored in the transaction that takes the lease;
/// after a crash in between, the relay would begin at the other position.
const ACQUIRE: &str = "
INSERT INTO {s}.comms_outbox_cursor AS c
    (relay, snap, last_id, token, owner, lease, lease_until, system_identifier, covers)
SELECT $1, CASE WHEN $5 THEN pg_current_snapshot() ELSE '3:3:' END, 0, gen_random_uuid(), $2,
    l.lease, clock_timestamp() + l.lease, system_identifier, $4::text[]
FROM pg_control_system(), (SELECT $3 * interval '1 millisecond' AS lease) l
ON CONFLICT (relay) DO UPDATE
SET token = gen_random_uuid(), owner = excluded.owner, lease = excluded.lease,
    lease_until = excluded.lease_until
WHERE c.owner = excluded.owner OR c.lease_until <= clock_timestamp()
    OR c.lease_until > clock_timestamp() + c.lease + interval '1 s'
RETURNING token::text AS token, snap::text AS snap, win::text AS win, last_id, covers, system_identifier,
    (SELECT system_identifier FROM pg_control_system()) AS cluster";

/// The guard of the session, see [`read`](super::read).
const GUARD: &str = "
INSERT INTO {s}.comms_outbox_guard (relay, token) VALUES ($1, $2::text::uuid)
ON CONFLICT (relay) DO UPDATE SET token = excluded.token";

const BRANCHES: &str = "
SELECT topic, snap::text AS snap, win::text AS win, last_id, error_kind, error
FROM {s}.comms_outbox_branch WHERE relay = $1 ORDER BY topic";

pub(super) async fn acquire(
    pool: &PgPool,
    tables: &Tables,
    request: &LeaseRequest<'_>,
) -> Result<Option<Lease>, Error> {
    let relay = request.relay;
    let mut tx = unit::begin_with(pool, BEGIN).await?;
    tables.check(&mut tx).await?;
    check(&mut tx, tables, relay).await?;
    let row = tables
        .unnamed_query(ACQUIRE)
        .bind(relay)
        .bind(request.owner)
        .bind(request.lease.as_secs_f64() * 1e3)
        .bind(request.covers)
        .bind(request.start == Start::Now)
        .fetch_optional(&mut *tx)
        .await
        .map_err(sql_error)?;
    let Some(row) = row else { return Ok(None) };
    let mut granted = granted(&row, relay)?;
    let guard = tables.unnamed_query(GUARD).bind(relay).bind(&granted.token);
    guard.execute(&mut *tx).await.map_err(sql_error)?;
    let branches = tables.unnamed_query(BRANCHES).bind(relay).fetch_all(&mut *tx).await;
    granted.branches =
        branches.map_err(sql_error)?.iter().map(branch).collect::<Result<_, _>>().map_err(sql_error)?;
    tx.commit().await.map_err(commit_error)?;
    Ok(Some(granted))
}

async fn check(conn: &mut PgConnection, tables: &Tables, relay: &str) -> Result<(), Error> {
    let row = tables.unnamed_query(CHECK).bind(format!("\"{}\"", tables.schema)).bind(relay);
    let row = row.fetch_one(conn).await.map_err(sql_error)?;
    let column = |name| row.try_get::<Option<bool>, _>(name).map(|b| b == Some(true)).map_err(sql_error);
    if column("standby")? {
        // A snapshot of a standby does not list the transactions that are in progress on the primary.
        return Err(Error::not_executed("this server is a standby: a relay reads on the primary only"));
    }
    if !column("unlogged")? {
        return Err(Error::misconfigured(format!(
            "{}.comms_outbox_guard is not an unlogged table: the relay would not notice a crash of the server and \
             could lose messages. Run: ALTER TABLE {}.comms_outbox_guard SET UNLOGGED",
            tables.schema, tables.schema
        )));
    }
    if column("future")? {
        return Err(foreign(
            "rows or the cursor name transactions that this server has not begun, so they come from \
             another server",
        ));
    }
    Ok(())
}

/// An outbox with data of another server.
fn foreign(reason: &str) -> Error {
    Error::misconfigured(format!(
        "{reason}. Stop the writers and relays, call Tables::rebase, and start again"
    ))
}

fn granted(row: &PgRow, relay: &str) -> Result<Lease, Error> {
    let columns = || Ok((row.try_get("system_identifier")?, row.try_get("cluster")?));
    let (stored, cluster): (i64, i64) = columns().map_err(sql_error)?;
    if stored != cluster {
        return Err(foreign(&format!(
            "the cursor of relay {relay} was written in database cluster {stored}, and this is cluster {cluster}"
        )));
    }
    let lease = || -> Result<Lease, sqlx::Error> {
        Ok(Lease {
            token: row.try_get("token")?,
            position: position(row)?,
            covers: row.try_get("covers")?,
            branches: Vec::new(),
        })
    };
    lease().map_err(sql_error)
}

fn position(row: &PgRow) -> Result<Position, sqlx::Error> {
    Ok(Position {
        snapshot: row.try_get::<&str, _>("snap")?.into(),
        window: row.try_get::<Option<&str>, _>("win")?.map(Arc::from),
        last_id: row.try_get("last_id")?,
    })
}

fn branch(row: &PgRow) -> Result<StoredBranch, sqlx::Error> {
    let held = hold_reason(row.try_get("error_kind")?, row.try_get("error")?);
    Ok(StoredBranch { topic: row.try_get::<&str, _>("topic")?.into(), position: position(row)?, held })
}
