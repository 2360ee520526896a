//! Background loops that do what is due in a service's database, and then pause.

use std::{fmt::Debug, future::Future, time::Duration};

use comms_core::{
    Error, ErrorKind, Scoped, clock::Clock, health::Heartbeat, in_transaction, shutdown::ShutdownSignal,
};

use super::{Host, Loop, Run};
use crate::platform::db::{Db, Tx};

/// The shortest pause after a sweep that failed.
const RETRY: Duration = Duration::from_secs(5);
/// The number of due rows that are read at once.
pub const PAGE: u32 = 100;

/// Work on a service's database that a loop repeats. Two processes may run it at the same time.
pub trait Sweep: Send + Sync + 'static {
    /// Does everything that is due now, in short transactions, and beats `heartbeat` before each of them.
    ///
    /// # Errors
    /// Returns the error that ends this sweep. The loop logs the error, and sweeps again after the pause, or after 5 s if
    /// the pause is shorter.
    fn sweep(&self, heartbeat: &Heartbeat) -> impl Future<Output = Result<(), Error>> + Send;
}

/// Rows that come due, each of which is settled in a transaction of its own.
pub trait DueRows: Send + Sync {
    /// The place of a row in the order in which rows come due, with the key of the row.
    type Row: Clone + Debug + Send + Sync;

    /// Returns the first [`PAGE`] rows that are due behind `after`, in their order.
    ///
    /// # Errors
    /// Returns the error of the query.
    fn due(&self, after: Option<&Self::Row>) -> impl Future<Output = Result<Vec<Self::Row>, Error>> + Send;

    /// Settles `row` in `tx`. Another process may have settled the row since it was read, so lock the row and check it
    /// again. Returns whether the row was due.
    ///
    /// # Errors
    /// Returns an error that rolls `tx` back.
    fn settle(
        &self,
        tx: &mut Scoped<Tx>,
        row: &Self::Row,
    ) -> impl Future<Output = Result<bool, Error>> + Send;
}

/// Settles all rows of `db` that are due, and returns their number.
///
/// A row that fails is logged and passed over, so that it stops no other row. The next sweep attempts it again.
///
/// # Errors
/// Returns the error of the query for due rows, `NotExecuted` if a transaction cannot reach the database, and `Fatal` if
/// a row returns it.
pub async fn settle_due<D: DueRows>(db: &Db, rows: &D, heartbeat: &Heartbeat) -> Result<usize, Error> {
    let (mut after, mut settled) = (None::<D::Row>, 0);
    loop {
        let page = rows.due(after.as_ref()).await?;
        for row in &page {
            heartbeat.beat();
            let settle = async |mut tx: Scoped<Tx>| rows.settle(&mut tx, row).await;
            match in_transaction(db, settle).await {
                Ok(was_due) => settled += usize::from(was_due),
                Err(error) if matches!(error.kind, ErrorKind::NotExecuted | ErrorKind::Fatal) => {
                    return Err(error);
                }
                Err(error) => {
                    tracing::error!(?row, error = %error.chain(), "cannot settle a row that is due")
                }
            }
        }
        if page.len() < PAGE as usize {
            return Ok(settled);
        }
        after = page.last().cloned();
    }
}

impl Host<'_> {
    /// Returns a loop for [`Parts::loops`](super::Parts::loops) that repeats `sweep` with `pause` between the sweeps.
    ///
    /// The loop begins when the service's database is open. The shutdown signal ends it at once: a transaction that is open
    /// then rolls back, and the next start continues. A sweep that returns `Fatal` ends the process.
    ///
    /// # Errors
    /// Returns `Internal` if the service registered no database.
    pub fn sweep(&self, name: &'static str, pause: Duration, sweep: impl Sweep) -> Result<Loop, Error> {
        let turns =
            Turns { name, pause, db: self.db()?, clock: self.clock(), heartbeat: self.heartbeat(name) };
        let run = move |shutdown| Box::pin(turns.run(sweep, shutdown)) as Run;
        Ok(Loop { name, run: Box::new(run) })
    }
}

/// The loop around the sweeps.
struct Turns {
    name: &'static str,
    pause: Duration,
    db: Db,
    clock: Clock,
    heartbeat: Heartbeat,
}

impl Turns {
    async fn run(self, sweep: impl Sweep, shutdown: ShutdownSignal) -> Result<(), Error> {
        tokio::select! {
            biased;
            () = shutdown.wait() => Ok(()),
            error = self.repeat(sweep) => Err(error),
        }
    }

    /// Returns the error that ends the process. Every other error is logged.
    async fn repeat(&self, sweep: impl Sweep) -> Error {
        self.db.opened().await;
        loop {
            self.heartbeat.beat();
            let wait = match sweep.sweep(&self.heartbeat).await {
                Ok(()) => self.pause,
                Err(error) if error.kind == ErrorKind::Fatal => return error,
                Err(error) => {
                    tracing::warn!(sweep = self.name, error = %error.chain(), "a sweep failed; it is repeated");
                    self.pause.max(RETRY)
                }
            };
            // The pause may be longer than the silence at which liveness fails.
            self.heartbeat.pause();
            self.clock.sleep(wait).await;
        }
    }
}

#[cfg(test)]
mod tests;
