//! Running something once under a lease.

use std::{future::Future, sync::Arc};

use super::{
    Admission, CallKey, IdempotencyStore, Replied, StoredReply, Terms, Token,
    replies::{in_flight, mismatch},
};
use crate::{Error, ErrorKind};

/// Runs `work` for the first request of `call`, and gives its reply to every later one. An error, a panic or a
/// cancellation of `work` abandons the lease, so that it may be tried again at once.
///
/// Bound `work` by less than the lease: nobody stops it when the lease ends, and then another may run beside it.
///
/// ```
/// use comms_core::{CallKey, Clock, StoredReply, idempotency::{MemoryStore, Terms, run_once}};
/// use std::sync::Arc;
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let store = Arc::new(MemoryStore::new(Clock::system()));
/// let call = CallKey::with_fingerprint("ann", "send-mail", "k-1", [7; 32])?;
/// let send = || async { Ok(StoredReply::new(202, "sent")) };
/// assert!(!run_once(&store, &call, Terms::default(), send).await?.replayed);
/// assert!(run_once(&store, &call, Terms::default(), send).await?.replayed);
/// # Ok::<(), comms_core::Error>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// `Conflict` while another request of this key runs, and where the lease ran out before the reply was stored;
/// `Invalid` where the key was used for another request, or the reply is over the store's limits; `Unknown`
/// where `work` succeeded and the store could not be told: after the lease it may run again. Those of `work` and
/// of the store.
pub async fn run_once<S, F, Fut>(
    store: &Arc<S>,
    call: &CallKey,
    terms: Terms,
    work: F,
) -> Result<Replied, Error>
where
    S: IdempotencyStore + ?Sized,
    F: FnOnce() -> Fut,
    Fut: Future<Output = Result<StoredReply, Error>>,
{
    let token = match store.admit(call, terms).await? {
        Admission::Run(token) => token,
        Admission::Replay(reply) => return Ok(Replied { reply, replayed: true }),
        Admission::InFlight { retry_after } => return Err(in_flight(retry_after)),
        Admission::Mismatch => return Err(mismatch()),
    };
    let mut leased = Leased { store: store.clone(), token: Some(token.clone()) };
    let reply = match work().await {
        Ok(reply) => reply,
        Err(error) => {
            if let Err(lost) = store.abandon(&token).await {
                tracing::warn!(error = %lost, "a lease was not given back: it runs until its end");
            }
            leased.keep();
            return Err(error);
        }
    };
    // It has happened: from here on the lease must not be given back, or the next request does it again.
    leased.keep();
    store.complete(&token, &reply).await.map_err(unstored)?;
    Ok(Replied { reply, replayed: false })
}

/// The work is done: a store that was not reached does not make it undone.
fn unstored(mut error: Error) -> Error {
    if matches!(error.kind, ErrorKind::Transient | ErrorKind::Rejected) {
        error.kind = ErrorKind::Unknown;
    }
    error.context("the work was done, its reply was not stored")
}

/// A lease that is given back when its work is dropped or panics.
struct Leased<S: IdempotencyStore + ?Sized> {
    store: Arc<S>,
    token: Option<Token>,
}

impl<S: IdempotencyStore + ?Sized> Leased<S> {
    fn keep(&mut self) {
        self.token = None;
    }
}

impl<S: IdempotencyStore + ?Sized> Drop for Leased<S> {
    fn drop(&mut self) {
        // Without a runtime nothing can be told: the lease runs until its end.
        let (Some(token), Ok(runtime)) = (self.token.take(), tokio::runtime::Handle::try_current()) else {
            return;
        };
        let store = self.store.clone();
        runtime.spawn(async move {
            if let Err(error) = store.abandon(&token).await {
                tracing::warn!(%error, "a lease was not given back: it runs until its end");
            }
        });
    }
}
