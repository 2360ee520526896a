//! The timers of sagas, and what a sweep looks for.

use std::time::Duration;

use comms_core::{Error, saga::TimerId};
use sqlx::{Row as _, SqliteConnection, sqlite::SqliteRow};

use super::{Tables, saga::time};
use crate::{
    saga::{DueRuns, LockedRun, RunId, StoredTimer, Swept, writes::wait_millis},
    sql_error,
};

const PAGE: &str = "
SELECT saga, id, (CAST(unixepoch('subsec') * 1000 AS INTEGER) - due_at) / 1000.0 AS seconds
FROM comms_saga_timer ORDER BY due_at LIMIT $1";

const OF_RUN: &str = "
SELECT timer, due_at, due_at <= CAST(unixepoch('subsec') * 1000 AS INTEGER) AS is_due
FROM comms_saga_timer WHERE saga = $1 AND id = $2 ORDER BY due_at, timer";

const DELETE_ALL: &str = "DELETE FROM comms_saga_timer WHERE saga = $1 AND id = $2";

const DELETE: &str = "DELETE FROM comms_saga_timer WHERE saga = $1 AND id = $2 AND timer = $3";

const POSTPONE: &str = "
UPDATE comms_saga_timer SET due_at = CAST(unixepoch('subsec') * 1000 AS INTEGER) + $3
WHERE saga = $1 AND id = $2 AND due_at <= CAST(unixepoch('subsec') * 1000 AS INTEGER)";

const FAILED: &str = "UPDATE comms_saga SET failures = failures + 1, error = $3 WHERE saga = $1 AND id = $2";

const WITHOUT_TIMER: &str = "
SELECT saga, id FROM comms_saga AS s
WHERE phase IN ('running', 'compensating', 'held') AND phase <> 'held'
  AND NOT EXISTS (SELECT 1 FROM comms_saga_timer AS t WHERE t.saga = s.saga AND t.id = s.id)
ORDER BY failures LIMIT 1000";

impl Tables {
    /// Reads the timers of `run`, which is locked by the caller's transaction. Returns `None`, and deletes the timers, if
    /// there is no such run.
    ///
    /// # Errors
    /// Returns an error of the kind that [`sql_error`] lists if a statement fails.
    pub async fn lock_run_with_timers(
        &self,
        conn: &mut SqliteConnection,
        run: &RunId,
    ) -> Result<Option<LockedRun>, Error> {
        let Some(stored) = self.saga_run(conn, run).await? else {
            let query = sqlx::query(DELETE_ALL).bind(&run.saga).bind(&run.id);
            return query.execute(conn).await.map(|_| None).map_err(sql_error);
        };
        let timers = self.saga_timers(conn, run).await?;
        Ok(Some(LockedRun { run: stored, timers }))
    }

    /// Returns the timers of `run`, the oldest first.
    pub(super) async fn saga_timers(
        &self,
        conn: &mut SqliteConnection,
        run: &RunId,
    ) -> Result<Vec<StoredTimer>, Error> {
        let query = sqlx::query(OF_RUN).bind(&run.saga).bind(&run.id);
        let rows = query.fetch_all(conn).await.map_err(sql_error)?;
        rows.iter().map(timer).collect::<Result<_, _>>().map_err(sql_error)
    }

    /// Deletes timers of `run`.
    ///
    /// # Errors
    /// Returns an error of the kind that [`sql_error`] lists if a statement fails.
    pub async fn delete_timers(
        &self,
        conn: &mut SqliteConnection,
        run: &RunId,
        timers: &[TimerId],
    ) -> Result<(), Error> {
        for timer in timers {
            let query = sqlx::query(DELETE).bind(&run.saga).bind(&run.id).bind(timer.as_str());
            query.execute(&mut *conn).await.map_err(sql_error)?;
        }
        Ok(())
    }

    /// Postpones the due timers of `run` by `delay` from now, and stores the failure with the run.
    ///
    /// # Errors
    /// Returns an error of the kind that [`sql_error`] lists if a statement fails.
    pub async fn postpone_run(
        &self,
        conn: &mut SqliteConnection,
        run: &RunId,
        delay: Duration,
        error: &str,
    ) -> Result<(), Error> {
        let delay = wait_millis(delay);
        let failed = sqlx::query(FAILED).bind(&run.saga).bind(&run.id).bind(error);
        failed.execute(&mut *conn).await.map_err(sql_error)?;
        let postpone = sqlx::query(POSTPONE).bind(&run.saga).bind(&run.id).bind(delay);
        postpone.execute(conn).await.map(drop).map_err(sql_error)
    }

    /// Reads the `limit` timers that are due first.
    ///
    /// # Errors
    /// Returns an error of the kind that [`sql_error`] lists if the statement fails.
    pub async fn due_runs(&self, conn: &mut SqliteConnection, limit: u32) -> Result<DueRuns, Error> {
        let rows = sqlx::query(PAGE).bind(limit).fetch_all(conn).await.map_err(sql_error)?;
        let timer = |row: &SqliteRow| Ok((run_id(row)?, row.try_get("seconds")?));
        let timers: Result<Vec<_>, sqlx::Error> = rows.iter().map(timer).collect();
        Ok(DueRuns::of(timers.map_err(sql_error)?))
    }

    /// Reads which runs need attention, and deletes messages that have been kept for longer than `retention`.
    ///
    /// # Errors
    /// Returns an error of the kind that [`sql_error`] lists if a statement fails.
    pub async fn sweep_runs(&self, conn: &mut SqliteConnection, retention: Duration) -> Result<Swept, Error> {
        let rows = sqlx::query(WITHOUT_TIMER).fetch_all(&mut *conn).await.map_err(sql_error)?;
        let without_timer = rows.iter().map(run_id).collect::<Result<_, _>>().map_err(sql_error)?;
        let counts = self.saga_counts(conn).await?;
        let expired = self.delete_early(conn, retention).await?;
        Ok(Swept { without_timer, counts, expired })
    }
}

pub(super) fn run_id(row: &SqliteRow) -> Result<RunId, sqlx::Error> {
    Ok(RunId::new(row.try_get::<String, _>("saga")?, row.try_get::<String, _>("id")?))
}

fn timer(row: &SqliteRow) -> Result<StoredTimer, sqlx::Error> {
    let id = TimerId::from(row.try_get::<String, _>("timer")?);
    Ok(StoredTimer { id, due_at: time(row, "due_at")?, is_due: row.try_get("is_due")? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::saga_read::COUNTS;

    #[tokio::test]
    async fn a_sweep_reads_the_index_of_open_runs() {
        let options = sqlx::sqlite::SqlitePoolOptions::new().max_connections(1);
        let pool = options.connect("sqlite::memory:").await.unwrap();
        Tables::new().migrate(&pool).await.unwrap();
        for text in [WITHOUT_TIMER, COUNTS] {
            let explain = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {text}"));
            let rows = sqlx::query(explain).fetch_all(&pool).await.unwrap();
            let plan: Vec<String> = rows.iter().map(|row| row.get("detail")).collect();
            assert!(plan[0].contains("USING COVERING INDEX comms_saga_open"), "{plan:?}");
        }
    }
}
