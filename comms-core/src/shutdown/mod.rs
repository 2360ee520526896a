//! Graceful shutdown in stages: a stage stops accepting work and drains before the next stage is signalled.
//!
//! The parts of a process need each other to finish their work: a handler needs the database, an acknowledgement needs
//! the producer. Parts that stop at the same moment fail each other's work. Parts that stop one after the other without
//! a limit delay the deploy for as long as one of them hangs.
//!
//! A [`Shutdown`] signals its stages in the order in which they were added. A stage is signalled when the tasks of the
//! stage before it have ended, or when the time limit of that stage has passed. All stages share one deadline. A task
//! that does not end within the time limit of its stage is listed in [`Ended::late`]; a task that still runs at the
//! deadline is aborted, which rolls its transaction back. [`Shutdown::failed`] resolves when a task fails, panics, or
//! ends before shutdown was requested. A second signal aborts everything at once.
//!
//! The usual stages: *unready* (the load balancer stops sending), *stop accepting*, *drain* (handlers end), *commit*
//! (offsets, acknowledgements), *flush* (producers, databases, telemetry). The process's signals are futures that the
//! caller passes in.
//!
//! A task that blocks its thread cannot be aborted. Tasks that were not spawned in a [`Stage`] are not waited for.

mod stage;

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::watch;

use crate::{Error, clock::Clock};
pub use stage::{ShutdownSignal, Stage};

/// The longest `limit` of [`Shutdown::end`], so that the sum of the clock and the limit does not overflow.
const LIMIT: Duration = Duration::from_secs(365 * 24 * 3600);

/// Names of late tasks as (stage, task), ordered by the positions of both.
type Late = BTreeMap<(usize, u64), (Arc<str>, Arc<str>)>;

/// The long-running tasks of a process, by stage. Clones share the stages.
///
/// ```
/// use comms_core::{clock::Clock, shutdown::Shutdown};
/// use std::{future::{pending, ready}, time::Duration};
/// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
/// let shutdown = Shutdown::new(Clock::system());
/// let accept = shutdown.stage("stop accepting");
/// let flush = shutdown.stage_within("flush", Duration::from_secs(2));
/// accept.spawn("listener", |signal| async move {
///     signal.wait().await;
///     Ok(())
/// });
/// flush.at_end("producer", async { Ok(()) });
/// let signal = ready(()); // a service waits here for SIGTERM or for `shutdown.failed()`
/// signal.await;
/// // All stages end within 10 s. There is no second signal in this example.
/// let ended = shutdown.end(Duration::from_secs(10), pending()).await;
/// assert!(ended.is_clean());
/// # });
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Shutdown {
    clock: Clock,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    stages: Mutex<Vec<Stage>>,
    failures: Failures,
}

/// The first failure of a task, and the channel that reports it.
#[derive(Debug, Clone, Default)]
struct Failures {
    first: Arc<Mutex<Option<Error>>>,
    reported: watch::Sender<bool>,
}

impl Failures {
    fn report(&self, error: Error) {
        self.lock().get_or_insert(error);
        self.reported.send_replace(true);
    }

    fn lock(&self) -> MutexGuard<'_, Option<Error>> {
        self.first.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The result of a shutdown.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Ended {
    /// The first failure of a task, before or during the shutdown.
    pub failure: Option<Error>,
    /// Tasks that did not end in the time of their stage, as (stage, task), in the order of the stages. Those that
    /// still ran at the deadline were aborted.
    pub late: Vec<(Arc<str>, Arc<str>)>,
    /// Whether a second signal ended the shutdown early.
    pub interrupted: bool,
}

impl Ended {
    /// Returns whether every task ended in time and none failed.
    #[must_use]
    pub const fn is_clean(&self) -> bool {
        self.failure.is_none() && self.late.is_empty() && !self.interrupted
    }
}

impl Shutdown {
    /// Creates a shutdown without stages, timed by `clock`.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self { clock, shared: Arc::default() }
    }

