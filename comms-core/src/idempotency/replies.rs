//! Replies that are stored in the transaction of their effect.

use std::{future::Future, time::Duration};

use super::{Admission, CallKey, Replied, StoredReply};
use crate::{Error, Scoped, UnitOfWork, transaction::lend};

/// Stores replies in the caller's transaction, so that the reply and the effect of a request commit together.
///
/// Run `comms_core::testing::replies::all` (feature `testing`) against an implementation.
pub trait Replies: UnitOfWork {
    /// Admits the request of `key`, or returns the stored reply. Waits for an open transaction that admitted the same key.
    ///
    /// # Errors
    /// Returns [`Invalid`](crate::ErrorKind::Invalid) if an earlier request of the key was committed without a reply, because
    /// running it again could repeat its effect, and the error of a statement that the database refused.
    fn admit(
        &self,
        tx: &mut Self::Tx,
        key: &CallKey,
    ) -> impl Future<Output = Result<Admission, Error>> + Send;

    /// Stores the reply of a request that [`admit`](Self::admit) admitted with [`Admission::Run`] in this transaction.
    ///
    /// # Errors
    /// Returns [`Invalid`](crate::ErrorKind::Invalid) if the reply exceeds a limit, or if the request was not admitted in this
    /// transaction or has a reply, and the error of a statement that the database refused.
    fn complete(
        &self,
        tx: &mut Self::Tx,
        key: &CallKey,
        reply: &StoredReply,
    ) -> impl Future<Output = Result<(), Error>> + Send;
}

/// Runs `work` once per key. Its effect and its reply commit in one transaction, and a repetition of the request gets that
/// reply. An error of `work` rolls the transaction back and stores nothing, so the request can be repeated.
///
/// # Errors
/// Returns [`Conflict`](crate::ErrorKind::Conflict) while another request of the key runs. Returns
/// [`Invalid`](crate::ErrorKind::Invalid) if the key was used for another request or the reply exceeds a limit; the
/// transaction is then rolled back. Otherwise returns the error of `work` or of the [`UnitOfWork`].
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
    Error::conflict("a request with this idempotency key is in progress").with_retry_after(retry_after)
}

pub(super) fn mismatch() -> Error {
    Error::invalid("this idempotency key was used for another request")
}
