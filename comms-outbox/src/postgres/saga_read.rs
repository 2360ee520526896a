//! The runs of sagas, for operators and for queries.

use std::time::Duration;

use comms_core::Error;
use sqlx::{PgConnection, Row as _, postgres::PgRow};

use super::{
    Tables,
    saga::{stored, time},
    saga_early::seconds,
};
use crate::{
    saga::{LogLine, RunCount, RunFilter, RunId, StoredRun, Timeline, phase},
    sql_error,
};

const RUN: &str = "
SELECT saga, id, version, phase, state, revision, instance::text AS instance, headers, failures, error,
       date_part('epoch', started_at) AS started_at, date_part('epoch', updated_at) AS updated_at
FROM {s}.comms_saga WHERE saga = $1 AND id = $2";

const RUNS: &str = "
SELECT saga, id, version, phase, state, revision, instance::text AS instance, headers, failures, error,
       date_part('epoch', started_at) AS started_at, date_part('epoch', updated_at) AS updated_at
FROM {s}.comms_saga
WHERE ($1::text IS NULL OR saga = $1) AND ($2::text IS NULL OR phase = $2) AND (saga, id) > ($3, $4)
ORDER BY saga, id LIMIT $5";

const LOG: &str = "
SELECT sequence, date_part('epoch', at) AS at, phase, state, entry::text AS entry
FROM {s}.comms_saga_log WHERE saga = $1 AND id = $2 ORDER BY sequence";

const COUNTS: &str = "
SELECT saga, version, phase, count(*) AS runs, count(nullif(failures, 0)) AS failing FROM {s}.comms_saga
WHERE phase IN ('running', 'compensating', 'held')
GROUP BY saga, version, phase ORDER BY saga, version, phase";

const DELETE_ENDED: &str = "
WITH run AS (
    DELETE FROM {s}.comms_saga WHERE (saga, id) IN (
        SELECT saga, id FROM {s}.comms_saga
        WHERE phase IN ('completed', 'failed') AND updated_at < statement_timestamp() - make_interval(secs => $1)
        ORDER BY updated_at LIMIT $2 FOR UPDATE SKIP LOCKED)
    RETURNING saga, id
), log AS (
    DELETE FROM {s}.comms_saga_log AS l USING run AS r WHERE l.saga = r.saga AND l.id = r.id
)
SELECT count(*) FROM run";

impl Tables {
    /// Returns the stored run.
    ///
    /// # Errors
    /// Returns an error of the kind that [`sql_error`] lists if the statement fails.
    pub async fn saga_run(&self, conn: &mut PgConnection, run: &RunId) -> Result<Option<StoredRun>, Error> {
        let query = self.unnamed_query(RUN).bind(run.saga.clone()).bind(run.id.clone());
        query.fetch_optional(conn).await.map_err(sql_error)?.as_ref().map(stored).transpose()
    }

    /// Returns at most `limit` runs behind `after` that pass `filter`, in the order of their identities.
    ///
    /// # Errors
    /// Returns an error of the kind that [`sql_error`] lists if the statement fails.
    pub async fn saga_runs(
        &self,
        conn: &mut PgConnection,
        filter: &RunFilter,
        after: Option<&RunId>,
        limit: u32,
    ) -> Result<Vec<StoredRun>, Error> {
        let (saga, id) = after.map(|run| (run.saga.clone(), run.id.clone())).unwrap_or_default();
        let query = self
            .unnamed_query(RUNS)
            .bind(filter.saga.clone())
            .bind(filter.phase.map(|phase| phase.as_str()))
            .bind(saga)
            .bind(id)
            .bind(i64::from(limit));
        query.fetch_all(conn).await.map_err(sql_error)?.iter().map(stored).collect()
    }

    /// Returns everything that is stored about a run. It serializes to JSON for an operator's page.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Internal`](comms_core::ErrorKind::Internal) if a line of the log does not decode. Otherwise
    /// returns an error of the kind that [`sql_error`] lists if a statement fails.
    pub async fn saga_timeline(
        &self,
        conn: &mut PgConnection,
        run: &RunId,
    ) -> Result<Option<Timeline>, Error> {
        let Some(stored) = self.saga_run(conn, run).await? else { return Ok(None) };
        let timers = self.saga_timers(conn, run).await?;
        let query = self.unnamed_query(LOG).bind(run.saga.clone()).bind(run.id.clone());
        let rows = query.fetch_all(conn).await.map_err(sql_error)?;
        let log = rows.iter().map(line).collect::<Result<_, _>>()?;
        Ok(Some(Timeline::of(stored, timers, log)))
    }

    /// Counts the runs that have not ended. A version that is not in the result has no such run, and need not be registered
    /// any more.
    ///
    /// # Errors
    /// Returns an error of the kind that [`sql_error`] lists if the statement fails.
    pub async fn saga_counts(&self, conn: &mut PgConnection) -> Result<Vec<RunCount>, Error> {
        let rows = self.unnamed_query(COUNTS).fetch_all(conn).await.map_err(sql_error)?;
        rows.iter().map(count).collect()
    }

    /// Deletes at most `limit` runs that ended more than `older_than` ago, with their logs, and returns how many. Call it
    /// until it returns 0.
    ///
    /// A start that is announced again after that starts another run, with the commands of the deleted one: keep runs for
    /// longer than that.
    ///
    /// # Errors
    /// Returns an error of the kind that [`sql_error`] lists if the statement fails.
    pub async fn delete_ended_sagas(
        &self,
        conn: &mut PgConnection,
        older_than: Duration,
        limit: u32,
    ) -> Result<u64, Error> {
        let query = self.unnamed_query(DELETE_ENDED).bind(seconds(older_than)).bind(i64::from(limit));
        let row = query.fetch_one(conn).await.map_err(sql_error)?;
        row.try_get::<i64, _>(0).map(i64::unsigned_abs).map_err(sql_error)
    }
}

fn line(row: &PgRow) -> Result<LogLine, Error> {
    let at = time(row, "at").map_err(sql_error)?;
    let text = |column: &str| row.try_get::<String, _>(column).map_err(sql_error);
    let sequence = row.try_get("sequence").map_err(sql_error)?;
    LogLine::decode(sequence, at, &text("phase")?, text("state")?, &text("entry")?)
}

fn count(row: &PgRow) -> Result<RunCount, Error> {
    let number = |column: &str| row.try_get::<i64, _>(column).map(i64::unsigned_abs).map_err(sql_error);
    Ok(RunCount {
        saga: row.try_get("saga").map_err(sql_error)?,
        version: u32::try_from(number("version")?).unwrap_or(u32::MAX),
        phase: phase(row.try_get("phase").map_err(sql_error)?)?,
        runs: number("runs")?,
        failing: number("failing")?,
    })
}
