//! The timers of sagas, and what a sweep looks for.

use std::time::Duration;

use comms_core::{Error, saga::TimerId};
use sqlx::{PgConnection, Row as _, postgres::PgRow};

use super::{
    Tables,
    saga::{stored, time},
    saga_early::seconds,
};
use crate::{
    saga::{DueRuns, LockedRun, RunId, StoredTimer, Swept},
    sql_error,
};

const PAGE: &str = "
SELECT saga, id, date_part('epoch', statement_timestamp() - due_at) AS seconds
FROM {s}.comms_saga_timer ORDER BY due_at LIMIT $1";

const LOCK: &str = "
SELECT saga, id, version, phase, state, revision, instance::text AS instance, headers, failures, error,
       date_part('epoch', started_at) AS started_at, date_part('epoch', updated_at) AS updated_at
FROM {s}.comms_saga WHERE saga = $1 AND id = $2 FOR UPDATE SKIP LOCKED";

const OF_RUN: &str = "
SELECT timer, date_part('epoch', due_at) AS due_at, due_at <= statement_timestamp() AS is_due
FROM {s}.comms_saga_timer AS t WHERE saga = $1 AND id = $2 ORDER BY t.due_at, timer";

const DELETE_ORPHANS: &str = "
DELETE FROM {s}.comms_saga_timer WHERE saga = $1 AND id = $2
  AND NOT EXISTS (SELECT FROM {s}.comms_saga WHERE saga = $1 AND id = $2)";

const DELETE: &str =
    "DELETE FROM {s}.comms_saga_timer WHERE saga = $1 AND id = $2 AND timer = ANY($3::text[])";

const POSTPONE: &str = "
WITH failed AS (
    UPDATE {s}.comms_saga SET failures = failures + 1, error = $4 WHERE saga = $1 AND id = $2)
UPDATE {s}.comms_saga_timer SET due_at = statement_timestamp() + make_interval(secs => $3)
WHERE saga = $1 AND id = $2 AND due_at <= statement_timestamp()";

const WITHOUT_TIMER: &str = "
SELECT saga, id FROM {s}.comms_saga AS s
WHERE phase IN ('running', 'compensating', 'held') AND phase <> 'held'
  AND NOT EXISTS (SELECT FROM {s}.comms_saga_timer AS t WHERE t.saga = s.saga AND t.id = s.id)
ORDER BY failures LIMIT 1000";

impl Tables {
    /// Locks `run`, and then reads its timers. Returns `None` if another transaction has locked the run, or there is no such
    /// run; timers without a run are deleted.
    ///
    /// # Errors
    /// Returns an error of the kind that [`sql_error`] lists if a statement fails.
    pub async fn lock_run_with_timers(
        &self,
        conn: &mut PgConnection,
        run: &RunId,
    ) -> Result<Option<LockedRun>, Error> {
        let query = self.query(LOCK).bind(run.saga.clone()).bind(run.id.clone());
        let Some(row) = query.fetch_optional(&mut *conn).await.map_err(sql_error)? else {
            let query = self.query(DELETE_ORPHANS).bind(run.saga.clone()).bind(run.id.clone());
            return query.execute(conn).await.map(|_| None).map_err(sql_error);
        };
        let run = stored(&row)?;
        let timers = self.saga_timers(conn, &run.run).await?;
        Ok(Some(LockedRun { run, timers }))
    }

    /// Returns the timers of `run`, the oldest first.
    pub(super) async fn saga_timers(
        &self,
        conn: &mut PgConnection,
        run: &RunId,
    ) -> Result<Vec<StoredTimer>, Error> {
        let query = self.query(OF_RUN).bind(run.saga.clone()).bind(run.id.clone());
        let rows = query.fetch_all(conn).await.map_err(sql_error)?;
        rows.iter().map(timer).collect::<Result<_, _>>().map_err(sql_error)
    }

    /// Deletes timers of `run`.
    ///
    /// # Errors
    /// Returns an error of the kind that [`sql_error`] lists if the statement fails.
    pub async fn delete_timers(
        &self,
        conn: &mut PgConnection,
        run: &RunId,
        timers: &[TimerId],
    ) -> Result<(), Error> {
        let names: Vec<String> = timers.iter().map(|timer| timer.as_str().to_owned()).collect();
        let query = self.query(DELETE).bind(run.saga.clone()).bind(run.id.clone()).bind(names);
        query.execute(conn).await.map(drop).map_err(sql_error)
    }

    /// Postpones the due timers of `run` by `delay` from now, and stores the failure with the run.
    ///
    /// # Errors
    /// Returns an error of the kind that [`sql_error`] lists if the statement fails.
    pub async fn postpone_run(
        &self,
        conn: &mut PgConnection,
        run: &RunId,
        delay: Duration,
        error: &str,
    ) -> Result<(), Error> {
        let query = self.query(POSTPONE).bind(run.saga.clone()).bind(run.id.clone());
        let query = query.bind(seconds(delay)).bind(error.to_owned());
        query.execute(conn).await.map(drop).map_err(sql_error)
    }

    /// Reads the `limit` timers that are due first.
    ///
    /// # Errors
    /// Returns an error of the kind that [`sql_error`] lists if the statement fails.
    pub async fn due_runs(&self, conn: &mut PgConnection, limit: u32) -> Result<DueRuns, Error> {
        let query = self.query(PAGE).bind(i64::from(limit));
        let rows = query.fetch_all(conn).await.map_err(sql_error)?;
        let timer = |row: &PgRow| Ok((run_id(row)?, row.try_get("seconds")?));
        let timers: Result<Vec<_>, sqlx::Error> = rows.iter().map(timer).collect();
        Ok(DueRuns::of(timers.map_err(sql_error)?))
    }

    /// Reads which runs need attention, and deletes messages that have been kept for longer than `retention`.
    ///
    /// # Errors
    /// Returns an error of the kind that [`sql_error`] lists if a statement fails.
    pub async fn sweep_runs(&self, conn: &mut PgConnection, retention: Duration) -> Result<Swept, Error> {
        let rows = self.unnamed_query(WITHOUT_TIMER).fetch_all(&mut *conn).await.map_err(sql_error)?;
        let without_timer = rows.iter().map(run_id).collect::<Result<_, _>>().map_err(sql_error)?;
        let counts = self.saga_counts(conn).await?;
        let expired = self.delete_early(conn, retention).await?;
        Ok(Swept { without_timer, counts, expired })
    }
}

pub(super) fn run_id(row: &PgRow) -> Result<RunId, sqlx::Error> {
    Ok(RunId::new(row.try_get::<String, _>("saga")?, row.try_get::<String, _>("id")?))
}

fn timer(row: &PgRow) -> Result<StoredTimer, sqlx::Error> {
    let id = TimerId::from(row.try_get::<String, _>("timer")?);
    Ok(StoredTimer { id, due_at: time(row, "due_at")?, is_due: row.try_get("is_due")? })
}
