//! After a dump was restored into another cluster: cursors are snapshots of transactions that are not there.

use comms_core::Error;
use sqlx::PgPool;

use super::{Tables, tables::render, unit};
use crate::{commit_error, sql_error};

/// Every restored row gets the one transaction id that is older than all; the window that holds exactly them
/// is (`3:3:`, `4:4:`), and it is paged by id like any other. A cursor begins in it before the first row that
/// it had not delivered, so some that it had come again.
const REBASE: &str = "
LOCK TABLE {s}.comms_outbox, {s}.comms_outbox_cursor IN EXCLUSIVE MODE;
UPDATE {s}.comms_outbox_cursor c
SET last_id = coalesce(
        (SELECT min(o.id) - 1 FROM {s}.comms_outbox o
         WHERE NOT pg_visible_in_snapshot(o.xid, c.snap)
           AND NOT (c.win IS NOT NULL AND pg_visible_in_snapshot(o.xid, c.win) AND o.id <= c.last_id)),
        (SELECT max(o.id) FROM {s}.comms_outbox o), 0),
    snap = '3:3:', win = '4:4:', epoch = epoch + 1, lease_until = clock_timestamp(),
    system_identifier = (SELECT system_identifier FROM pg_control_system())
WHERE EXISTS (SELECT FROM pg_control_system() k WHERE k.system_identifier <> c.system_identifier);
UPDATE {s}.comms_outbox SET xid = '3' WHERE xid <> '3'";

impl Tables {
    /// Makes the cursors of a restored dump usable in this cluster. Writers and relays must be stopped: rows
    /// written here before the call may be taken for delivered. Rewrites every row of the outbox. Does
    /// nothing where no cursor is of another cluster.
    ///
    /// # Errors
    /// The database's.
    pub async fn rebase(&self, pool: &PgPool) -> Result<(), Error> {
        let mut tx = unit::begin(pool).await?;
        let foreign = "SELECT EXISTS (SELECT FROM {s}.comms_outbox_cursor c, pg_control_system() k
                       WHERE c.system_identifier <> k.system_identifier)";
        let foreign = sqlx::query_scalar(render(&self.schema, foreign)).fetch_one(&mut *tx);
        if foreign.await.map_err(sql_error)? {
            let rebase = sqlx::raw_sql(render(&self.schema, REBASE));
            rebase.execute(&mut *tx).await.map_err(sql_error)?;
        }
        tx.commit().await.map_err(commit_error)
    }
}
