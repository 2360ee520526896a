//! Revisions of projections that no process runs any more.

use std::time::Duration;

use comms_core::Error;

use super::{Db, Tx};

/// $1 is the cursor, $2 the time since its last lease in milliseconds.
const DELETE_CURSOR_POSTGRES: &str = "DELETE FROM {s}.comms_outbox_cursor
    WHERE relay = $1 AND lease_until < now() - $2::float8 * interval '1 millisecond'";
const DELETE_CURSOR_SQLITE: &str = "DELETE FROM {s}.comms_outbox_cursor
    WHERE relay = $1 AND lease_until < CAST(unixepoch('subsec') * 1000 AS INTEGER) - $2";
const CURSOR: &str = "SELECT relay FROM {s}.comms_outbox_cursor WHERE relay = $1";
const DELETE_PARKED: &str = "DELETE FROM {s}.comms_projection_parked WHERE name = $1 AND revision = $2";

impl Db {
    /// Deletes the position of the revision `revision` of the projection `name` in `tx`, with its parked events, if no
    /// process has had its lease for `unused`. Returns whether the revision has no position.
    ///
    /// The rows of such a revision may be deleted: a process that runs the revision again begins at the first event, and
    /// writes the rows anew. A process may begin between this call and the deletion. So call this function again after the
    /// deletion, in the same transaction, and roll back if it returns `false`.
    ///
    /// # Errors
    /// Returns the kind that [`sql_error`](comms_outbox::sql_error) derives from the database's error.
    pub async fn retire_revision(
        &self,
        tx: &mut Tx,
        name: &str,
        revision: u32,
        unused: Duration,
    ) -> Result<bool, Error> {
        let cursor = format!("projection:{name}:{revision}");
        let unused = i64::try_from(unused.as_millis()).unwrap_or(i64::MAX);
        let delete = if tx.is_postgres() { DELETE_CURSOR_POSTGRES } else { DELETE_CURSOR_SQLITE };
        if tx.execute(delete, &[(&cursor).into(), unused.into()]).await? > 0 {
            tx.execute(DELETE_PARKED, &[name.into(), i64::from(revision).into()]).await?;
        }
        Ok(tx.fetch(CURSOR, &[(&cursor).into()]).await?.is_empty())
    }
}
