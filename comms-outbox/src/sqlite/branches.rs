//! What an operator does with destinations that are not at their relay's position.

use std::time::Duration;

use comms_core::Error;
use sqlx::{Row as _, SqliteConnection};

use super::Tables;
use crate::{Branch, sql_error};

const BRANCHES: &str = "
SELECT topic, error_kind, error, since FROM comms_outbox_branch WHERE relay = $1 ORDER BY topic";

/// The token moves, so that a running relay begins anew with what is written here. $2 a JSON array.
const COVER: &str = "
UPDATE comms_outbox_cursor
SET covers = (SELECT json_group_array(value) FROM json_each($2)
              WHERE covers IS NULL OR value IN (SELECT value FROM json_each(covers))),
    token = hex(randomblob(16))
WHERE relay = $1";

const DROP: &str = "
DELETE FROM comms_outbox_branch WHERE relay = $1 AND topic NOT IN (SELECT value FROM json_each($2))";

impl Tables {
    /// The destinations that `relay` delivers apart from the others, by name.
    ///
    /// # Errors
    /// Those of the database, see [`sql_error`].
    pub async fn branches(&self, conn: &mut SqliteConnection, relay: &str) -> Result<Vec<Branch>, Error> {
        let rows = sqlx::query(BRANCHES).bind(relay).fetch_all(conn).await.map_err(sql_error)?;
        let branch = |row: &sqlx::sqlite::SqliteRow| {
            Ok(Branch {
                destination: row.try_get("topic")?,
                error_kind: row.try_get("error_kind")?,
                error: row.try_get("error")?,
                since: u64::try_from(row.try_get::<i64, _>("since")?)
                    .map_or(Duration::ZERO, Duration::from_millis),
            })
        };
        rows.iter().map(branch).collect::<Result<_, _>>().map_err(sql_error)
    }

    /// Declares that `relay` stands for no other destination than `destinations` from now on: rows for others are
    /// not delivered by it any more, whether or not they were. For a destination that was removed, renamed or moved
    /// to another relay, once its rows are delivered. Call it in a transaction: it is two statements.
    ///
    /// A destination that the relay did not stand for before is not added: a process that names it does that. A process
    /// that names no destinations stands for all of them, so it begins with the oldest row of every other one again.
    ///
    /// # Errors
    /// Those of the database, see [`sql_error`].
    pub async fn cover_only(
        &self,
        conn: &mut SqliteConnection,
        relay: &str,
        destinations: &[&str],
    ) -> Result<(), Error> {
        let destinations = serde_json::to_string(destinations).map_err(Error::internal)?;
        for text in [COVER, DROP] {
            sqlx::query(text).bind(relay).bind(&destinations).execute(&mut *conn).await.map_err(sql_error)?;
        }
        Ok(())
    }
}
