//! The trait of a database that stores runs.

use std::{future::Future, time::Duration};

use comms_core::{Error, Inbox, Message, Outbox, saga::TimerId};

use super::{DueRuns, LockedRun, RunChange, RunId, StoredRun, Swept};

/// A unit of work that stores the runs of sagas.
///
/// `postgres::PgUnit` and `sqlite::SqliteUnit` implement it. An application with a custom unit of work implements each
/// method with the method of the same name of `postgres::Tables` or `sqlite::Tables`, which documents the rows.
///
/// # Errors
/// Each method returns an error of the kind that [`sql_error`](crate::sql_error) lists if a statement fails.
pub trait SagaStore: Inbox + Outbox {
    /// Locks the rows of `runs` until the transaction ends, and returns one result for each of `runs`, in their order.
    /// `None`: there is no such run, and no other transaction starts one before this transaction ends.
    ///
    /// The locks are acquired in an order that does not depend on the order of `runs`.
    fn lock_runs(
        &self,
        tx: &mut Self::Tx,
        runs: &[RunId],
    ) -> impl Future<Output = Result<Vec<Option<StoredRun>>, Error>> + Send;

    /// Writes the states, the log and the timers of `changes`. Several changes of one run come in their order. Returns
    /// `false` if a run has another revision than before its first change. Roll the transaction back then.
    fn save_runs(
        &self,
        tx: &mut Self::Tx,
        changes: &[RunChange],
    ) -> impl Future<Output = Result<bool, Error>> + Send;

    /// Keeps `message` for `run`, which has not started. A message that is kept already is not kept twice.
    ///
    /// Returns [`Invalid`](comms_core::ErrorKind::Invalid) if 100 messages are kept for the run.
    fn keep_early(
        &self,
        tx: &mut Self::Tx,
        run: &RunId,
        message: &Message,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Deletes the messages that are kept for `run`, and returns them in the order in which they came.
    fn take_early(
        &self,
        tx: &mut Self::Tx,
        run: &RunId,
    ) -> impl Future<Output = Result<Vec<Message>, Error>> + Send;

    /// Locks `run`, and then reads its timers. Returns `None` if another transaction has locked the run, or there is no
    /// such run; timers without a run are deleted.
    fn lock_run_with_timers(
        &self,
        tx: &mut Self::Tx,
        run: &RunId,
    ) -> impl Future<Output = Result<Option<LockedRun>, Error>> + Send;

    /// Deletes timers of `run`.
    fn delete_timers(
        &self,
        tx: &mut Self::Tx,
        run: &RunId,
        timers: &[TimerId],
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Postpones the due timers of `run` by `delay` from now, and stores the failure with the run.
    fn postpone_run(
        &self,
        tx: &mut Self::Tx,
        run: &RunId,
        delay: Duration,
        error: &str,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Reads the `limit` timers that are due first, without locks and outside a transaction.
    fn due_runs(&self, limit: u32) -> impl Future<Output = Result<DueRuns, Error>> + Send;

    /// Reads which runs need attention, and deletes messages that have been kept for longer than `retention`, outside a
    /// transaction.
    fn sweep_runs(&self, retention: Duration) -> impl Future<Output = Result<Swept, Error>> + Send;
}
