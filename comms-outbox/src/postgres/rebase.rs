//! Rebases outbox and event store whose rows come from another server (dump and restore, `pg_upgrade`, logical replication). Its
//! rows and cursors name transactions that this server does not have.

use comms_core::Error;
use sqlx::{PgPool, Row as _};

use super::{Tables, unit};
use crate::{commit_error, relay::Log, sql_error};

/// The most rows that one transaction rewrites.
const PAGE: i64 = 5_000;

/// Whether there are cursors or rows of another server: a cursor with another system identifier, or a cursor or a row
/// that names transactions which this server has not begun.
const FOREIGN: &str = "
SELECT EXISTS (SELECT FROM {s}.comms_outbox_cursor c, pg_control_system() k
               WHERE c.system_identifier <> k.system_identifier
                  OR pg_snapshot_xmax(c.snap) > pg_snapshot_xmax(pg_current_snapshot())) AS cursors,
       EXISTS (SELECT FROM {s}.{log} WHERE xid >= pg_snapshot_xmax(pg_current_snapshot())) AS rows";

/// Sets the sequence of the ids behind the highest id: logical replication copies rows, and not their sequences.
const SEQUENCE: &str = "
SELECT setval(seq, last)
FROM (SELECT pg_get_serial_sequence('{s}.{log}', 'id')::regclass AS seq, max(id) AS last FROM {s}.{log}) l
WHERE last > coalesce(pg_sequence_last_value(seq), 0)";

/// Every row gets the transaction id 3, which is older than all others. The window from `3:3:` to `4:4:` contains
/// exactly these rows, and is read by id like any other. A cursor begins in it before the first row that the relay had
/// not delivered, so rows that it had delivered after that are delivered again. A cursor of this server begins at the
/// oldest row.
/// The system identifier is set last. Until then relays refuse to start, and an interrupted call can be repeated.
const CURSORS: &str = "
LOCK TABLE {s}.comms_outbox_cursor, {s}.comms_outbox_branch IN EXCLUSIVE MODE;
DELETE FROM {s}.comms_outbox_guard;
UPDATE {s}.comms_outbox_branch b
SET last_id = coalesce(
        (SELECT min(o.id) - 1 FROM {s}.{log} o
         WHERE o.topic = b.topic AND NOT pg_visible_in_snapshot(o.xid, b.snap)
           AND NOT (b.win IS NOT NULL AND pg_visible_in_snapshot(o.xid, b.win) AND o.id <= b.last_id)),
        (SELECT max(o.id) FROM {s}.{log} o), 0),
    snap = '3:3:', win = '4:4:'
WHERE b.win::text IS DISTINCT FROM '4:4:' AND starts_with(b.relay, 'projection:') = ('{log}' = 'comms_event');
UPDATE {s}.comms_outbox_cursor c
SET last_id = coalesce(
        (SELECT min(o.id) - 1 FROM {s}.{log} o
         WHERE NOT pg_visible_in_snapshot(o.xid, c.snap)
           AND NOT (c.win IS NOT NULL AND pg_visible_in_snapshot(o.xid, c.win) AND o.id <= c.last_id)),
        (SELECT max(o.id) FROM {s}.{log} o), 0),
    snap = '3:3:', win = '4:4:', token = gen_random_uuid(), lease_until = clock_timestamp(),
    system_identifier = 0
WHERE c.system_identifier <> 0 AND c.win::text IS DISTINCT FROM '4:4:'
  AND starts_with(c.relay, 'projection:') = ('{log}' = 'comms_event')";

/// $1 the last id of the page before, $2 the most rows, $3 the transaction id, $4 whether every row gets it.
const ROWS: &str = "
WITH page AS MATERIALIZED (SELECT id FROM {s}.{log} WHERE id > $1 ORDER BY id LIMIT $2),
changed AS (
    UPDATE {s}.{log} o SET xid = $3::text::xid8 FROM page
    WHERE o.id = page.id AND o.xid <> $3::text::xid8 AND ($4 OR o.xid >= pg_snapshot_xmax(pg_current_snapshot()))
    RETURNING 1
)
SELECT max(id) AS last, (SELECT count(*) FROM changed) AS changed FROM page";

const DONE: &str = "UPDATE {s}.comms_outbox_cursor
SET system_identifier = (SELECT system_identifier FROM pg_control_system()) WHERE system_identifier = 0";

impl Tables {
    /// Makes an outbox and an event store usable whose rows were written by another server, and sets the sequences of their
    /// ids behind the highest id. Changes nothing else if there are no such rows or cursors.
    ///
    /// Call it after a switch-over to the target of logical replication, which does not copy sequences.
    ///
    /// Stop writers and relays before the call: rows that are written meanwhile may be treated as delivered. Each table
    /// is rewritten in pages of 5,000 rows, each in a separate transaction. Repeat the call if it was interrupted.
    /// Afterwards every undelivered row is delivered, and some delivered rows are delivered again.
    ///
    /// # Errors
    /// Returns an error of the kind that [`sql_error`] lists if a statement fails, or that [`commit_error`] lists if a
    /// commit fails.
    pub async fn rebase(&self, pool: &PgPool) -> Result<(), Error> {
        let logs = [Log::Outbox, Log::Events].map(|log| self.reading(log));
        let (mut cursors, mut rows) = (false, [false; 2]);
        for (log, rows) in logs.iter().zip(&mut rows) {
            sqlx::raw_sql(log.sql(SEQUENCE)).execute(pool).await.map_err(sql_error)?;
            let found = sqlx::raw_sql(log.sql(FOREIGN)).fetch_one(pool).await.map_err(sql_error)?;
            let column = |name| found.try_get::<bool, _>(name).map_err(sql_error);
            cursors |= column("cursors")?;
            *rows = column("rows")?;
        }
        if !cursors {
            // The cursors belong to this server and do not cover these rows, so the rows are read as new ones.
            for (log, _) in logs.iter().zip(rows).filter(|(_, found)| *found) {
                log.rewrite(pool, None).await?;
            }
            return Ok(());
        }
        let mut tx = unit::begin(pool).await?;
        for log in &logs {
            sqlx::raw_sql(log.sql(CURSORS)).execute(&mut *tx).await.map_err(sql_error)?;
        }
        tx.commit().await.map_err(commit_error)?;
        for log in &logs {
            log.rewrite(pool, Some("3")).await?;
        }
        sqlx::raw_sql(self.sql(DONE)).execute(pool).await.map(drop).map_err(sql_error)
    }

    /// Gives all rows the transaction id `xid`. If it is `None`, gives rows from another server the id of the
    /// transaction that rewrites them.
    async fn rewrite(&self, pool: &PgPool, xid: Option<&str>) -> Result<(), Error> {
        let mut last = 0_i64;
        loop {
            let mut tx = unit::begin(pool).await?;
            let own = sqlx::query_scalar::<_, String>("SELECT pg_current_xact_id()::text").persistent(false);
            let own = own.fetch_one(&mut *tx).await.map_err(sql_error)?;
            let row = self
                .unnamed_query(ROWS)
                .bind(last)
                .bind(PAGE)
                .bind(xid.unwrap_or(&own))
                .bind(xid.is_some())
                .fetch_one(&mut *tx)
                .await
                .map_err(sql_error)?;
            let columns = || Ok((row.try_get("last")?, row.try_get("changed")?));
            let (end, changed): (Option<i64>, i64) = columns().map_err(sql_error)?;
            tx.commit().await.map_err(commit_error)?;
            let Some(end) = end else { return Ok(()) };
            last = end;
            tracing::info!(schema = %self.schema, last, changed, "outbox rows rebased");
        }
    }
}
