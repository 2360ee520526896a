//! Starts the runners of a consumer.

use std::sync::Arc;

use tokio::{runtime::Handle, task::unconstrained};
use tokio_util::task::TaskTracker;

use super::{
    assignment::Assignment,
    dead_letter::DeadLetterSource,
    ended::{EndGuard, EndSignal},
    runner::{Runner, Shared},
};
use comms_core::transport::{Budget, FailurePolicy, Ordering, Worker, WorkerConfig};

/// Starts a runner for each assignment.
pub(super) struct Runners {
    pub(super) shared: Arc<Shared>,
    pub(super) budget: Budget,
    pub(super) ordering: Ordering,
    pub(super) failure_policy: FailurePolicy,
    pub(super) dead_letters: Option<DeadLetterSource>,
    pub(super) ended: Arc<EndSignal>,
    pub(super) tasks: TaskTracker,
    pub(super) runtime: Handle,
}

impl Runners {
    /// Starts the runner of `assignment` in a task.
    pub(super) fn spawn(&self, assignment: Arc<Assignment>) {
        let dead_letters = self.dead_letters.as_ref().map(|source| source.of(assignment.clone()));
        let config = WorkerConfig::default()
            .ordering(self.ordering)
            .budget(self.budget.clone())
            .on_failure(self.failure_policy)
            .dead_letters(dead_letters);
        let worker = Worker::new(assignment.topic.processor.clone(), config);
        let control = self.shared.control.clone();
        let guard = EndGuard { assignment, signal: self.ended.clone(), control };
        let runner = Runner::new(worker, self.shared.clone(), guard);
        self.tasks.spawn_on(unconstrained(runner.run()), &self.runtime);
    }
}