    /// Adds a stage after the existing ones.
    ///
    /// The time limit of the stage is half of the time that is left until the deadline when the stage is signalled, so
    /// that a stage that hangs leaves time for the later stages. The time limit of the last stage is all of the
    /// remaining time.
    ///
    /// A stage that is added after [`end`](Self::end) was called is neither signalled nor waited for.
    #[must_use]
    pub fn stage(&self, name: &str) -> Stage {
        self.add(name, None)
    }

    /// Adds a stage, as [`stage`](Self::stage) does, with the time limit `limit`. The deadline ends the stage earlier.
    #[must_use]
    pub fn stage_within(&self, name: &str, limit: Duration) -> Stage {
        self.add(name, Some(limit))
    }

    fn add(&self, name: &str, limit: Option<Duration>) -> Stage {
        let stage = Stage::new(name, limit, self.shared.failures.clone());
        self.stages().push(stage.clone());
        stage
    }

    /// Resolves when a task fails, panics, or ends before shutdown was requested.
    pub async fn failed(&self) {
        // `self` owns the sender, so the channel cannot close.
        let _ = self.shared.failures.reported.subscribe().wait_for(|reported| *reported).await;
    }

    /// Signals the stages in order and waits for their tasks, for at most `limit` in all (at most a year).
    ///
    /// `limit` sets the deadline of all stages. A task that exceeds the time limit of its stage may run until the
    /// deadline, and is aborted then. When `now` resolves (a second signal), all remaining tasks are signalled and
    /// aborted at once. Pass [`std::future::pending`] if there is no second signal.
    ///
    /// This method never waits longer than `limit`. A task that blocks its thread is aborted when it next yields.
    pub async fn end(&self, limit: Duration, now: impl Future<Output = ()>) -> Ended {
        let stages = self.stages().clone();
        let mut late = Late::new();
        let interrupted = tokio::select! {
            biased;
            () = self.end_in_order(&stages, limit.min(LIMIT), &mut late) => false,
            () = now => true,
        };
        for (place, stage) in stages.iter().enumerate() {
            add_late(&mut late, place, stage);
            stage.abort();
        }
        let late = late.into_values().collect();
        Ended { failure: self.shared.failures.lock().take(), late, interrupted }
    }

    async fn end_in_order(&self, stages: &[Stage], limit: Duration, late: &mut Late) {
        let end = self.clock.now() + limit;
        let left = || end.saturating_duration_since(self.clock.now());
        for (place, stage) in stages.iter().enumerate() {
            let usual = if place + 1 == stages.len() { left() } else { left() / 2 };
            let limit = stage.limit.map_or(usual, |own| own.min(left()));
            let begun = self.clock.now();
            stage.request();
            if self.empty_within(stage, limit).await {
                let took = self.clock.now().saturating_duration_since(begun);
                tracing::info!(stage = stage.name(), ?took, "stage ended");
                continue;
            }
            tracing::warn!(stage = stage.name(), tasks = ?stage.names(), ?limit, "stage did not end in time; going on");
            add_late(late, place, stage);
        }
        // Late tasks may use the time that is left.
        for stage in stages {
            self.empty_within(stage, left()).await;
        }
    }

    async fn empty_within(&self, stage: &Stage, limit: Duration) -> bool {
        tokio::select! {
            biased;
            () = stage.empty() => true,
            () = self.clock.sleep(limit) => false,
        }
    }

    fn stages(&self) -> MutexGuard<'_, Vec<Stage>> {
        self.shared.stages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Adds the tasks that run in `stage` to the late ones.
fn add_late(late: &mut Late, place: usize, stage: &Stage) {
    let named = |(number, task)| ((place, number), (stage.name.clone(), task));
    late.extend(stage.running().into_iter().map(named));
}

#[cfg(test)]
mod tests;
