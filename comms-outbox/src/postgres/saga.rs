//! The runs of sagas: locks and writes in the caller's transaction.

use std::time::Duration;

use comms_core::Error;
use sqlx::{PgConnection, Postgres, Row as _, postgres::PgArguments, postgres::PgRow, query::Query};

use super::Tables;
use crate::{
    saga::{RunChange, RunId, StoredRun, Writes, phase},
    sql_error,
};

/// Sorted, so that two batches take their locks in the same order.
const LOCK: &str = "
SELECT s.saga, s.id, version, phase, state, revision, instance::text AS instance, headers, failures, error,
       date_part('epoch', started_at) AS started_at, date_part('epoch', updated_at) AS updated_at
FROM {s}.comms_saga AS s JOIN unnest($1::text[], $2::text[]) AS r (saga, id) ON s.saga = r.saga AND s.id = r.id
ORDER BY s.saga, s.id FOR UPDATE OF s";

/// Locks the identities of runs that do not exist, until the transaction ends. Identities share 1,024 locks, so that a
/// large batch does not fill the lock table of the server.
const LOCK_MISSING: &str = "
SELECT pg_advisory_xact_lock(hashtext('comms_saga ' || $3), key) FROM (
    SELECT DISTINCT (hashtextextended(saga || ' ' || id, 0) & 1023)::integer AS key
    FROM unnest($1::text[], $2::text[]) AS r (saga, id) ORDER BY key) AS k";

/// One round trip for any number of runs, log lines and timers. The log and the timers of a run are written if its row is.
const SAVE: &str = "
WITH run AS (
    SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::bigint[], $7::bigint[],
                         $8::text[], $9::bytea[], $10::boolean[])
        AS r (saga, id, version, phase, state, expected, revision, instance, headers, ended)
), inserted AS (
    INSERT INTO {s}.comms_saga (saga, id, version, phase, state, revision, instance, headers)
    SELECT saga, id, version, phase, state, revision, instance::json, headers FROM run WHERE expected = 0
    ON CONFLICT DO NOTHING RETURNING saga, id
), updated AS (
    UPDATE {s}.comms_saga AS s
    SET version = r.version, phase = r.phase, state = r.state, revision = r.revision, instance = r.instance::json,
        headers = r.headers, failures = 0, error = NULL, updated_at = statement_timestamp()
    FROM run AS r WHERE s.saga = r.saga AND s.id = r.id AND s.revision = r.expected AND r.expected > 0
    RETURNING s.saga, s.id
), saved AS (
    SELECT saga, id FROM inserted UNION ALL SELECT saga, id FROM updated
), logged AS (
    INSERT INTO {s}.comms_saga_log (saga, id, sequence, phase, state, entry)
    SELECT l.saga, l.id, l.sequence, l.phase, l.state, l.entry::json
    FROM unnest($11::text[], $12::text[], $13::bigint[], $14::text[], $15::text[], $16::text[])
             AS l (saga, id, sequence, phase, state, entry)
         JOIN saved ON saved.saga = l.saga AND saved.id = l.id
), deleted AS (
    DELETE FROM {s}.comms_saga_timer AS t USING run AS r, saved AS v
    WHERE t.saga = r.saga AND t.id = r.id AND v.saga = r.saga AND v.id = r.id
      AND (r.ended OR (t.saga, t.id, t.timer) IN (SELECT * FROM unnest($17::text[], $18::text[], $19::text[])))
), timed AS (
    INSERT INTO {s}.comms_saga_timer (saga, id, timer, due_at)
    SELECT t.saga, t.id, t.timer, statement_timestamp() + make_interval(secs => t.after / 1000.0)
    FROM unnest($20::text[], $21::text[], $22::text[], $23::bigint[]) AS t (saga, id, timer, after)
         JOIN saved ON saved.saga = t.saga AND saved.id = t.id
    ON CONFLICT (saga, id, timer) DO UPDATE SET due_at = excluded.due_at
)
SELECT count(*) FROM saved";

impl Tables {
    /// Locks the rows of `runs` until the transaction ends, and returns one result for each of `runs`, in their order.
    ///
    /// An advisory lock of the transaction, one of 1,024 that the identities share, keeps the identity of a run that does
    /// not exist, so that no other transaction that calls this method starts the run meanwhile. The isolation level must be READ COMMITTED, PostgreSQL's default, or
    /// SERIALIZABLE.
    ///
    /// # Errors
    /// Returns an error of the kind that [`sql_error`] lists if a statement fails.
    pub async fn lock_runs(
        &self,
        conn: &mut PgConnection,
        runs: &[RunId],
    ) -> Result<Vec<Option<StoredRun>>, Error> {
        let mut locked = self.lock_existing(conn, runs).await?;
        let is_locked = |run: &&RunId| locked.iter().any(|stored| stored.run == **run);
        let missing: Vec<RunId> = runs.iter().filter(|run| !is_locked(run)).cloned().collect();
        if !missing.is_empty() {
            let query = self.of_runs(LOCK_MISSING, &missing).bind(self.schema.to_string());
            query.execute(&mut *conn).await.map_err(sql_error)?;
            // Another transaction may have started the run before this one had the lock.
            locked.extend(self.lock_existing(conn, &missing).await?);
        }
        let find = |run: &RunId| locked.iter().find(|stored| stored.run == *run).cloned();
        Ok(runs.iter().map(find).collect())
    }

