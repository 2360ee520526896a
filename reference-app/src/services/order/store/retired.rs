//! Deletes the rows of revisions of the list that were replaced.

use std::time::Duration;

use comms_core::{Error, Scoped, health::Heartbeat, in_transaction};

use super::LIST;
use crate::platform::{
    db::{Db, Tx},
    service::Sweep,
};

/// The rows that one transaction deletes.
const CHUNK: i64 = 1_000;
const NEXT_REVISION: &str =
    "SELECT revision FROM {s}.orders WHERE revision > $1 AND revision < $2 ORDER BY revision LIMIT 1";
const DELETE: &str = "DELETE FROM {s}.orders WHERE revision = $1 AND order_id IN (
    SELECT order_id FROM {s}.orders WHERE revision = $1 ORDER BY order_id LIMIT $2)";

/// The rows of the revisions below the live one that no process has built for a time.
///
/// A program with an older revision may be started again. Within this time it continues with its rows, and later it builds
/// them from the first event.
pub(in crate::services::order) struct RetiredLists {
    db: Db,
    /// The revision that this program builds.
    own: u32,
    unused: Duration,
}

impl RetiredLists {
    /// Creates the sweep of revisions that no process has built for `unused`. `own` is the revision of this program.
    pub(in crate::services::order) const fn new(db: Db, own: u32, unused: Duration) -> Self {
        Self { db, own, unused }
    }

    async fn delete(&self, revision: u32, heartbeat: &Heartbeat) -> Result<(), Error> {
        loop {
            heartbeat.beat();
            let delete = async |mut tx: Scoped<Tx>| self.delete_some(&mut tx, revision).await;
            let deleted = in_transaction(&self.db, delete).await?;
            if deleted > 0 {
                tracing::info!(revision, deleted, "deleted rows of a replaced list of orders");
            }
            if deleted < CHUNK.unsigned_abs() {
                return Ok(());
            }
        }
    }

    /// Deletes at most [`CHUNK`] rows, and returns their number. A revision that is in use has none.
    async fn delete_some(&self, tx: &mut Scoped<Tx>, revision: u32) -> Result<u64, Error> {
        if !self.db.retire_revision(tx, LIST, revision, self.unused).await? {
            return Ok(0);
        }
        let deleted = tx.execute(DELETE, &[i64::from(revision).into(), CHUNK.into()]).await?;
        // A process that has begun to build the revision may have written a row that was deleted.
        match self.db.retire_revision(tx, LIST, revision, self.unused).await? {
            true => Ok(deleted),
            false => Err(Error::conflict(format!("a process builds revision {revision} of {LIST} again"))),
        }
    }
}

impl Sweep for RetiredLists {
    async fn sweep(&self, heartbeat: &Heartbeat) -> Result<(), Error> {
        let Some(live) = self.db.live_revision(LIST).await? else { return Ok(()) };
        // After a rollback from a higher revision, this program builds and reads its own.
        let used = i64::from(live.min(self.own));
        let mut after = 0;
        while let Some(row) = self.db.fetch(NEXT_REVISION, &[after.into(), used.into()]).await?.first() {
            after = row.int("revision")?;
            self.delete(u32::try_from(after).map_err(Error::internal)?, heartbeat).await?;
        }
        Ok(())
    }
}
