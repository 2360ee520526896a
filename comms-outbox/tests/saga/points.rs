//! A database whose calls end as a test requests: with an error, with a dropped future, or with the end of the process.

use std::{
    future::{Future, pending},
    process::{Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use comms_core::{Claim, Claimed, Error, Inbox, Message, Outbox, UnitOfWork, saga::TimerId};
use comms_outbox::saga::{DueRuns, LockedRun, RunChange, RunId, SagaStore, StoredRun, Swept};
use tokio::sync::Notify;

use super::books::Books;

/// What happens at a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The call fails. A commit succeeds or fails: both are points.
    Error,
    /// The call never returns: the caller is dropped at [`Faults::crash`].
    Crash,
    /// The process kills itself with SIGKILL.
    Kill,
}

/// The fault of the next calls. Only calls that belong to a transaction are counted, so that a loop that waits for work
/// does not move the fault.
#[derive(Debug, Default)]
pub struct Faults {
    calls: AtomicUsize,
    /// The number of the call, from 1; 0 for none.
    at: AtomicUsize,
    fault: Mutex<Option<Fault>>,
    happened: AtomicBool,
    crashed: Notify,
}

impl Faults {
    /// Sets the fault of the call with the number `at` from now, from 1.
    pub fn set(&self, at: usize, fault: Fault) {
        *self.fault.lock().unwrap() = Some(fault);
        self.happened.store(false, SeqCst);
        self.calls.store(0, SeqCst);
        self.at.store(at, SeqCst);
    }

    /// Removes the fault if it has not happened.
    pub fn clear(&self) {
        self.at.store(0, SeqCst);
    }

    /// Returns whether the last fault has happened.
    pub fn happened(&self) -> bool {
        self.happened.load(SeqCst)
    }

    /// Runs `work`, and drops it at a crash: returns `None` then.
    pub async fn crash<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            result = work => Some(result),
            () = self.crashed.notified() => None,
        }
    }

    async fn point(&self, lost: impl Fn() -> Error) -> Result<(), Error> {
        if self.calls.fetch_add(1, SeqCst) + 1 != self.at.load(SeqCst) {
            return Ok(());
        }
        self.happened.store(true, SeqCst);
        let fault = *self.fault.lock().unwrap();
        match fault {
            Some(Fault::Error) => return Err(lost()),
            Some(Fault::Crash) => {
                self.crashed.notify_one();
                pending::<()>().await;
            }
            Some(Fault::Kill) => kill_this_process(),
            None => {}
        }
        Ok(())
    }
}

/// Blocks the thread, and with it the runtime of a child, until the signal arrives.
fn kill_this_process() {
    let pid = std::process::id().to_string();
    let _ = Command::new("kill").args(["-KILL", &pid]).stdin(Stdio::null()).status();
    std::thread::sleep(Duration::from_secs(60));
}

/// A unit of work with faults. Clones share them.
#[derive(Clone)]
pub struct Points<U> {
    pub unit: U,
    pub faults: Arc<Faults>,
}

impl<U> Points<U> {
    pub fn new(unit: U) -> Self {
        Self { unit, faults: Arc::default() }
    }

    async fn before(&self) -> Result<(), Error> {
        self.faults.point(|| Error::not_executed("the database is away")).await
    }
}

impl<U: UnitOfWork> UnitOfWork for Points<U> {
    type Tx = U::Tx;

    async fn begin(&self) -> Result<U::Tx, Error> {
        self.before().await?;
        self.unit.begin().await
    }

    async fn commit(&self, tx: U::Tx) -> Result<(), Error> {
        self.before().await?;
        self.unit.commit(tx).await?;
        self.faults.point(|| Error::indeterminate("the answer of the commit is lost")).await
    }
}

impl<U: Inbox> Inbox for Points<U> {
    async fn claim(&self, tx: &mut U::Tx, claims: &[Claim]) -> Result<Vec<Claimed>, Error> {
        self.before().await?;
        self.unit.claim(tx, claims).await
    }
}

impl<U: Outbox> Outbox for Points<U> {
    async fn enqueue(&self, tx: &mut U::Tx, messages: &[Message]) -> Result<(), Error> {
        self.before().await?;
        self.unit.enqueue(tx, messages).await
    }
}

impl<U: SagaStore> SagaStore for Points<U> {
    async fn lock_runs(&self, tx: &mut U::Tx, runs: &[RunId]) -> Result<Vec<Option<StoredRun>>, Error> {
        self.before().await?;
        self.unit.lock_runs(tx, runs).await
    }

    async fn save_runs(&self, tx: &mut U::Tx, changes: &[RunChange]) -> Result<bool, Error> {
        self.before().await?;
        self.unit.save_runs(tx, changes).await
    }

    async fn keep_early(&self, tx: &mut U::Tx, run: &RunId, message: &Message) -> Result<(), Error> {
        self.before().await?;
        self.unit.keep_early(tx, run, message).await
    }

    async fn take_early(&self, tx: &mut U::Tx, run: &RunId) -> Result<Vec<Message>, Error> {
        self.before().await?;
        self.unit.take_early(tx, run).await
    }

    async fn lock_run_with_timers(&self, tx: &mut U::Tx, run: &RunId) -> Result<Option<LockedRun>, Error> {
        self.before().await?;
        self.unit.lock_run_with_timers(tx, run).await
    }

    async fn delete_timers(&self, tx: &mut U::Tx, run: &RunId, timers: &[TimerId]) -> Result<(), Error> {
        self.before().await?;
        self.unit.delete_timers(tx, run, timers).await
    }

    async fn postpone_run(
        &self,
        tx: &mut U::Tx,
        run: &RunId,
        delay: Duration,
        error: &str,
    ) -> Result<(), Error> {
        self.before().await?;
        self.unit.postpone_run(tx, run, delay, error).await
    }

    async fn due_runs(&self, limit: u32) -> Result<DueRuns, Error> {
        self.unit.due_runs(limit).await
    }

    async fn sweep_runs(&self, retention: Duration) -> Result<Swept, Error> {
        self.unit.sweep_runs(retention).await
    }
}

impl<U: Books> Books for Points<U> {
    async fn execute(&self, tx: &mut U::Tx, text: &str, values: &[&str]) -> Result<u64, Error> {
        self.unit.execute(tx, text, values).await
    }

    async fn column(&self, tx: &mut U::Tx, text: &str, values: &[&str]) -> Result<Vec<String>, Error> {
        self.unit.column(tx, text, values).await
    }
}