    async fn lock_existing(&self, conn: &mut PgConnection, runs: &[RunId]) -> Result<Vec<StoredRun>, Error> {
        let rows = self.of_runs(LOCK, runs).fetch_all(conn).await.map_err(sql_error)?;
        rows.iter().map(stored).collect()
    }

    fn of_runs(&self, text: &'static str, runs: &[RunId]) -> Query<'static, Postgres, PgArguments> {
        let query = self.query(text).bind(column(runs, |run| run.saga.clone()));
        query.bind(column(runs, |run| run.id.clone()))
    }

    /// Writes the states, the log and the timers of `changes`, in one round trip. Several changes of one run come in their
    /// order.
    ///
    /// Returns `false` if a run has another revision than before its first change, or exists and should not. Roll the
    /// transaction back then.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](comms_core::ErrorKind::Invalid) if a state cannot be encoded. Otherwise returns an
    /// error of the kind that [`sql_error`] lists if the statement fails.
    pub async fn save_runs(&self, conn: &mut PgConnection, changes: &[RunChange]) -> Result<bool, Error> {
        let writes = Writes::of(changes)?;
        let row = bind_writes(self.query(SAVE), &writes).fetch_one(conn).await.map_err(sql_error)?;
        let saved: i64 = row.try_get(0).map_err(sql_error)?;
        Ok(usize::try_from(saved) == Ok(writes.runs.len()))
    }
}

type Saving = Query<'static, Postgres, PgArguments>;

/// Binds one array for each column.
fn bind_writes(query: Saving, Writes { runs, log, set, deleted }: &Writes) -> Saving {
    query
        .bind(column(runs, |row| row.run.saga.clone()))
        .bind(column(runs, |row| row.run.id.clone()))
        .bind(column(runs, |row| row.version))
        .bind(column(runs, |row| row.phase))
        .bind(column(runs, |row| row.state.clone()))
        .bind(column(runs, |row| row.expected))
        .bind(column(runs, |row| row.revision))
        .bind(column(runs, |row| row.instance.clone()))
        .bind(column(runs, |row| row.headers.clone()))
        .bind(column(runs, |row| row.ended))
        .bind(column(log, |line| line.run.saga.clone()))
        .bind(column(log, |line| line.run.id.clone()))
        .bind(column(log, |line| line.sequence))
        .bind(column(log, |line| line.phase))
        .bind(column(log, |line| line.state.clone()))
        .bind(column(log, |line| line.entry.clone()))
        .bind(column(deleted, |(run, _)| run.saga.clone()))
        .bind(column(deleted, |(run, _)| run.id.clone()))
        .bind(column(deleted, |(_, timer)| timer.as_str().to_owned()))
        .bind(column(set, |((run, _), _)| run.saga.clone()))
        .bind(column(set, |((run, _), _)| run.id.clone()))
        .bind(column(set, |((_, timer), _)| timer.as_str().to_owned()))
        .bind(column(set, |(_, after)| *after))
}

fn column<Row, T>(rows: impl IntoIterator<Item = Row>, value: impl Fn(Row) -> T) -> Vec<T> {
    rows.into_iter().map(value).collect()
}

/// Decodes the columns of [`LOCK`].
pub(super) fn stored(row: &PgRow) -> Result<StoredRun, Error> {
    let phase = phase(row.try_get("phase").map_err(sql_error)?)?;
    let read = || -> Result<StoredRun, sqlx::Error> {
        Ok(StoredRun {
            run: RunId::new(row.try_get::<String, _>("saga")?, row.try_get::<String, _>("id")?),
            version: u32::try_from(row.try_get::<i64, _>("version")?).unwrap_or(u32::MAX),
            phase,
            state: row.try_get("state")?,
            revision: row.try_get::<i64, _>("revision")?.unsigned_abs(),
            started_at: time(row, "started_at")?,
            updated_at: time(row, "updated_at")?,
            failures: row.try_get::<i32, _>("failures")?.unsigned_abs(),
            error: row.try_get("error")?,
            instance: row.try_get("instance")?,
            headers: row.try_get("headers")?,
        })
    };
    read().map_err(sql_error)
}

pub(super) fn time(row: &PgRow, column: &str) -> Result<Duration, sqlx::Error> {
    Ok(Duration::try_from_secs_f64(row.try_get(column)?).unwrap_or_default())
}
