//! The loop that handles due timers, and repairs runs without one.

use std::{
    future::Future,
    panic::AssertUnwindSafe,
    pin::{Pin, pin},
    time::{Duration, Instant},
};

use comms_core::{
    Error,
    saga::{Input, Phase},
};
use futures::{
    FutureExt, StreamExt,
    future::{Fuse, FusedFuture},
    stream,
};

use super::{DueRuns, RunChange, RunId, RunInput, SagaStore, coordinator::Inner, progress::Progress};
use crate::{
    parked::sanitize,
    relay::{CALL_LIMIT, limited},
};

/// Time limit of the transaction of one run.
const RUN_LIMIT: Duration = Duration::from_secs(30);

impl<U: SagaStore> Inner<U> {
    pub(super) async fn drive(&self, shutdown: impl Future<Output = ()> + Send) -> Result<(), Error> {
        let mut shutdown = pin!(shutdown.fuse());
        let (mut next_sweep, mut failures) = (self.clock().now(), 0);
        while !shutdown.is_terminated() {
            if let Some(heartbeat) = &self.settings.heartbeat {
                heartbeat.beat();
            }
            let pause = match self.turn(&mut next_sweep, shutdown.as_mut()).await {
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
            if shutdown.is_terminated() || pause.is_zero() {
                continue;
            }
            tokio::select! {
                biased;
                () = shutdown.as_mut() => {}
                () = self.clock().sleep(pause) => {}
                () = self.wake.notified(), if failures == 0 => {}
            }
        }
        Ok(())
    }

    /// Handles a page of due timers. Returns the pause before the next one.
    async fn turn(
        &self,
        next_sweep: &mut Instant,
        shutdown: Pin<&mut Fuse<impl Future<Output = ()> + Send>>,
    ) -> Result<Duration, Error> {
        let now = self.clock().now();
        let mut runs = Vec::new();
        if *next_sweep <= now {
            runs = self.sweep().await?;
            *next_sweep = now + self.settings.sweep_interval;
        }
        let due: DueRuns = limited(self.clock(), CALL_LIMIT, self.store.due_runs(self.settings.page)).await?;
        self.reporter.lag(due.lag);
        runs.extend(due.runs);
        let visits = stream::iter(runs).take_until(shutdown).map(|run| async move { self.visit(&run).await });
        let results: Vec<_> = visits.buffer_unordered(self.settings.concurrency).collect().await;
        let results: Vec<bool> = results.into_iter().collect::<Result<_, _>>()?;
        // If other processes handle all of them, a pause lets them finish.
        let until_next = if results.contains(&true) { Some(Duration::ZERO) } else { due.next };
        let until_sweep = next_sweep.saturating_duration_since(self.clock().now());
        Ok(self.settings.poll_interval.min(until_sweep).min(until_next.unwrap_or(Duration::MAX)))
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
