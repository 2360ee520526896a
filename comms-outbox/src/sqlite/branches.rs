//! Lists the topics that are not at the position of their relay, and removes topics from a cursor, for operators.

use std::time::Duration;

use comms_core::Error;
use sqlx::{Row as _, SqliteConnection};

use super::Tables;
use crate::{Branch, sql_error};

const BRANCHES: &str = "
SELECT topic, error_kind, error, since FROM comms_outbox_branch WHERE relay = $1 ORDER BY topic";

/// The new token ends the session of a running relay, which then begins with the new list. $2 is a JSON array.
const COVER: &str = "
UPDATE comms_outbox_cursor
SET covers = (SELECT json_group_array(value) FROM json_each($2)
              WHERE covers IS NULL OR value IN (SELECT value FROM json_each(covers))),
    token = hex(randomblob(16))
WHERE relay = $1";

const DROP: &str = "
DELETE FROM comms_outbox_branch WHERE relay = $1 AND topic NOT IN (SELECT value FROM json_each($2))";

impl Tables {
    /// Returns the topics that `relay` delivers at separate positions, sorted by name.
    ///
    /// # Errors
    /// Returns an error of the kind that [`sql_error`] lists if the statement fails.
    pub async fn branches(&self, conn: &mut SqliteConnection, relay: &str) -> Result<Vec<Branch>, Error> {
        let rows = sqlx::query(BRANCHES).bind(relay).fetch_all(conn).await.map_err(sql_error)?;
        let branch = |row: &sqlx::sqlite::SqliteRow| {
            Ok(Branch {
                topic: row.try_get("topic")?,
                error_kind: row.try_get("error_kind")?,
                error: row.try_get("error")?,
                since: u64::try_from(row.try_get::<i64, _>("since")?)
                    .map_or(Duration::ZERO, Duration::from_millis),
            })
        };
        rows.iter().map(branch).collect::<Result<_, _>>().map_err(sql_error)
    }

    /// Removes every topic except `topics` from the cursor of `relay`. The relay no longer delivers rows of the removed
    /// topics, not even rows that it has not delivered yet. Call it in a transaction, because it executes two
    /// statements.
    ///
    /// Use it for a topic that was removed, renamed or moved to another relay, once its rows are delivered. A topic
    /// that the cursor did not cover is not added; a process that names it adds it. A process that names no topics
    /// covers all of them, so it begins at the oldest row of each removed topic again.
    ///
    /// # Errors
    /// Returns an error of the kind that [`sql_error`] lists if a statement fails.
    pub async fn cover_only(
        &self,
        conn: &mut SqliteConnection,
        relay: &str,
        topics: &[&str],
    ) -> Result<(), Error> {
        let topics = serde_json::to_string(topics).map_err(Error::internal)?;
        for text in [COVER, DROP] {
            sqlx::query(text).bind(relay).bind(&topics).execute(&mut *conn).await.map_err(sql_error)?;
        }
        Ok(())
    }
}
