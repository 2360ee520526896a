//! Replies that are stored in the transaction of their effect.

use std::{future::Future, time::Duration};

use super::{Admission, CallKey, Replied, StoredReply};
use crate::{Error, Scoped, UnitOfWork, transaction::lend};

/// Stores replies in the caller's transaction, so that the reply and the effect of a request commit together.
///
/// An application calls [`reply_once`]. Check an implementation with the conformance suite
/// `comms_core::testing::replies::all` (feature `testing`).
pub trait Replies: UnitOfWork {
    /// Admits the request of `key`, or returns the stored reply.
    ///
    /// If another open transaction has admitted the same key, the call waits until that transaction ends. A backend may
    /// limit this wait and then return [`Admission::InFlight`] or an error.
    ///
    /// # Errors
    /// Returns [`Invalid`](crate::ErrorKind::Invalid) if an earlier request of the key was committed without a reply,
    /// because running the request again could repeat its effect. Otherwise returns the error of a statement that the
    /// database refused.
    fn admit(
        &self,
        tx: &mut Self::Tx,
        key: &CallKey,
    ) -> impl Future<Output = Result<Admission, Error>> + Send;

    /// Stores the reply of a request that [`admit`](Self::admit) admitted with [`Admission::Run`] in this transaction.
    ///
    /// # Errors
    /// Returns [`Invalid`](crate::ErrorKind::Invalid) if the reply exceeds [`REPLY_LIMIT`](super::REPLY_LIMIT) or
    /// [`REPLY_HEADERS`](super::REPLY_HEADERS), if the request was not admitted in this transaction, or if it already
    /// has a reply. Otherwise returns the error of a statement that the database refused.
    fn complete(
        &self,
        tx: &mut Self::Tx,
        key: &CallKey,
        reply: &StoredReply,
    ) -> impl Future<Output = Result<(), Error>> + Send;
}

/// Runs `work` once per key, and returns the stored reply for every repetition of the request.
///
/// The effect of `work` and its reply commit in one transaction. An error of `work` rolls the transaction back and
/// stores nothing, so the request can be repeated. While another request of the key runs, the call waits for its reply,
/// for as long as [`Replies::admit`] waits.
///
/// ```
/// # #[cfg(feature = "testing")]
/// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
/// use comms_core::{Scoped, idempotency::{CallKey, StoredReply, reply_once}, testing::{MemoryTx, MemoryUnit}};
/// let unit = MemoryUnit::new();
/// let call = CallKey::with_fingerprint("ann", "place-order", "k-1", [7; 32])?;
/// let place = |mut tx: Scoped<MemoryTx>| async move {
///     tx.write("orders/7", "placed").await?;
///     Ok(StoredReply::new(201, "7"))
/// };
/// assert!(!reply_once(&unit, &call, place).await?.replayed);
/// let again = reply_once(&unit, &call, place).await?; // `place` does not run
/// assert!(again.replayed && again.reply.status == 201);
/// # Ok::<(), comms_core::Error>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// - [`Conflict`](crate::ErrorKind::Conflict) if another request of the key still runs when [`Replies::admit`] ends its
///   wait.
/// - [`Invalid`](crate::ErrorKind::Invalid) if the key was used for another request, or if the reply exceeds a limit.
///   The transaction is then rolled back.
/// - The error of `work`, of [`Replies`] or of the [`UnitOfWork`].
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
