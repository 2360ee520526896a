//! Starts the runners of a consumer.

use std::sync::Arc;

use tokio::{runtime::Handle, task::unconstrained};
use tokio_util::task::TaskTracker;

use super::{
    Runner, Shared,
    dead_letter::DeadLetterSource,
    ended::{EndGuard, EndSignal},
};
use crate::consumer::assignment::Assignment;
use comms_core::transport::{Worker, WorkerConfig};

/// Starts a runner for each assignment.
pub(in crate::consumer) struct Runners {
    pub(in crate::consumer) shared: Arc<Shared>,
    pub(in crate::consumer) worker: WorkerConfig,
    pub(in crate::consumer) dead_letters: Option<DeadLetterSource>,
    pub(in crate::consumer) ended: Arc<EndSignal>,
    pub(in crate::consumer) tasks: TaskTracker,
    pub(in crate::consumer) runtime: Handle,
}

impl Runners {
    /// Starts the runner of `assignment` in a task.
    pub(in crate::consumer) fn spawn(&self, assignment: Arc<Assignment>) {
        let dead_letters = self.dead_letters.as_ref().map(|source| source.of(assignment.clone()));
        let config = self.worker.clone().dead_letters(dead_letters);
        let worker = Worker::new(assignment.topic.processor.clone(), config);
        let control = self.shared.control.clone();
        let guard = EndGuard { assignment, signal: self.ended.clone(), control };
        let runner = Runner::new(worker, self.shared.clone(), guard);
        self.tasks.spawn_on(unconstrained(runner.run()), &self.runtime);
    }
}
