//! Running something once under a lease.

use std::{future::Future, sync::Arc};

use tokio::runtime::Handle;
use tracing::Instrument;

use super::{
    Admission, CallKey, IdempotencyStore, LeaseOptions, Replied, StoredReply,
    replies::{in_flight, mismatch},
};
use crate::{Error, ErrorKind};

/// Runs `work` for the first request of `call`, and gives its reply to every later one.
///
/// An error of `work` whose kind had no effect ([`ErrorKind::is_without_effect`](crate::ErrorKind::is_without_effect)) gives
/// the lease back, so that another request may run at once. Where the effect may have happened (`Indeterminate`,
/// `Misconfigured`, `Internal`, `Fatal`, a panic, a caller that is dropped) the lease stays until its end: the effect is
/// not repeated while it may still be under way.
///
/// The kind has to speak of the whole work: work of several calls reports an error as `Indeterminate` once the first of them
/// may have taken effect, or the next request repeats that effect at once.
///
/// Bound `work` by less than the lease: nobody stops it when the lease ends, and then another may run beside it.
///
/// ```
/// use comms_core::{clock::Clock, idempotency::{CallKey, MemoryStore, StoredReply, LeaseOptions, run_once}};
/// use std::sync::Arc;
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let store = Arc::new(MemoryStore::new(Clock::system()));
/// let call = CallKey::with_fingerprint("ann", "send-mail", "k-1", [7; 32])?;
/// let send = || async { Ok(StoredReply::new(202, "sent")) };
/// assert!(!run_once(&store, &call, LeaseOptions::default(), send).await?.replayed);
/// assert!(run_once(&store, &call, LeaseOptions::default(), send).await?.replayed);
/// # Ok::<(), comms_core::Error>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// `Conflict` while another request of this key runs, and where the lease ran out before the reply was stored;
/// `Invalid` where the key was used for another request, the reply is over the store's limits, or there is no
/// tokio runtime (then nothing was done); `Indeterminate` where `work` succeeded and its reply could not be stored: after the
/// lease it may run again. Those of `work` and of the store.
pub async fn run_once<S, F, Fut>(
    store: &Arc<S>,
    call: &CallKey,
    options: LeaseOptions,
    work: F,
) -> Result<Replied, Error>
where
    S: IdempotencyStore + ?Sized,
    F: FnOnce() -> Fut,
    Fut: Future<Output = Result<StoredReply, Error>>,
{
    let runtime = Handle::try_current().map_err(Error::invalid)?;
    let token = match store.admit(call, options).await? {
        Admission::Run(token) => token,
        Admission::Replay(reply) => return Ok(Replied { reply, replayed: true }),
        Admission::InFlight { retry_after } => return Err(in_flight(retry_after)),
        Admission::Mismatch => return Err(mismatch()),
    };
    let reply = match work().await {
        Ok(reply) => reply,
        Err(error) => {
            if error.kind.is_without_effect()
                && let Err(lost) = store.abandon(&token).await
            {
                tracing::warn!(error = %lost.chain(), "a lease was not given back: it runs until its end");
            }
            return Err(error);
        }
    };
    // It has happened: a caller that goes away now must not keep the store from hearing of it.
    let store = store.clone();
    let told = async move { store.complete(&token, &reply).await.map(|()| reply) };
    let stored = runtime.spawn(told.in_current_span()).await;
    let reply = stored.unwrap_or_else(|lost| Err(Error::indeterminate(lost))).map_err(unstored)?;
    Ok(Replied { reply, replayed: false })
}

/// The work is done, also where the store could not be reached.
fn unstored(mut error: Error) -> Error {
    if matches!(error.kind, ErrorKind::NotExecuted | ErrorKind::Rejected) {
        error.kind = ErrorKind::Indeterminate;
    }
    error.context("the work was done, its reply was not stored")
}
