//! Checks of abandoned and expired leases.

use crate::{
    Error, ErrorKind,
    idempotency::{Admission, LeaseOptions, LeaseToken},
};

use super::fixture::{
    CLOCK_MARGIN, LEASE, RETENTION, StoreFixture, admit_run, call, ensure_in_flight, options, reply,
};
use crate::testing::{
    Broken,
    check::{ensure, ensure_eq, unique},
};

/// Checks that the next request runs at once after `abandon`, with another fencing token, and that the abandoned token
/// is refused.
///
/// # Errors
/// Returns [`Broken`] if the next request is not admitted, the fencing tokens are equal, or the abandoned token stores
/// a reply.
pub async fn abandoned_request_runs_again<F: StoreFixture>(fixture: &F) -> Result<(), Broken> {
    let (store, call) = (fixture.store(), call("ann", &unique("k"), 1)?);
    let first = admit_run(&store, &call, "the first request of a key runs").await?;
    store.abandon(&first).await?;
    store.abandon(&first).await?;
    ensure_refused(store.complete(&first, &reply(1)).await, "after its request was abandoned")?;
    let second =
        admit_run(&store, &call, "the next request runs at once after the first was abandoned").await?;
    ensure_other_fence(&first, &second)?;
    store.complete(&second, &reply(2)).await?;
    let admission = store.admit(&call, options()?).await?;
    ensure_eq(admission, Admission::Replay(reply(2)), "the reply of the second run is replayed")
}

/// Checks that a lease excludes other runs for its whole duration, and that the next run has another fencing token.
///
/// # Errors
/// Returns [`Broken`] if another request runs before the lease expired or does not run after it, or the fencing tokens
/// are equal.
pub async fn expired_lease_admits_another_run<F: StoreFixture>(fixture: &F) -> Result<(), Broken> {
    let (store, call) = (fixture.store(), call("ann", &unique("k"), 1)?);
    let long_lease = LeaseOptions::new(LEASE * 5, RETENTION)?;
    let first = match store.admit(&call, long_lease).await? {
        Admission::Run(token) => token,
        other => return Err(Broken::new("the first request of a key runs", format!("{other:?}"))),
    };
    fixture.advance(LEASE).await;
    let early = store.admit(&call, options()?).await?;
    ensure_in_flight(
        &early,
        "a lease lasts for the duration of its own options, not of those of a later request",
    )?;
    fixture.advance(LEASE * 4 + CLOCK_MARGIN).await;
    let second = admit_run(&store, &call, "the next request runs after the lease expired").await?;
    ensure_other_fence(&first, &second)
}

/// Checks that `complete` is refused after the lease expired: without another run, during one, and after one has
/// completed.
///
/// # Errors
/// Returns [`Broken`] if a late reply is not refused with `Conflict`, or is replayed.
pub async fn late_complete_is_refused<F: StoreFixture>(fixture: &F) -> Result<(), Broken> {
    let (store, alone) = (fixture.store(), call("ann", &unique("k"), 1)?);
    let overtaken = call("ann", &unique("k"), 1)?;
    let late_alone = admit_run(&store, &alone, "the first request of a key runs").await?;
    let late = admit_run(&store, &overtaken, "the first request of a key runs").await?;
    fixture.advance(LEASE + CLOCK_MARGIN).await;
    ensure_refused(
        store.complete(&late_alone, &reply(1)).await,
        "after its lease expired, without another run",
    )?;
    admit_run(&store, &alone, "a refused reply is not stored, so that the next request runs").await?;
    let second = admit_run(&store, &overtaken, "the next request runs after the lease expired").await?;
    ensure_refused(
        store.complete(&late, &reply(1)).await,
        "after its lease expired, while another run is in flight",
    )?;
    store.complete(&second, &reply(2)).await?;
    ensure_refused(
        store.complete(&late, &reply(1)).await,
        "after its lease expired and another run completed",
    )?;
    let admission = store.admit(&overtaken, options()?).await?;
    ensure_eq(
        admission,
        Admission::Replay(reply(2)),
        "a late reply does not overwrite the reply of the next run",
    )
}

/// Checks that `abandon` with an expired token affects neither the lease nor the reply of the next run.
///
/// # Errors
/// Returns [`Broken`] if the next run loses its lease or its reply.
pub async fn late_abandon_keeps_the_next_lease<F: StoreFixture>(fixture: &F) -> Result<(), Broken> {
    let (store, call) = (fixture.store(), call("ann", &unique("k"), 1)?);
    let late = admit_run(&store, &call, "the first request of a key runs").await?;
    fixture.advance(LEASE + CLOCK_MARGIN).await;
    let second = admit_run(&store, &call, "the next request runs after the lease expired").await?;
    store.abandon(&late).await?;
    let third = store.admit(&call, options()?).await?;
    ensure_in_flight(&third, "a late abandon does not release the lease of the next run")?;
    store.complete(&second, &reply(2)).await?;
    store.abandon(&late).await?;
    let admission = store.admit(&call, options()?).await?;
    ensure_eq(
        admission,
        Admission::Replay(reply(2)),
        "a late abandon does not remove the reply of the next run",
    )
}

fn ensure_refused(result: Result<(), Error>, condition: &str) -> Result<(), Broken> {
    let kind = result.err().map(|error| error.kind);
    ensure_eq(kind, Some(ErrorKind::Conflict), &format!("complete fails with Conflict {condition}"))
}

fn ensure_other_fence(first: &LeaseToken, second: &LeaseToken) -> Result<(), Broken> {
    let observed = format!("two leases with the fencing token {}", first.fence);
    ensure(second.fence != first.fence, "each lease has another fencing token", observed)
}
