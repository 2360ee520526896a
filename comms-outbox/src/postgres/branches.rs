//! What an operator does with destinations that are not at their relay's position.

use std::time::Duration;

use comms_core::Error;
use sqlx::{PgConnection, Row as _};

use super::{Tables, tables::render};
use crate::{Branch, sql_error};

const BRANCHES: &str = "
SELECT topic, error_kind, error, date_part('epoch', since) AS since
FROM {s}.comms_outbox_branch WHERE relay = $1 ORDER BY topic";

/// The token moves, so that a running relay begins anew with what is written here.
const COVER: &str = "
WITH c AS (
    UPDATE {s}.comms_outbox_cursor
    SET covers = ARRAY(SELECT t FROM unnest($2::text[]) t WHERE covers IS NULL OR t = ANY (covers) ORDER BY t),
        token = gen_random_uuid()
    WHERE relay = $1 RETURNING relay
)
DELETE FROM {s}.comms_outbox_branch b USING c WHERE b.relay = c.relay AND b.topic <> ALL ($2::text[])";

impl Tables {
    /// The destinations that `relay` delivers apart from the others, by name.
    ///
    /// # Errors
    /// Those of the database, see [`sql_error`].
    pub async fn branches(&self, conn: &mut PgConnection, relay: &str) -> Result<Vec<Branch>, Error> {
        let query = sqlx::query(render(&self.schema, BRANCHES)).persistent(false).bind(relay);
        let rows = query.fetch_all(conn).await.map_err(sql_error)?;
        let branch = |row: &sqlx::postgres::PgRow| {
            Ok(Branch {
                destination: row.try_get("topic")?,
                error_kind: row.try_get("error_kind")?,
                error: row.try_get("error")?,
                since: Duration::try_from_secs_f64(row.try_get("since")?).unwrap_or_default(),
            })
        };
        rows.iter().map(branch).collect::<Result<_, _>>().map_err(sql_error)
    }

    /// Declares that `relay` stands for no other destination than `destinations` from now on: rows for others are
    /// not delivered by it any more, whether or not they were. For a destination that was removed, renamed or moved
    /// to another relay, once its rows are delivered.
    ///
    /// A destination that the relay did not stand for before is not added: a process that names it does that. A process
    /// that names no destinations stands for all of them, so it begins with the oldest row of every other one again.
    ///
    /// # Errors
    /// Those of the database, see [`sql_error`].
    pub async fn cover_only(
        &self,
        conn: &mut PgConnection,
        relay: &str,
        destinations: &[&str],
    ) -> Result<(), Error> {
        let query = sqlx::query(render(&self.schema, COVER)).persistent(false).bind(relay).bind(destinations);
        query.execute(conn).await.map(drop).map_err(sql_error)
    }
}
