//! Writes parked rows, branches and covered topics, in one transaction with a relay's position.

use std::time::Duration;

use comms_core::Error;
use sqlx::SqliteConnection;

use crate::{
    relay::{Changes, RowToPark},
    sql_error,
};

/// $2 is a JSON array, or NULL.
const COVERS: &str = "UPDATE comms_outbox_cursor SET covers = $2 WHERE relay = $1";

const BRANCH: &str = "
INSERT INTO comms_outbox_branch AS b (relay, topic, last_id, error_kind, error) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (relay, topic) DO UPDATE
SET last_id = excluded.last_id, error_kind = excluded.error_kind, error = excluded.error,
    since = CASE WHEN (b.error IS NULL) = (excluded.error IS NULL) THEN b.since
                 ELSE CAST(unixepoch('subsec') * 1000 AS INTEGER) END";

const JOIN: &str = "DELETE FROM comms_outbox_branch WHERE relay = $1 AND topic = $2";

/// $8 is how long to hold the row, in milliseconds, or NULL.
const PARK: &str = "
INSERT INTO comms_outbox_parked (relay, outbox_id, topic, key, attempts, error_kind, error, state, retry_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, CASE WHEN $8 IS NULL THEN 'parked' ELSE 'held' END,
        CAST(unixepoch('subsec') * 1000 AS INTEGER) + $8)
ON CONFLICT DO NOTHING";

/// Rows that were parked behind a row while it was released are released too. $2 is a JSON array of ids.
const FOLLOW: &str = "
UPDATE comms_outbox_parked AS p SET state = 'released'
FROM (SELECT DISTINCT topic, key FROM comms_outbox_parked
      WHERE relay = $1 AND outbox_id IN (SELECT value FROM json_each($2))) AS d
WHERE p.relay = $1 AND p.topic = d.topic AND p.key = d.key AND p.state = 'parked'";

const UNPARK: &str = "
DELETE FROM comms_outbox_parked WHERE relay = $1 AND outbox_id IN (SELECT value FROM json_each($2))";

/// The row that failed again gets the reason. The other released rows of its lane are parked again.
const REPARK: &str = "
UPDATE comms_outbox_parked SET
    state = CASE WHEN outbox_id = $2 AND $8 IS NOT NULL THEN 'held' ELSE 'parked' END,
    attempts = CASE WHEN outbox_id = $2 THEN attempts + $5 ELSE attempts END,
    error_kind = CASE WHEN outbox_id = $2 THEN $6 ELSE error_kind END,
    error = CASE WHEN outbox_id = $2 THEN $7 ELSE error END,
    retry_at = CASE WHEN outbox_id = $2 THEN CAST(unixepoch('subsec') * 1000 AS INTEGER) + $8 END
WHERE relay = $1 AND (outbox_id = $2 OR (topic = $3 AND key = $4 AND state = 'released'))";

/// Writes `changes` in the transaction that has written the cursor.
pub(super) async fn save(conn: &mut SqliteConnection, relay: &str, changes: &Changes) -> Result<(), Error> {
    if let Some(covers) = &changes.covers {
        let covers = covers.as_ref().map(serde_json::to_string).transpose().map_err(Error::internal)?;
        sqlx::query(COVERS).bind(relay).bind(covers).execute(&mut *conn).await.map_err(sql_error)?;
    }
    // Before the branches: a topic that joined may have got a new branch since.
    for topic in &changes.joined {
        let query = sqlx::query(JOIN).bind(relay).bind(&**topic);
        query.execute(&mut *conn).await.map_err(sql_error)?;
    }
    for branch in &changes.branches {
        sqlx::query(BRANCH)
            .bind(relay)
            .bind(&*branch.topic)
            .bind(branch.position.last_id)
            .bind(branch.held.as_ref().map(|held| held.0.as_str()))
            .bind(branch.held.as_ref().map(|held| &*held.1))
            .execute(&mut *conn)
            .await
            .map_err(sql_error)?;
    }
    for row in &changes.park {
        write(conn, PARK, relay, row).await?;
    }
    if !changes.unpark.is_empty() {
        let ids = serde_json::to_string(&changes.unpark).map_err(Error::internal)?;
        for text in [FOLLOW, UNPARK] {
            sqlx::query(text).bind(relay).bind(&ids).execute(&mut *conn).await.map_err(sql_error)?;
        }
    }
    for row in &changes.repark {
        write(conn, REPARK, relay, row).await?;
    }
    Ok(())
}

async fn write(
    conn: &mut SqliteConnection,
    text: &'static str,
    relay: &str,
    row: &RowToPark,
) -> Result<(), Error> {
    sqlx::query(text)
        .bind(relay)
        .bind(row.outbox_id)
        .bind(&*row.topic)
        .bind(row.key.as_deref())
        .bind(row.refusal.attempts)
        .bind(row.refusal.kind.map(|k| k.as_str()))
        .bind(&*row.refusal.reason)
        .bind(row.refusal.hold.map(millis))
        .execute(conn)
        .await
        .map(drop)
        .map_err(sql_error)
}

pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 4)
}

#[cfg(test)]
mod tests {
    use sqlx::sqlite::SqlitePoolOptions;

    use super::*;
    use crate::{
        relay::{Position, StoredBranch},
        sqlite::Tables,
    };

    /// Both changes belong to one save: a topic that joined and was refused right afterwards.
    #[tokio::test]
    async fn a_topic_that_joins_and_is_held_again_keeps_its_branch() {
        let pool = SqlitePoolOptions::new().max_connections(1).connect("sqlite::memory:").await.unwrap();
        Tables::new().migrate(&pool).await.unwrap();
        let mut conn = pool.acquire().await.unwrap();
        let at = |last_id| StoredBranch {
            topic: "b".into(),
            position: Position { last_id, ..Position::default() },
            held: None,
        };
        let apart = Changes { branches: vec![at(1)], ..Changes::default() };
        save(&mut conn, "test", &apart).await.unwrap();
        let again = Changes { joined: vec!["b".into()], branches: vec![at(7)], ..Changes::default() };
        save(&mut conn, "test", &again).await.unwrap();
        let stored = sqlx::query_scalar::<_, i64>("SELECT last_id FROM comms_outbox_branch");
        assert_eq!(stored.fetch_all(&mut *conn).await.unwrap(), [7]);
    }
}
