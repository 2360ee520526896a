//! One stage: its tasks, and how they are told.

use std::{collections::BTreeMap, fmt, future::Future, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::FutureExt;
use tokio::{sync::watch, task::AbortHandle};

use super::Failures;
use crate::{Error, panic::panic_text};

/// A stage of a [`Shutdown`](super::Shutdown): tasks that are told to end at the same time. Clones are the same one.
#[derive(Clone)]
pub struct Stage {
    pub(super) name: Arc<str>,
    pub(super) limit: Option<Duration>,
    told: watch::Sender<bool>,
    tasks: watch::Sender<Tasks>,
    failures: Failures,
}

#[derive(Default)]
struct Tasks {
    next: u64,
    aborted: bool,
    /// The handle comes when the task has been spawned.
    running: BTreeMap<u64, (Arc<str>, Option<AbortHandle>)>,
}

/// What a task of a stage waits for.
#[derive(Debug, Clone)]
pub struct ShutdownSignal(watch::Receiver<bool>);

impl ShutdownSignal {
    /// Resolves when the stage is told to end: at once where it has been. A `'static` future of its own, for
    /// whatever takes a shut-down future.
    pub async fn wait(mut self) {
        // A stage that nobody can tell any more never ends: its tasks go with the runtime.
        if self.0.wait_for(|told| *told).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Whether the stage has been told.
    #[must_use]
    pub fn is_signalled(&self) -> bool {
        *self.0.borrow()
    }
}

impl Stage {
    pub(super) fn new(name: &str, limit: Option<Duration>, failures: Failures) -> Self {
        let (told, tasks) = (watch::Sender::new(false), watch::Sender::new(Tasks::default()));
        Self { name: name.into(), limit, told, tasks, failures }
    }

    /// Runs `task` until it ends, which it should when it is told, and not before: an error, a panic, and an end
    /// without being told are failures, heard by [`Shutdown::failed`](super::Shutdown::failed). After the end of the
    /// shut-down it is aborted at once. Must be called within a tokio runtime.
    pub fn spawn<F, Fut>(&self, name: &str, task: F)
    where
        F: FnOnce(ShutdownSignal) -> Fut,
        Fut: Future<Output = Result<(), Error>> + Send + 'static,
    {
        let (name, told) = (Arc::<str>::from(name), self.signal());
        let work = AssertUnwindSafe(task(told.clone())).catch_unwind();
        let (failures, who) = (self.failures.clone(), name.clone());
        let listed = Listed::new(&self.tasks, name);
        let number = listed.number;
        // Not under the lock of the list: a runtime that is closing drops the task here and now.
        let spawned = tokio::spawn(async move {
            let _listed = listed;
            let error = match work.await {
                Ok(Ok(())) if told.is_signalled() => return,
                Ok(Ok(())) => Error::fatal("ended without being told to"),
                Ok(Err(error)) => error,
                Err(panic) => Error::fatal(format!("panicked: {}", panic_text(&*panic))),
            };
            tracing::error!(task = &*who, error = %error.chain(), "failed");
            failures.say(error.context(who));
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

    /// Runs `work` when the stage is told: a flush, a commit, closing a pool.
    pub fn at_end(&self, name: &str, work: impl Future<Output = Result<(), Error>> + Send + 'static) {
        self.spawn(name, |told| async move {
            told.wait().await;
            work.await
        });
    }

    /// What its tasks wait for.
    #[must_use]
    pub fn signal(&self) -> ShutdownSignal {
        ShutdownSignal(self.told.subscribe())
    }

    /// How it was named.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn tell(&self) {
        self.told.send_replace(true);
    }

    pub(super) async fn empty(&self) {
        // The sender is in `self`: it cannot close.
        let _ = self.tasks.subscribe().wait_for(|tasks| tasks.running.is_empty()).await;
    }

    /// The tasks that run, by number, with their names.
    pub(super) fn running(&self) -> Vec<(u64, Arc<str>)> {
        let tasks = self.tasks.borrow();
        tasks.running.iter().map(|(number, (name, _))| (*number, name.clone())).collect()
    }

    pub(super) fn names(&self) -> Vec<Arc<str>> {
        self.running().into_iter().map(|(_, name)| name).collect()
    }

    /// Tells the stage, and aborts what runs, or is spawned later.
    pub(super) fn abort(&self) {
        self.tell();
        let mut handles = Vec::new();
        self.tasks.send_modify(|tasks| {
            tasks.aborted = true;
            handles.extend(tasks.running.values().filter_map(|(_, handle)| handle.clone()));
        });
        handles.iter().for_each(AbortHandle::abort);
    }
}

/// A task's place in the list, until it ends in whatever way.
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
