//! Implements the store of sagas for both databases, with the tables of comms-outbox, reads runs for operators, and
//! deletes those that have ended.

use std::time::Duration;

use comms_core::{Error, Message, saga::TimerId};
use comms_outbox::{
    saga::{
        DueRuns, LockedRun, RunChange, RunCount, RunFilter, RunId, SagaStore, StoredRun, Swept, Timeline,
    },
    sql_error,
};

use super::{Backend, Db, Tx, traits::wrong_database, tx::TxBackend};

impl SagaStore for Db {
    async fn lock_runs(&self, tx: &mut Tx, runs: &[RunId]) -> Result<Vec<Option<StoredRun>>, Error> {
        let result = match (&self.0.backend, &mut tx.backend) {
            (Backend::Postgres { tables, .. }, TxBackend::Postgres(tx)) => tables.lock_runs(tx, runs).await,
            (Backend::Sqlite { tables, .. }, TxBackend::Sqlite(tx)) => tables.lock_runs(tx, runs).await,
            _ => Err(wrong_database()),
        };
        tx.checked(result)
    }

    async fn save_runs(&self, tx: &mut Tx, changes: &[RunChange]) -> Result<bool, Error> {
        let result = match (&self.0.backend, &mut tx.backend) {
            (Backend::Postgres { tables, .. }, TxBackend::Postgres(tx)) => {
                tables.save_runs(tx, changes).await
            }
            (Backend::Sqlite { tables, .. }, TxBackend::Sqlite(tx)) => tables.save_runs(tx, changes).await,
            _ => Err(wrong_database()),
        };
        tx.checked(result)
    }

    async fn keep_early(&self, tx: &mut Tx, run: &RunId, message: &Message) -> Result<(), Error> {
        let result = match (&self.0.backend, &mut tx.backend) {
            (Backend::Postgres { tables, .. }, TxBackend::Postgres(tx)) => {
                tables.keep_early(tx, run, message).await
            }
            (Backend::Sqlite { tables, .. }, TxBackend::Sqlite(tx)) => {
                tables.keep_early(tx, run, message).await
            }
            _ => Err(wrong_database()),
        };
        tx.checked(result)
    }

    async fn take_early(&self, tx: &mut Tx, run: &RunId) -> Result<Vec<Message>, Error> {
        let result = match (&self.0.backend, &mut tx.backend) {
            (Backend::Postgres { tables, .. }, TxBackend::Postgres(tx)) => tables.take_early(tx, run).await,
            (Backend::Sqlite { tables, .. }, TxBackend::Sqlite(tx)) => tables.take_early(tx, run).await,
            _ => Err(wrong_database()),
        };
        tx.checked(result)
    }

    async fn lock_run_with_timers(&self, tx: &mut Tx, run: &RunId) -> Result<Option<LockedRun>, Error> {
        let result = match (&self.0.backend, &mut tx.backend) {
            (Backend::Postgres { tables, .. }, TxBackend::Postgres(tx)) => {
                tables.lock_run_with_timers(tx, run).await
            }
            (Backend::Sqlite { tables, .. }, TxBackend::Sqlite(tx)) => {
                tables.lock_run_with_timers(tx, run).await
            }
            _ => Err(wrong_database()),
        };
        tx.checked(result)
    }

    async fn delete_timers(&self, tx: &mut Tx, run: &RunId, timers: &[TimerId]) -> Result<(), Error> {
        let result = match (&self.0.backend, &mut tx.backend) {
            (Backend::Postgres { tables, .. }, TxBackend::Postgres(tx)) => {
                tables.delete_timers(tx, run, timers).await
            }
            (Backend::Sqlite { tables, .. }, TxBackend::Sqlite(tx)) => {
                tables.delete_timers(tx, run, timers).await
            }
            _ => Err(wrong_database()),
        };
        tx.checked(result)
    }

    async fn postpone_run(
        &self,
        tx: &mut Tx,
        run: &RunId,
        delay: Duration,
        error: &str,
    ) -> Result<(), Error> {
        let result = match (&self.0.backend, &mut tx.backend) {
            (Backend::Postgres { tables, .. }, TxBackend::Postgres(tx)) => {
                tables.postpone_run(tx, run, delay, error).await
            }
            (Backend::Sqlite { tables, .. }, TxBackend::Sqlite(tx)) => {
                tables.postpone_run(tx, run, delay, error).await
            }
            _ => Err(wrong_database()),
        };
        tx.checked(result)
    }

