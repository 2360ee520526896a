//! Replies that commit with the effect they belong to.

use std::{future::Future, time::Duration};

use super::{Admission, CallKey, Replied, StoredReply};
use crate::{Error, Scoped, UnitOfWork, transaction::lend};

/// Stored replies in the caller's transaction: reply and effect commit together, nothing is ever stuck. Run
/// `comms_core::testing::replies::all` (feature `testing`) against an implementation.
pub trait Replies: UnitOfWork {
    /// Admits the request of `key`. Waits for a transaction that holds the same key.
    ///
    /// # Errors
    /// The database's; `Invalid` where an earlier request of the key was committed without an answer: running it
    /// again could double its effect.
    fn admit(
        &self,
        tx: &mut Self::Tx,
        key: &CallKey,
    ) -> impl Future<Output = Result<Admission, Error>> + Send;

    /// Stores the reply of a request admitted with [`Admission::Run(())`] in this transaction.
    ///
    /// # Errors
    /// The database's; `Invalid` for a reply over the limits, and for a request that was not admitted or is
    /// answered already.
    fn complete(
        &self,
        tx: &mut Self::Tx,
        key: &CallKey,
        reply: &StoredReply,
    ) -> impl Future<Output = Result<(), Error>> + Send;
}

/// Runs `work` once per key: its effect and its reply commit in one transaction, and the same request sent
/// again gets that reply. An error of `work` rolls back and stores nothing, so that it may be tried again.
///
/// # Errors
/// `Conflict` while another request of this key runs; `Invalid` where the key was used for another request, or
/// the reply is over its limits (then nothing was done); those of `work` and of the database.
pub async fn reply_once<U, F, Fut>(unit: &U, call: &CallKey, work: F) -> Result<Replied, Error>
where
    U: Replies,
    F: FnOnce(Scoped<U::Tx>) -> Fut,
    Fut: Future<Output = Result<StoredReply, Error>>,
{
    let mut tx = unit.begin().await?;
    match unit.admit(&mut tx, call).await? {
        Admission::Run(()) => {}
        Admission::Replay(reply) => return Ok(Replied { reply, replayed: true }),
        Admission::InFlight { retry_after } => return Err(in_flight(retry_after)),
        Admission::Mismatch => return Err(mismatch()),
    }
    let (mut tx, reply) = lend(tx, work).await?;
    reply.check()?;
    unit.complete(&mut tx, call, &reply).await?;
    unit.commit(tx).await?;
    Ok(Replied { reply, replayed: false })
}

pub(super) fn in_flight(retry_after: Duration) -> Error {
    Error::conflict("a request with this idempotency key is being handled").with_retry_after(retry_after)
}

pub(super) fn mismatch() -> Error {
    Error::invalid("this idempotency key was used for another request")
}
