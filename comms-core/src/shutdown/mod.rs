//! The end in order: each stage stops taking, drains, and only then the next one is told.
//!
//! The problem: a process that is told to stop has work in its hands, and its parts need one another to finish it:
//! a handler needs the database, an acknowledgement the producer. Stopped all at once they fail each other;
//! stopped one after the other without a limit, one that hangs holds up the deploy until it is killed.
//!
//! The promise: stages end in the order they were added. A stage is told when every task of the earlier ones has
//! ended or has used up its time; every stage has its limit, all of them one deadline. What did not end in the time of
//! its stage is named in [`Ended`]; what still runs at the deadline is aborted, which rolls its transaction back. A task that fails, panics, or ends
//! without being told is heard by [`Shutdown::failed`]. A second signal ends everything now.
//!
//! The usual order: *unready* (the load balancer looks away), *stop accepting*, *drain* (handlers end), *commit*
//! (offsets, acknowledgements), *flush* (producers, databases, telemetry). Signals are futures that are passed in.
//!
//! What breaks it: a task that blocks its thread cannot be aborted, and work spawned elsewhere is not known here.

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

/// The longest `limit` of [`Shutdown::end`]: a clock has no end of days.
const LIMIT: Duration = Duration::from_secs(365 * 24 * 3600);

/// Tasks that were late, as (stage, task), by the places of both.
type Late = BTreeMap<(usize, u64), (Arc<str>, Arc<str>)>;

/// The long-running tasks of a process, by stage. Clones share them.
///
/// ```
/// use comms_core::{clock::Clock, shutdown::Shutdown};
/// use std::{future::{pending, ready}, time::Duration};
/// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
/// let shutdown = Shutdown::new(Clock::system());
/// let accept = shutdown.stage("stop accepting");
/// let flush = shutdown.stage_within("flush", Duration::from_secs(2));
/// accept.spawn("listener", |told| async move {
///     told.wait().await;
///     Ok(())
/// });
/// flush.at_end("producer", async { Ok(()) });
/// let signal = ready(()); // a service awaits its signal, or `shutdown.failed()`
/// signal.await;
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

/// The first failure, and who waits for it.
#[derive(Debug, Clone, Default)]
struct Failures {
    first: Arc<Mutex<Option<Error>>>,
    heard: watch::Sender<bool>,
}

impl Failures {
    fn say(&self, error: Error) {
        self.lock().get_or_insert(error);
        self.heard.send_replace(true);
    }

    fn lock(&self) -> MutexGuard<'_, Option<Error>> {
        self.first.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a shut-down ended.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Ended {
    /// The first failure of a task, before or during the end.
    pub failure: Option<Error>,
    /// Tasks that did not end in the time of their stage, as (stage, task), in the order of the stages. Those that
    /// still ran at the end were aborted.
    pub late: Vec<(Arc<str>, Arc<str>)>,
    /// It was cut short by the second signal.
    pub hurried: bool,
}

impl Ended {
    /// Whether everything ended in time, and nothing failed.
    #[must_use]
    pub const fn is_clean(&self) -> bool {
        self.failure.is_none() && self.late.is_empty() && !self.hurried
    }
}

impl Shutdown {
    /// No stages; times are those of `clock`.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self { clock, shared: Arc::default() }
    }

    /// Adds a stage behind those that are there. It may take half of what is left of the deadline when its turn
    /// comes: one that hangs does not take the time of all that follow. The last may take all that is left.
    ///
    /// A stage that is added when [`end`](Self::end) has begun is neither told nor waited for.
    #[must_use]
    pub fn stage(&self, name: &str) -> Stage {
        self.add(name, None)
    }

    /// As [`Shutdown::stage`], with a limit of its own; the deadline of all stands over it.
    #[must_use]
    pub fn stage_within(&self, name: &str, limit: Duration) -> Stage {
        self.add(name, Some(limit))
    }

    fn add(&self, name: &str, limit: Option<Duration>) -> Stage {
        let stage = Stage::new(name, limit, self.shared.failures.clone());
        self.stages().push(stage.clone());
        stage
    }

    /// Resolves when a task has failed, has panicked, or has ended without being told.
    pub async fn failed(&self) {
        // The sender is in `self`: it cannot close.
        let _ = self.shared.failures.heard.subscribe().wait_for(|heard| *heard).await;
    }

    /// Ends every stage in order, all within `limit` (at most a year); what is late has until then. When `now`
    /// resolves (a second signal), the rest is told and aborted at once; [`std::future::pending`] where there is none.
    ///
    /// Never waits longer than `limit`, but for tasks that block their threads: those are aborted when they
    /// next yield.
    pub async fn end(&self, limit: Duration, now: impl Future<Output = ()>) -> Ended {
        let stages = self.stages().clone();
        let mut late = Late::new();
        let hurried = tokio::select! {
            biased;
            () = self.in_order(&stages, limit.min(LIMIT), &mut late) => false,
            () = now => true,
        };
        for (place, stage) in stages.iter().enumerate() {
            note(&mut late, place, stage);
            stage.abort();
        }
        let late = late.into_values().collect();
        Ended { failure: self.shared.failures.lock().take(), late, hurried }
    }

    async fn in_order(&self, stages: &[Stage], limit: Duration, late: &mut Late) {
        let end = self.clock.now() + limit;
        let left = || end.saturating_duration_since(self.clock.now());
        for (place, stage) in stages.iter().enumerate() {
            let usual = if place + 1 == stages.len() { left() } else { left() / 2 };
            let limit = stage.limit.map_or(usual, |own| own.min(left()));
            let begun = self.clock.now();
            stage.tell();
            if self.empty_within(stage, limit).await {
                let took = self.clock.now().saturating_duration_since(begun);
                tracing::info!(stage = stage.name(), ?took, "stage ended");
                continue;
            }
            tracing::warn!(stage = stage.name(), tasks = ?stage.names(), ?limit, "stage did not end in time; going on");
            note(late, place, stage);
        }
        // What is late may use what is left.
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

/// What runs in `stage` is late.
fn note(late: &mut Late, place: usize, stage: &Stage) {
    let named = |(number, task)| ((place, number), (stage.name.clone(), task));
    late.extend(stage.running().into_iter().map(named));
}

#[cfg(test)]
mod tests;
