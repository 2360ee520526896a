//! The loop that handles due timers, and repairs runs without one.

use std::{collections::HashSet, future::Future, panic::AssertUnwindSafe, time::Duration};

use comms_core::{
    Error,
    saga::{Input, Phase},
};
use futures::{
    FutureExt, StreamExt,
    future::{FusedFuture, Shared},
    stream,
};

use super::{DueRuns, RunChange, RunId, RunInput, SagaStore, inner::Inner, progress::Progress};
use crate::{
    parked::sanitize,
    relay::{CALL_LIMIT, limited},
};

/// Time limit of the transaction of one run.
const RUN_LIMIT: Duration = Duration::from_secs(30);

impl<U: SagaStore> Inner<U> {
    pub(super) async fn drive(&self, shutdown: impl Future<Output = ()> + Send) -> Result<(), Error> {
        let shutdown = shutdown.shared();
        // A sweep that fails or is slow delays no timer.
        futures::join!(self.drive_timers(shutdown.clone()), self.drive_sweeps(shutdown));
        Ok(())
    }

    async fn drive_timers(&self, mut shutdown: Shared<impl Future<Output = ()> + Send>) {
        let mut failures = 0;
        while !has_resolved(&shutdown) {
            let pause = match self.turn(&shutdown).await {
                Ok(pause) => {
                    failures = 0;
                    self.reporter.answered();
                    pause
                }
                Err(error) => {
                    failures += 1;
                    let error = error.chain().to_string();
                    tracing::warn!(failures, %error, "the saga coordinator cannot read or write: it is repeated");
                    self.reporter.failed(error);
                    self.settings.backoff.delay(failures, self.clock())
                }
            };
            if pause.is_zero() {
                continue;
            }
            tokio::select! {
                biased;
                () = &mut shutdown => {}
                () = self.clock().sleep(pause) => {}
                () = self.wake.notified(), if failures == 0 => {}
            }
        }
    }

    /// Handles a page of due timers. Returns the pause before the next one.
    async fn turn(&self, shutdown: &Shared<impl Future<Output = ()> + Send>) -> Result<Duration, Error> {
        let (mut limit, mut skipped) = (self.settings.page, HashSet::new());
        loop {
            if let Some(heartbeat) = &self.settings.heartbeat {
                heartbeat.beat();
            }
            let due: DueRuns = limited(self.clock(), CALL_LIMIT, self.store.due_runs(limit)).await?;
            self.reporter.lag(due.lag);
            let runs: Vec<_> = due.runs.into_iter().filter(|run| !skipped.contains(run)).collect();
            let is_last = runs.is_empty() || due.next.is_some();
            let concurrency = self.settings.concurrency;
            if self.visit_all(runs.clone(), concurrency, shutdown).await?.contains(&true) {
                return Ok(Duration::ZERO);
            }
            // If other processes handle all of them, a pause lets them finish.
            if is_last || has_resolved(shutdown) {
                return Ok(self.settings.poll_interval.min(due.next.unwrap_or(Duration::MAX)));
            }
            // Runs that others have locked must not hide the later ones.
            skipped.extend(runs);
            limit = limit.saturating_mul(2);
        }
    }

    async fn visit_all(
        &self,
        runs: Vec<RunId>,
        concurrency: usize,
        shutdown: &Shared<impl Future<Output = ()> + Send>,
    ) -> Result<Vec<bool>, Error> {
        let visits = stream::iter(runs).take_until(shutdown.clone());
        let visits = visits.map(|run| async move { self.visit(&run).await });
        let results: Vec<_> = visits.buffer_unordered(concurrency).collect().await;
        results.into_iter().collect()
    }

    async fn drive_sweeps(&self, mut shutdown: Shared<impl Future<Output = ()> + Send>) {
        while !has_resolved(&shutdown) {
            let swept = async {
                let runs = self.sweep().await?;
                self.visit_all(runs, 1, &shutdown).await
            };
            if let Err(error) = swept.await {
                let error = error.chain();
                tracing::warn!(%error, "the sweep of the saga coordinator failed: it is repeated after the interval");
            }
            tokio::select! {
                biased;
                () = &mut shutdown => {}
                () = self.clock().sleep(self.settings.sweep_interval) => {}
            }
        }
    }

