//! One stage of a shutdown: its tasks and its signal.

use std::{collections::BTreeMap, fmt, future::Future, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::FutureExt;
use tokio::{sync::watch, task::AbortHandle};

use super::Failures;
use crate::{Error, panic::panic_text};

/// A stage of a [`Shutdown`](super::Shutdown): tasks that are signalled at the same time. Clones are the same stage.
#[derive(Clone)]
pub struct Stage {
    pub(super) name: Arc<str>,
    pub(super) limit: Option<Duration>,
    requested: watch::Sender<bool>,
    tasks: watch::Sender<Tasks>,
    failures: Failures,
}

#[derive(Default)]
struct Tasks {
    next: u64,
    aborted: bool,
    /// The name of each task, and its handle once it has been spawned.
    running: BTreeMap<u64, (Arc<str>, Option<AbortHandle>)>,
}

/// A signal that fires when the stage must end.
#[derive(Debug, Clone)]
pub struct ShutdownSignal(watch::Receiver<bool>);

impl ShutdownSignal {
    /// Resolves when the stage is signalled; at once if it was signalled before. The future is `'static`, so it can be
    /// passed to any `run(shutdown)`.
    pub async fn wait(mut self) {
        // A stage whose sender is gone is never signalled: its tasks end with the runtime.
        if self.0.wait_for(|requested| *requested).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Returns whether the stage was signalled.
    #[must_use]
    pub fn is_signalled(&self) -> bool {
        *self.0.borrow()
    }
}

impl Stage {
    pub(super) fn new(name: &str, limit: Option<Duration>, failures: Failures) -> Self {
        let (requested, tasks) = (watch::Sender::new(false), watch::Sender::new(Tasks::default()));
        Self { name: name.into(), limit, requested, tasks, failures }
    }

    /// Spawns `task`, which must run until its [`ShutdownSignal`] fires and then return.
    ///
    /// An error, a panic, and a return before the signal fires are failures:
    /// [`Shutdown::failed`](super::Shutdown::failed) resolves. A task that is spawned after the end of the shutdown is
    /// aborted at once. This method must be called within a tokio runtime.
    pub fn spawn<F, Fut>(&self, name: &str, task: F)
    where
        F: FnOnce(ShutdownSignal) -> Fut,
        Fut: Future<Output = Result<(), Error>> + Send + 'static,
    {
        let (name, signal) = (Arc::<str>::from(name), self.signal());
        let work = AssertUnwindSafe(task(signal.clone())).catch_unwind();
        let (failures, task_name) = (self.failures.clone(), name.clone());
        let listed = Listed::new(&self.tasks, name);
        let number = listed.number;
        // Outside the lock of the list: a runtime that is shutting down drops the task in this call.
        let spawned = tokio::spawn(async move {
            let _listed = listed;
            let error = match work.await {
                Ok(Ok(())) if signal.is_signalled() => return,
                Ok(Ok(())) => Error::fatal("ended before shutdown was requested"),
                Ok(Err(error)) => error,
                Err(panic) => Error::fatal(format!("panicked: {}", panic_text(&*panic))),
            };
            tracing::error!(task = &*task_name, error = %error.chain(), "task failed");
            failures.report(error.context(task_name));
        });
        let handle = spawned.abort_handle();
        let mut aborted = false;
        self.tasks.send_modify(|tasks| {
            aborted = tasks.aborted;
            if let Some((_, place)) = tasks.running.get_mut(&number) {
                *place = Some(handle.clone());
            }
        });
        if aborted {
            handle.abort();
        }
    }

    /// Runs `work` when the stage is signalled: a flush, a commit, closing a pool.
    pub fn at_end(&self, name: &str, work: impl Future<Output = Result<(), Error>> + Send + 'static) {
        self.spawn(name, |signal| async move {
            signal.wait().await;
            work.await
        });
    }

    /// Returns the signal of the stage, for work that the stage does not spawn.
    #[must_use]
    pub fn signal(&self) -> ShutdownSignal {
        ShutdownSignal(self.requested.subscribe())
    }

    /// Returns the name of the stage.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn request(&self) {
        self.requested.send_replace(true);
    }

    pub(super) async fn empty(&self) {
        // `self` owns the sender, so the channel cannot close.
        let _ = self.tasks.subscribe().wait_for(|tasks| tasks.running.is_empty()).await;
    }

    /// Returns the number and the name of each running task.
    pub(super) fn running(&self) -> Vec<(u64, Arc<str>)> {
        let tasks = self.tasks.borrow();
        tasks.running.iter().map(|(number, (name, _))| (*number, name.clone())).collect()
    }

    pub(super) fn names(&self) -> Vec<Arc<str>> {
        self.running().into_iter().map(|(_, name)| name).collect()
    }

    /// Signals the stage and aborts its running tasks and those that are spawned later.
    pub(super) fn abort(&self) {
        self.request();
        let mut handles = Vec::new();
        self.tasks.send_modify(|tasks| {
            tasks.aborted = true;
            handles.extend(tasks.running.values().filter_map(|(_, handle)| handle.clone()));
        });
        handles.iter().for_each(AbortHandle::abort);
    }
}

/// The entry of a task in the list. Dropping it, however the task ends, removes the entry.
struct Listed {
    tasks: watch::Sender<Tasks>,
    number: u64,
}

impl Listed {
    fn new(tasks: &watch::Sender<Tasks>, name: Arc<str>) -> Self {
        let mut number = 0;
        tasks.send_modify(|tasks| {
            number = tasks.next;
            tasks.next += 1;
            tasks.running.insert(number, (name, None));
        });
        Self { tasks: tasks.clone(), number }
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.tasks.send_modify(|tasks| drop(tasks.running.remove(&self.number)));
    }
}

impl fmt::Debug for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stage")
            .field("name", &self.name)
            .field("tasks", &self.names())
            .finish_non_exhaustive()
    }
}
