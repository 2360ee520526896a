//! Lists the topics that are not at the position of their relay, and removes topics from a cursor, for operators.

use std::time::Duration;

use comms_core::Error;
use sqlx::{PgConnection, Row as _};

use super::Tables;
use crate::{Branch, sql_error};

const BRANCHES: &str = "
SELECT topic, error_kind, error, date_part('epoch', since) AS since
FROM {s}.comms_outbox_branch WHERE relay = $1 ORDER BY topic";

/// The new token ends the session of a running relay, which then begins with the new list.
const COVER: &str = "
WITH c AS (
    UPDATE {s}.comms_outbox_cursor
    SET covers = ARRAY(SELECT t FROM unnest($2::text[]) t WHERE covers IS NULL OR t = ANY (covers) ORDER BY t),
        token = gen_random_uuid()
    WHERE relay = $1 RETURNING relay
)
DELETE FROM {s}.comms_outbox_branch b USING c WHERE b.relay = c.relay AND b.topic <> ALL ($2::text[])";

impl Tables {
    /// Returns the topics that `relay` delivers at separate positions, sorted by name.
    ///
    /// # Errors
    /// Returns an error of the kind that [`sql_error`] lists if the statement fails.
    pub async fn branches(&self, conn: &mut PgConnection, relay: &str) -> Result<Vec<Branch>, Error> {
        let query = self.unnamed_query(BRANCHES).bind(relay);
        let rows = query.fetch_all(conn).await.map_err(sql_error)?;
        let branch = |row: &sqlx::postgres::PgRow| {
            Ok(Branch {
                topic: row.try_get("topic")?,
                error_kind: row.try_get("error_kind")?,
                error: row.try_get("error")?,
                since: Duration::try_from_secs_f64(row.try_get("since")?).unwrap_or_default(),
            })
        };
        rows.iter().map(branch).collect::<Result<_, _>>().map_err(sql_error)
    }

    /// Removes every topic except `topics` from the cursor of `relay`. The relay no longer delivers rows of the removed
    /// topics, not even rows that it has not delivered yet.
    ///
    /// Use it for a topic that was removed, renamed or moved to another relay, once its rows are delivered. A topic
    /// that the cursor did not cover is not added; a process that names it adds it. A process that names no topics
    /// covers all of them, so it begins at the oldest row of each removed topic again.
    ///
    /// # Errors
    /// Returns an error of the kind that [`sql_error`] lists if the statement fails.
    pub async fn cover_only(
        &self,
        conn: &mut PgConnection,
        relay: &str,
        topics: &[&str],
    ) -> Result<(), Error> {
        let query = self.unnamed_query(COVER).bind(relay).bind(topics);
        query.execute(conn).await.map(drop).map_err(sql_error)
    }
}
