//! The end in order: each stage stops taking, drains, and only then the next one is told.

use std::{
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use comms_core::{Clock, Error};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// The stages of a shut-down, in order: who asks goes before who answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// HTTP: no new requests.
    Edge,
    /// Consumers, and relays that deliver in the process.
    Consumers,
    /// gRPC servers.
    Calls,
    /// Relays to a broker.
    Relays,
    /// Sockets: told to come back.
    Sockets,
    /// The admin listener, last, so that a probe sees the draining.
    Admin,
}

const ORDER: [Stage; 6] =
    [Stage::Edge, Stage::Consumers, Stage::Calls, Stage::Relays, Stage::Sockets, Stage::Admin];

/// Every long-running task of the process, by stage. The first that fails ends all.
#[derive(Clone, Default)]
pub struct Stages {
    stages: Arc<[(CancellationToken, TaskTracker); 6]>,
    failed: CancellationToken,
    failure: Arc<Mutex<Option<Error>>>,
}

impl Stages {
    /// Runs `task` until its stage is told to end, which it learns from the token it is given.
    pub fn spawn<F, Fut>(&self, stage: Stage, name: &'static str, task: F)
    where
        F: FnOnce(CancellationToken) -> Fut,
        Fut: Future<Output = Result<(), Error>> + Send + 'static,
    {
        let (token, tracker) = &self.stages[stage as usize];
        let (work, this, token) = (task(token.clone()), self.clone(), token.clone());
        tracker.spawn(async move {
            let end = work.await;
            let error = match end {
                Ok(()) if token.is_cancelled() => return,
                Ok(()) => Error::fatal("ended without being told to"),
                Err(error) => error,
            };
            tracing::error!(task = name, %error, "failed");
            this.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error.context(name));
            this.failed.cancel();
        });
    }

    /// Resolves when a task has failed.
    pub async fn failed(&self) {
        self.failed.cancelled().await;
    }

    /// Ends every stage in order, all within `limit`; each may take half of what is left; what has
    /// not ended by then is dropped with the runtime. Returns the first failure of a task, if there was one.
    ///
    /// # Errors
    /// That failure.
    pub async fn shut_down(&self, limit: Duration, clock: &Clock) -> Result<(), Error> {
        let end: Instant = clock.now() + limit;
        for stage in ORDER {
            let (token, tracker) = &self.stages[stage as usize];
            token.cancel();
            tracker.close();
            // Half of what is left: one stage that hangs does not take the time of all that follow.
            let left = end.saturating_duration_since(clock.now()) / 2;
            if tokio::time::timeout(left, tracker.wait()).await.is_err() {
                tracing::warn!(?stage, tasks = tracker.len(), "did not end in time; going on");
            }
        }
        match self.failure.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_later_stage_is_told_only_when_the_earlier_has_drained() {
        let stages = Stages::default();
        let log = Arc::new(Mutex::new(Vec::new()));
        for (stage, name) in [(Stage::Relays, "relay"), (Stage::Edge, "edge")] {
            let log = log.clone();
            stages.spawn(stage, name, move |told| async move {
                told.cancelled().await;
                log.lock().unwrap().push(format!("{name} told"));
                tokio::time::sleep(Duration::from_secs(1)).await;
                log.lock().unwrap().push(format!("{name} done"));
                Ok(())
            });
        }
        stages.shut_down(Duration::from_secs(10), &Clock::system()).await.unwrap();
        assert_eq!(*log.lock().unwrap(), ["edge told", "edge done", "relay told", "relay done"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_task_is_heard_and_named() {
        let stages = Stages::default();
        stages.spawn(Stage::Consumers, "saga", |_| async { Err(Error::fatal("fenced")) });
        stages.failed().await;
        let error = stages.shut_down(Duration::from_secs(1), &Clock::system()).await.unwrap_err();
        assert_eq!(error.to_string(), "fatal: saga: fenced");
    }
}