    /// Handles the due timers of a run in one transaction. Returns `false` if another transaction has locked the run.
    ///
    /// # Errors
    /// Returns an error if the failure of the run cannot be stored, so that the database is away. Any other failure
    /// postpones the timers of this run alone.
    async fn visit(&self, run: &RunId) -> Result<bool, Error> {
        let attempt = AssertUnwindSafe(self.clock().timeout(RUN_LIMIT, self.attempt(run))).catch_unwind();
        let result = match attempt.await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(Error::not_executed(format!("the transaction took longer than {RUN_LIMIT:?}"))),
            Err(_) => Err(Error::internal("a function of the definition, or on_transition, panicked")),
        };
        match result {
            Ok(None) => Ok(false),
            Ok(Some(changes)) => {
                self.committed(&changes);
                Ok(true)
            }
            Err(error) => limited(self.clock(), CALL_LIMIT, self.postpone(run, &error)).await,
        }
    }

    async fn attempt(&self, run: &RunId) -> Result<Option<Vec<RunChange>>, Error> {
        let mut tx = self.store.begin().await?;
        let Some(locked) = self.store.lock_run_with_timers(&mut tx, run).await? else {
            // Timers without a run are deleted.
            self.store.commit(tx).await?;
            return Ok(None);
        };
        let mut progress = Progress::new(self);
        let is_in_progress = matches!(locked.run.phase, Phase::Running | Phase::Compensating);
        progress.load(locked.run);
        if locked.timers.is_empty() && is_in_progress {
            progress.repair(run)?;
        }
        let (context, mut stale) = (progress.stored_context(run), Vec::new());
        for timer in locked.timers.into_iter().filter(|timer| timer.is_due).map(|timer| timer.id) {
            let input = RunInput::Timer { timer: timer.clone() };
            if !progress.advance(run, &Input::Timer(timer.clone()), input, &context)? {
                stale.push(timer);
            }
        }
        if !stale.is_empty() {
            self.store.delete_timers(&mut tx, run, &stale).await?;
        }
        let changes = progress.save(&mut tx).await?;
        self.store.commit(tx).await?;
        Ok(Some(changes))
    }

    /// Postpones the due timers of a run that failed with `error`.
    async fn postpone(&self, run: &RunId, error: &Error) -> Result<bool, Error> {
        let reason = sanitize(error.chain().to_string());
        let mut tx = self.store.begin().await?;
        let Some(locked) = self.store.lock_run_with_timers(&mut tx, run).await? else { return Ok(false) };
        // The attempt was committed although its answer was lost, or another process was faster.
        if !locked.timers.is_empty() && !locked.timers.iter().any(|timer| timer.is_due) {
            return Ok(true);
        }
        if locked.run.error.as_ref() != Some(&reason) {
            tracing::warn!(%run, error = %reason, "a timer of a run failed: it is postponed and repeated");
        }
        let delay = self.settings.backoff.delay(locked.run.failures.saturating_add(1), self.clock());
        self.store.postpone_run(&mut tx, run, delay, &reason).await?;
        self.store.commit(tx).await?;
        self.reporter.run_failed(run);
        Ok(true)
    }

    /// Counts the runs, and returns those without a timer.
    async fn sweep(&self) -> Result<Vec<RunId>, Error> {
        let retention = self.settings.early_retention;
        let swept = limited(self.clock(), CALL_LIMIT, self.store.sweep_runs(retention)).await?;
        if swept.expired > 0 {
            let messages = swept.expired;
            tracing::warn!(
                messages,
                ?retention,
                "early messages were deleted: their runs did not start in time"
            );
        }
        self.reporter.counts(&swept.counts, &self.definitions);
        Ok(swept.without_timer)
    }
}

/// Returns whether a clone of `shutdown` has resolved, polled through this one or not.
fn has_resolved(shutdown: &Shared<impl Future<Output = ()>>) -> bool {
    shutdown.is_terminated() || shutdown.peek().is_some()
}
