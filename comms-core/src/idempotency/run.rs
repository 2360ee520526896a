//! Running a request once under a lease.

use std::{future::Future, sync::Arc};

use tokio::runtime::Handle;
use tracing::Instrument;

use super::{
    Admission, CallKey, IdempotencyStore, LeaseOptions, Replied, StoredReply,
    replies::{in_flight, mismatch},
};
use crate::{Error, ErrorKind};

/// Runs `work` for the first request of `call`, and returns its stored reply for every later one.
///
/// If `work` fails with a kind that excludes an effect
/// ([`ErrorKind::is_without_effect`](crate::ErrorKind::is_without_effect)), the lease is released, and the next request
/// runs at once. If the effect may have happened (`Indeterminate`, `Misconfigured`, `Internal`, `Fatal`, a panic, a
/// caller that is dropped), the lease is not released and ends when it expires, so that the effect is not repeated
/// while it may still be in progress.
///
/// The error's kind must describe the whole of `work`. Work that makes several calls returns `Indeterminate` once the
/// first of them may have taken effect; with another kind the next request would repeat that effect at once.
///
/// Limit the duration of `work` to less than the lease. `work` is not stopped when the lease expires, and another
/// request can then run at the same time.
///
/// ```
/// use comms_core::{clock::Clock, idempotency::{CallKey, MemoryStore, StoredReply, LeaseOptions, run_once}};
/// use std::sync::Arc;
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let store = Arc::new(MemoryStore::new(Clock::system()));
/// let call = CallKey::with_fingerprint("ann", "send-mail", "k-1", [7; 32])?;
/// let send = || async { Ok(StoredReply::new(202, "sent")) };
/// assert!(!run_once(&store, &call, LeaseOptions::default(), send).await?.replayed);
/// // The repetition gets the stored reply. `send` does not run.
/// assert!(run_once(&store, &call, LeaseOptions::default(), send).await?.replayed);
/// # Ok::<(), comms_core::Error>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// - [`Conflict`](crate::ErrorKind::Conflict) while another request of the key runs, and if the lease expired before
///   the reply was stored.
/// - [`Invalid`](crate::ErrorKind::Invalid) if the key was used for another request, if the reply exceeds the store's
///   limits, or without a tokio runtime (`work` then did not run).
/// - [`Indeterminate`](crate::ErrorKind::Indeterminate) if `work` succeeded and its reply could not be stored: the
///   request may run again after the lease.
/// - The error of `work`, or of [`IdempotencyStore::admit`].
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
                tracing::warn!(error = %lost.chain(), "could not release the lease of an idempotency key; it stays until it expires");
            }
            return Err(error);
        }
    };
    // The effect has happened, so the reply is stored by a task: dropping the caller's future must not prevent it.
    let store = store.clone();
    let completion = async move { store.complete(&token, &reply).await.map(|()| reply) };
    let stored = runtime.spawn(completion.in_current_span()).await;
    let reply = stored.unwrap_or_else(|lost| Err(Error::indeterminate(lost))).map_err(not_stored)?;
    Ok(Replied { reply, replayed: false })
}

/// Returns the error of a reply that was not stored. The effect has happened, so no kind may exclude it.
fn not_stored(mut error: Error) -> Error {
    if matches!(error.kind, ErrorKind::NotExecuted | ErrorKind::Rejected) {
        error.kind = ErrorKind::Indeterminate;
    }
    error.context("the work was done, its reply was not stored")
}