    async fn due_runs(&self, limit: u32) -> Result<DueRuns, Error> {
        self.check_open()?;
        match &self.0.backend {
            Backend::Postgres { pool, tables, .. } => {
                tables.due_runs(&mut *pool.acquire().await.map_err(sql_error)?, limit).await
            }
            Backend::Sqlite { reader, tables, .. } => {
                tables.due_runs(&mut *reader.acquire().await.map_err(sql_error)?, limit).await
            }
        }
    }

    async fn sweep_runs(&self, retention: Duration) -> Result<Swept, Error> {
        self.check_open()?;
        match &self.0.backend {
            Backend::Postgres { pool, tables, .. } => {
                tables.sweep_runs(&mut *pool.acquire().await.map_err(sql_error)?, retention).await
            }
            Backend::Sqlite { writer, tables, .. } => {
                tables.sweep_runs(&mut *writer.acquire().await.map_err(sql_error)?, retention).await
            }
        }
    }
}

impl Db {
    /// Deletes at most `limit` runs that ended more than `older_than` ago, with their logs, in `tx`. Returns their number.
    ///
    /// # Errors
    /// Returns the kind that [`sql_error`] derives from the database's error.
    pub async fn delete_ended_sagas(
        &self,
        tx: &mut Tx,
        older_than: Duration,
        limit: u32,
    ) -> Result<u64, Error> {
        let result = match (&self.0.backend, &mut tx.backend) {
            (Backend::Postgres { tables, .. }, TxBackend::Postgres(tx)) => {
                tables.delete_ended_sagas(tx, older_than, limit).await
            }
            (Backend::Sqlite { tables, .. }, TxBackend::Sqlite(tx)) => {
                tables.delete_ended_sagas(tx, older_than, limit).await
            }
            _ => Err(wrong_database()),
        };
        tx.checked(result)
    }

    /// Counts the runs that have not ended, by saga, version and phase.
    ///
    /// # Errors
    /// Returns `NotExecuted` if the database is not open yet. Otherwise returns the kind that [`sql_error`] derives
    /// from the database's error.
    pub async fn saga_counts(&self) -> Result<Vec<RunCount>, Error> {
        self.check_open()?;
        match &self.0.backend {
            Backend::Postgres { pool, tables, .. } => {
                tables.saga_counts(&mut *pool.acquire().await.map_err(sql_error)?).await
            }
            Backend::Sqlite { reader, tables, .. } => {
                tables.saga_counts(&mut *reader.acquire().await.map_err(sql_error)?).await
            }
        }
    }

    /// Returns at most `limit` runs behind `after` that pass `filter`, in the order of their identities.
    ///
    /// # Errors
    /// Returns `NotExecuted` if the database is not open yet. Otherwise returns the kind that [`sql_error`] derives
    /// from the database's error.
    pub async fn saga_runs(
        &self,
        filter: &RunFilter,
        after: Option<&RunId>,
        limit: u32,
    ) -> Result<Vec<StoredRun>, Error> {
        self.check_open()?;
        match &self.0.backend {
            Backend::Postgres { pool, tables, .. } => {
                let mut conn = pool.acquire().await.map_err(sql_error)?;
                tables.saga_runs(&mut conn, filter, after, limit).await
            }
            Backend::Sqlite { reader, tables, .. } => {
                let mut conn = reader.acquire().await.map_err(sql_error)?;
                tables.saga_runs(&mut conn, filter, after, limit).await
            }
        }
    }

    /// Returns everything that is stored about `run`.
    ///
    /// # Errors
    /// Returns `NotExecuted` if the database is not open yet, and `Internal` if a line of the log does not decode.
    /// Otherwise returns the kind that [`sql_error`] derives from the database's error.
    pub async fn saga_timeline(&self, run: &RunId) -> Result<Option<Timeline>, Error> {
        self.check_open()?;
        match &self.0.backend {
            Backend::Postgres { pool, tables, .. } => {
                tables.saga_timeline(&mut *pool.acquire().await.map_err(sql_error)?, run).await
            }
            Backend::Sqlite { reader, tables, .. } => {
                tables.saga_timeline(&mut *reader.acquire().await.map_err(sql_error)?, run).await
            }
        }
    }
}
