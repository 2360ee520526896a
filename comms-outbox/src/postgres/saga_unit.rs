//! Runs of sagas in the transactions of a unit of work.

use std::time::Duration;

use comms_core::{Error, Message, saga::TimerId};

use super::PgUnit;
use crate::{
    saga::{DueRuns, LockedRun, RunChange, RunId, SagaStore, StoredRun, Swept},
    sql_error,
};

impl SagaStore for PgUnit {
    async fn lock_runs(&self, tx: &mut Self::Tx, runs: &[RunId]) -> Result<Vec<Option<StoredRun>>, Error> {
        self.tables.lock_runs(tx, runs).await
    }

    async fn save_runs(&self, tx: &mut Self::Tx, changes: &[RunChange]) -> Result<bool, Error> {
        self.tables.save_runs(tx, changes).await
    }

    async fn keep_early(&self, tx: &mut Self::Tx, run: &RunId, message: &Message) -> Result<(), Error> {
        self.tables.keep_early(tx, run, message).await
    }

    async fn take_early(&self, tx: &mut Self::Tx, run: &RunId) -> Result<Vec<Message>, Error> {
        self.tables.take_early(tx, run).await
    }

    async fn lock_run_with_timers(&self, tx: &mut Self::Tx, run: &RunId) -> Result<Option<LockedRun>, Error> {
        self.tables.lock_run_with_timers(tx, run).await
    }

    async fn delete_timers(&self, tx: &mut Self::Tx, run: &RunId, timers: &[TimerId]) -> Result<(), Error> {
        self.tables.delete_timers(tx, run, timers).await
    }

    async fn postpone_run(
        &self,
        tx: &mut Self::Tx,
        run: &RunId,
        delay: Duration,
        error: &str,
    ) -> Result<(), Error> {
        self.tables.postpone_run(tx, run, delay, error).await
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
