//! Runs of sagas in the transactions of a unit of work.

use std::time::Duration;

use comms_core::{Error, Message, saga::TimerId};

use super::{SqliteTx, SqliteUnit};
use crate::{
    saga::{DueRuns, LockedRun, RunChange, RunId, SagaStore, StoredRun, Swept},
    sql_error,
};

impl SagaStore for SqliteUnit {
    async fn lock_runs(&self, tx: &mut SqliteTx, runs: &[RunId]) -> Result<Vec<Option<StoredRun>>, Error> {
        let result = self.tables.lock_runs(tx, runs).await;
        tx.checked(result)
    }

    async fn save_runs(&self, tx: &mut SqliteTx, changes: &[RunChange]) -> Result<bool, Error> {
        let result = self.tables.save_runs(tx, changes).await;
        tx.checked(result)
    }

    async fn keep_early(&self, tx: &mut SqliteTx, run: &RunId, message: &Message) -> Result<(), Error> {
        let result = self.tables.keep_early(tx, run, message).await;
        tx.checked(result)
    }

    async fn take_early(&self, tx: &mut SqliteTx, run: &RunId) -> Result<Vec<Message>, Error> {
        let result = self.tables.take_early(tx, run).await;
        tx.checked(result)
    }

    async fn lock_run_with_timers(&self, tx: &mut SqliteTx, run: &RunId) -> Result<Option<LockedRun>, Error> {
        let result = self.tables.lock_run_with_timers(tx, run).await;
        tx.checked(result)
    }

    async fn delete_timers(&self, tx: &mut SqliteTx, run: &RunId, timers: &[TimerId]) -> Result<(), Error> {
        let result = self.tables.delete_timers(tx, run, timers).await;
        tx.checked(result)
    }

    async fn postpone_run(
        &self,
        tx: &mut SqliteTx,
        run: &RunId,
        delay: Duration,
        error: &str,
    ) -> Result<(), Error> {
        let result = self.tables.postpone_run(tx, run, delay, error).await;
        tx.checked(result)
    }

    async fn due_runs(&self, limit: u32) -> Result<DueRuns, Error> {
        let mut conn = self.pool.acquire().await.map_err(sql_error)?;
        self.tables.due_runs(&mut conn, limit).await
    }

    async fn sweep_runs(&self, retention: Duration) -> Result<Swept, Error> {
        let mut conn = self.pool.acquire().await.map_err(sql_error)?;
        self.tables.sweep_runs(&mut conn, retention).await
    }
}
