//! The runs of sagas: locks and writes in the caller's transaction.

use std::time::Duration;

use comms_core::Error;
use sqlx::{Row as _, SqliteConnection, sqlite::SqliteRow};

use super::Tables;
use crate::{
    saga::{
        RunChange, RunId, StoredRun, Writes, phase,
        writes::{LogRow, RunRow},
    },
    sql_error,
};

pub(super) const RUN: &str = "
SELECT saga, id, version, phase, state, revision, instance, headers, failures, error, started_at, updated_at
FROM comms_saga WHERE saga = $1 AND id = $2";

const INSERT: &str = "
INSERT INTO comms_saga (saga, id, version, phase, state, revision, instance, headers)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING";

const UPDATE: &str = "
UPDATE comms_saga
SET version = $3, phase = $4, state = $5, revision = $6, instance = $7, headers = $8, failures = 0, error = NULL,
    updated_at = CAST(unixepoch('subsec') * 1000 AS INTEGER)
WHERE saga = $1 AND id = $2 AND revision = $9";

const LOG: &str = "
INSERT INTO comms_saga_log (saga, id, sequence, phase, state, entry) VALUES ($1, $2, $3, $4, $5, $6)";

const SET_TIMER: &str = "
INSERT INTO comms_saga_timer (saga, id, timer, due_at)
VALUES ($1, $2, $3, CAST(unixepoch('subsec') * 1000 AS INTEGER) + $4)
ON CONFLICT DO UPDATE SET due_at = excluded.due_at";

const DELETE_TIMER: &str = "DELETE FROM comms_saga_timer WHERE saga = $1 AND id = $2 AND timer = $3";

const DELETE_TIMERS: &str = "DELETE FROM comms_saga_timer WHERE saga = $1 AND id = $2";

impl Tables {
    /// Reads the rows of `runs`, and returns one result for each of `runs`, in their order. The caller's transaction is the
    /// lock: it must have begun with `BEGIN IMMEDIATE`, as those of a `SqliteUnit` do.
    ///
    /// # Errors
    /// Returns an error of the kind that [`sql_error`] lists if a statement fails.
    pub async fn lock_runs(
        &self,
        conn: &mut SqliteConnection,
        runs: &[RunId],
    ) -> Result<Vec<Option<StoredRun>>, Error> {
        let mut stored = Vec::with_capacity(runs.len());
        for run in runs {
            stored.push(self.saga_run(conn, run).await?);
        }
        Ok(stored)
    }

    /// Writes the states, the log and the timers of `changes`. Several changes of one run come in their order.
    ///
    /// Returns `false` if a run has another revision than before its first change, or exists and should not. Roll the
    /// transaction back then.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](comms_core::ErrorKind::Invalid) if a state cannot be encoded. Otherwise returns an
    /// error of the kind that [`sql_error`] lists if a statement fails.
    pub async fn save_runs(&self, conn: &mut SqliteConnection, changes: &[RunChange]) -> Result<bool, Error> {
        let writes = Writes::of(changes)?;
        for row in &writes.runs {
            if !save(conn, row).await.map_err(sql_error)? {
                return Ok(false);
            }
        }
        add_rest(conn, &writes).await.map_err(sql_error)?;
        Ok(true)
    }
}

/// Returns `false` if the stored revision is not the expected one.
async fn save(conn: &mut SqliteConnection, row: &RunRow) -> Result<bool, sqlx::Error> {
    let text = if row.expected == 0 { INSERT } else { UPDATE };
    let query = sqlx::query(text)
        .bind(&row.run.saga)
        .bind(&row.run.id)
        .bind(row.version)
        .bind(row.phase)
        .bind(&row.state)
        .bind(row.revision)
        .bind(&row.instance)
        .bind(&row.headers);
    let query = if row.expected == 0 { query } else { query.bind(row.expected) };
    Ok(query.execute(conn).await?.rows_affected() == 1)
}

/// Writes the log and the timers.
async fn add_rest(conn: &mut SqliteConnection, writes: &Writes) -> Result<(), sqlx::Error> {
    for LogRow { run, sequence, phase, state, entry } in &writes.log {
        let query = sqlx::query(LOG).bind(&run.saga).bind(&run.id).bind(sequence);
        query.bind(phase).bind(state).bind(entry).execute(&mut *conn).await?;
    }
    for (run, timer) in &writes.deleted {
        let query = sqlx::query(DELETE_TIMER).bind(&run.saga).bind(&run.id);
        query.bind(timer.as_str()).execute(&mut *conn).await?;
    }
    for ((run, timer), after) in &writes.set {
        let query = sqlx::query(SET_TIMER).bind(&run.saga).bind(&run.id);
        query.bind(timer.as_str()).bind(after).execute(&mut *conn).await?;
    }
    for row in writes.runs.iter().filter(|row| row.ended) {
        sqlx::query(DELETE_TIMERS).bind(&row.run.saga).bind(&row.run.id).execute(&mut *conn).await?;
    }
    Ok(())
}

/// Decodes the columns of [`RUN`].
pub(super) fn stored(row: &SqliteRow) -> Result<StoredRun, Error> {
    let phase_text: String = row.try_get("phase").map_err(sql_error)?;
    let phase = phase(&phase_text)?;
    let read = || -> Result<StoredRun, sqlx::Error> {
        Ok(StoredRun {
            run: RunId::new(row.try_get::<String, _>("saga")?, row.try_get::<String, _>("id")?),
            version: row.try_get("version")?,
            phase,
            state: row.try_get("state")?,
            revision: row.try_get::<i64, _>("revision")?.unsigned_abs(),
            started_at: time(row, "started_at")?,
            updated_at: time(row, "updated_at")?,
            failures: row.try_get("failures")?,
            error: row.try_get("error")?,
            instance: row.try_get("instance")?,
            headers: row.try_get("headers")?,
        })
    };
    read().map_err(sql_error)
}

pub(super) fn time(row: &SqliteRow, column: &str) -> Result<Duration, sqlx::Error> {
    Ok(Duration::from_millis(row.try_get::<i64, _>(column)?.unsigned_abs()))
}
