//! The runs of sagas, for operators and for queries.

use std::time::Duration;

use comms_core::Error;
use sqlx::{Row as _, SqliteConnection, sqlite::SqliteRow};

use super::{
    Tables,
    saga::{RUN, stored, time},
    saga_timers::run_id,
};
use crate::{
    saga::{LogLine, RunCount, RunFilter, RunId, StoredRun, Timeline, phase},
    sql_error,
};

const RUNS: &str = "
SELECT saga, id, version, phase, state, revision, instance, headers, failures, error, started_at, updated_at
FROM comms_saga
WHERE ($1 IS NULL OR saga = $1) AND ($2 IS NULL OR phase = $2) AND (saga, id) > ($3, $4)
ORDER BY saga, id LIMIT $5";

const LOG: &str = "
SELECT sequence, at, phase, state, entry FROM comms_saga_log WHERE saga = $1 AND id = $2 ORDER BY sequence";

pub(super) const COUNTS: &str = "
SELECT saga, version, phase, count(*) AS runs, count(nullif(failures, 0)) AS failing FROM comms_saga
WHERE phase IN ('running', 'compensating', 'held')
GROUP BY saga, version, phase ORDER BY saga, version, phase";

const ENDED: &str = "
SELECT saga, id FROM comms_saga
WHERE phase IN ('completed', 'failed') AND updated_at < CAST(unixepoch('subsec') * 1000 AS INTEGER) - $1
ORDER BY updated_at LIMIT $2";

const DELETE_LOG: &str = "DELETE FROM comms_saga_log WHERE saga = $1 AND id = $2";

const DELETE: &str = "DELETE FROM comms_saga WHERE saga = $1 AND id = $2";

impl Tables {
    /// Returns the stored run.
    ///
    /// # Errors
    /// Returns an error of the kind that [`sql_error`] lists if the statement fails.
    pub async fn saga_run(
        &self,
        conn: &mut SqliteConnection,
        run: &RunId,
    ) -> Result<Option<StoredRun>, Error> {
        let query = sqlx::query(RUN).bind(&run.saga).bind(&run.id);
        query.fetch_optional(conn).await.map_err(sql_error)?.as_ref().map(stored).transpose()
    }

    /// Returns at most `limit` runs behind `after` that pass `filter`, in the order of their identities.
    ///
    /// # Errors
    /// Returns an error of the kind that [`sql_error`] lists if the statement fails.
    pub async fn saga_runs(
        &self,
        conn: &mut SqliteConnection,
        filter: &RunFilter,
        after: Option<&RunId>,
        limit: u32,
    ) -> Result<Vec<StoredRun>, Error> {
        let query = sqlx::query(RUNS)
            .bind(&filter.saga)
            .bind(filter.phase.map(|phase| phase.as_str()))
            .bind(after.map_or("", |run| &run.saga))
            .bind(after.map_or("", |run| &run.id))
            .bind(limit);
        query.fetch_all(conn).await.map_err(sql_error)?.iter().map(stored).collect()
    }

    /// Returns everything that is stored about a run. It serializes to JSON for an operator's page.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Internal`](comms_core::ErrorKind::Internal) if a line of the log does not decode. Otherwise
    /// returns an error of the kind that [`sql_error`] lists if a statement fails.
    pub async fn saga_timeline(
        &self,
        conn: &mut SqliteConnection,
        run: &RunId,
    ) -> Result<Option<Timeline>, Error> {
        let Some(stored) = self.saga_run(conn, run).await? else { return Ok(None) };
        let timers = self.saga_timers(conn, run).await?;
        let query = sqlx::query(LOG).bind(&run.saga).bind(&run.id);
        let rows = query.fetch_all(conn).await.map_err(sql_error)?;
        let log = rows.iter().map(line).collect::<Result<_, _>>()?;
        Ok(Some(Timeline::of(stored, timers, log)))
    }

    /// Counts the runs that have not ended. A version that is not in the result has no such run, and need not be registered
    /// any more.
    ///
    /// # Errors
    /// Returns an error of the kind that [`sql_error`] lists if the statement fails.
    pub async fn saga_counts(&self, conn: &mut SqliteConnection) -> Result<Vec<RunCount>, Error> {
        let rows = sqlx::query(COUNTS).fetch_all(conn).await.map_err(sql_error)?;
        rows.iter().map(count).collect()
    }

    /// Deletes at most `limit` runs that ended more than `older_than` ago, with their logs, and returns how many. Call it in
    /// a transaction, and until it returns 0.
    ///
    /// A start that is announced again after that starts another run, with the commands of the deleted one: keep runs for
    /// longer than that.
    ///
    /// # Errors
    /// Returns an error of the kind that [`sql_error`] lists if a statement fails.
    pub async fn delete_ended_sagas(
        &self,
        conn: &mut SqliteConnection,
        older_than: Duration,
        limit: u32,
    ) -> Result<u64, Error> {
        let older_than = i64::try_from(older_than.as_millis()).unwrap_or(i64::MAX);
        let query = sqlx::query(ENDED).bind(older_than).bind(limit);
        let rows = query.fetch_all(&mut *conn).await.map_err(sql_error)?;
        for row in &rows {
            let run = run_id(row).map_err(sql_error)?;
            for text in [DELETE_LOG, DELETE] {
                let query = sqlx::query(text).bind(&run.saga).bind(&run.id);
                query.execute(&mut *conn).await.map_err(sql_error)?;
            }
        }
        Ok(rows.len() as u64)
    }
}

fn line(row: &SqliteRow) -> Result<LogLine, Error> {
    let at = time(row, "at").map_err(sql_error)?;
    let text = |column: &str| row.try_get::<String, _>(column).map_err(sql_error);
    let sequence = row.try_get("sequence").map_err(sql_error)?;
    LogLine::decode(sequence, at, &text("phase")?, text("state")?, &text("entry")?)
}

fn count(row: &SqliteRow) -> Result<RunCount, Error> {
    let number = |column: &str| row.try_get::<i64, _>(column).map(i64::unsigned_abs).map_err(sql_error);
    Ok(RunCount {
        saga: row.try_get("saga").map_err(sql_error)?,
        version: row.try_get("version").map_err(sql_error)?,
        phase: phase(row.try_get("phase").map_err(sql_error)?)?,
        runs: number("runs")?,
        failing: number("failing")?,
    })
}
