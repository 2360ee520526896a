//! Checks of requests with the same and with other keys.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use crate::{
    ErrorKind,
    idempotency::{Admission, LeaseOptions, run_once},
};

use super::fixture::{
    CLOCK_MARGIN, LEASE, RETENTION, StoreFixture, admit_run, call, ensure_in_flight, options, reply,
};
use crate::testing::{
    Broken,
    check::{ensure, ensure_eq, unique},
};

/// Checks that every part of a reply is replayed, and that the keys of different callers are different keys.
///
/// # Errors
/// Returns [`Broken`] if a replay differs from the reply, or a request of another caller or key is not admitted.
pub async fn reply_is_replayed<F: StoreFixture>(fixture: &F) -> Result<(), Broken> {
    let (store, key) = (fixture.store(), unique("k"));
    let (ann, bob) = (call("ann", &key, 1)?, call("bob", &key, 1)?);
    let token = admit_run(&store, &ann, "the first request of a key runs").await?;
    store.complete(&token, &reply(1)).await?;
    for _ in 0..2 {
        let again = store.admit(&ann, options()?).await?;
        ensure_eq(again, Admission::Replay(reply(1)), "an equal request gets the stored reply unchanged")?;
    }
    admit_run(&store, &bob, "the same key of another caller is another key, and its request runs").await?;
    admit_run(&store, &call("ann", &unique("k"), 1)?, "the first request of another key runs").await.map(drop)
}

/// Checks that an equal request is refused with a `retry_after` within the lease while the first one runs.
///
/// # Errors
/// Returns [`Broken`] if the second request gets another admission, or its `retry_after` is longer than the lease.
pub async fn request_in_flight_excludes_others<F: StoreFixture>(fixture: &F) -> Result<(), Broken> {
    let (store, call) = (fixture.store(), call("ann", &unique("k"), 1)?);
    admit_run(&store, &call, "the first request of a key runs").await?;
    match store.admit(&call, options()?).await? {
        Admission::InFlight { retry_after } => {
            let observed = format!("retry_after of {retry_after:?} under a lease of {LEASE:?}");
            ensure(
                retry_after <= LEASE,
                "retry_after is at most the lease of the request in flight",
                observed,
            )
        }
        other => ensure_in_flight(&other, "an equal request is refused while the first one runs"),
    }
}

/// Checks that a request with another fingerprint is a mismatch, both while the first one runs and after it has
/// completed.
///
/// # Errors
/// Returns [`Broken`] if the other request gets another admission.
pub async fn other_request_is_a_mismatch<F: StoreFixture>(fixture: &F) -> Result<(), Broken> {
    let (store, key) = (fixture.store(), unique("k"));
    let (first, other) = (call("ann", &key, 1)?, call("ann", &key, 2)?);
    let token = admit_run(&store, &first, "the first request of a key runs").await?;
    let admission = store.admit(&other, options()?).await?;
    ensure_eq(
        admission,
        Admission::Mismatch,
        "another fingerprint is a mismatch while the first request runs",
    )?;
    store.complete(&token, &reply(1)).await?;
    let admission = store.admit(&other, options()?).await?;
    ensure_eq(
        admission,
        Admission::Mismatch,
        "another fingerprint is a mismatch after the first request completed",
    )
}

/// Checks that neither a second `complete` nor an `abandon` changes a stored reply.
///
/// # Errors
/// Returns [`Broken`] if the first reply is not replayed.
pub async fn completed_request_is_final<F: StoreFixture>(fixture: &F) -> Result<(), Broken> {
    let (store, call) = (fixture.store(), call("ann", &unique("k"), 1)?);
    let token = admit_run(&store, &call, "the first request of a key runs").await?;
    store.complete(&token, &reply(1)).await?;
    store.complete(&token, &reply(2)).await?;
    store.abandon(&token).await?;
    let admission = store.admit(&call, options()?).await?;
    ensure_eq(admission, Admission::Replay(reply(1)), "a second complete and an abandon keep the first reply")
}

/// Checks that a reply is replayed after the lease would have expired, until its retention has passed, and that the key
/// is new afterwards.
///
/// # Errors
/// Returns [`Broken`] if the reply is not replayed within its retention, or is replayed after it.
pub async fn reply_is_stored_for_its_retention<F: StoreFixture>(fixture: &F) -> Result<(), Broken> {
    let (store, call) = (fixture.store(), call("ann", &unique("k"), 1)?);
    let token = admit_run(&store, &call, "the first request of a key runs").await?;
    store.complete(&token, &reply(1)).await?;
    // Longer than the lease, and shorter than the retention.
    fixture.advance(LEASE + LEASE / 4).await;
    let within = store.admit(&call, options()?).await?;
    ensure_eq(
        within,
        Admission::Replay(reply(1)),
        "a reply is replayed after its lease, within its retention",
    )?;
    fixture.advance(RETENTION - LEASE + CLOCK_MARGIN).await;
    admit_run(&store, &call, "a request runs again after the retention of its reply").await.map(drop)
}

/// Checks that one of 64 concurrent requests runs, and that each other request gets its reply or `Conflict`.
///
/// # Errors
/// Returns [`Broken`] if not exactly one request ran, or a request got another reply or error.
pub async fn one_of_many_runs<F: StoreFixture>(fixture: &F) -> Result<(), Broken> {
    let (store, call) = (fixture.store(), call("ann", &unique("k"), 1)?);
    let runs = Arc::new(AtomicUsize::new(0));
    let request = |_| {
        let (store, call, runs) = (store.clone(), call.clone(), runs.clone());
        let work = async move || {
            runs.fetch_add(1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            Ok(reply(1))
        };
        tokio::spawn(async move { run_once(&store, &call, LeaseOptions::default(), work).await })
    };
    for request in (0..64).map(request).collect::<Vec<_>>() {
        match request.await? {
            Ok(replied) => ensure_eq(replied.reply, reply(1), "each successful request gets the same reply")?,
            Err(error) => ensure_eq(
                error.kind,
                ErrorKind::Conflict,
                "a request in flight refuses others with Conflict",
            )?,
        }
    }
    ensure_eq(runs.load(Ordering::SeqCst), 1, "the number of requests that ran is 1")
}
