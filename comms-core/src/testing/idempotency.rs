//! The promises of [`IdempotencyStore`]: one run at a time under a lease, and its reply for the others.

use std::{future::Future, sync::Arc, time::Duration};

use crate::{
    Error, ErrorKind,
    idempotency::{Admission, CallKey, IdempotencyStore, LeaseOptions, LeaseToken, StoredReply, run_once},
};

use super::{
    Broken,
    check::{Suite, ensure, ensure_eq, unique},
};

/// A store under test, and its time.
pub trait StoreFixture: Send + Sync {
    /// The store, always the same one. The suite uses keys of its own each time.
    fn store(&self) -> Arc<dyn IdempotencyStore>;

    /// Makes `time` pass for the store: advances its clock, or sleeps.
    fn pass(&self, time: Duration) -> impl Future<Output = ()> + Send;
}

/// The lease of the trials: what waits for its end waits this long.
const LEASE: Duration = Duration::from_secs(2);
/// How long the trials' replies are kept.
const KEEP: Duration = Duration::from_secs(4);
/// Beyond the grain of any store's clock.
const MORE: Duration = Duration::from_millis(1100);

/// Tries every promise. A store whose time is real takes about half a minute.
///
/// # Errors
/// The promises that were broken.
pub async fn all<F: StoreFixture>(fixture: &F) -> Result<(), Broken> {
    let mut suite = Suite::new("IdempotencyStore");
    suite.check("a reply is replayed to the same request of the same caller", replayed(fixture)).await;
    suite.check("one in flight holds off the others", in_flight(fixture)).await;
    suite.check("another request under the same key is a mismatch", mismatch(fixture)).await;
    suite.check("what was abandoned runs again", abandoned(fixture)).await;
    suite.check("a lease that ran out lets another run", lease_ends(fixture)).await;
    suite.check("a late complete is refused and overwrites nothing", late_complete(fixture)).await;
    suite.check("a late abandon frees nobody else's lease", late_abandon(fixture)).await;
    suite.check("a completed run stays as it is", completed(fixture)).await;
    suite.check("a reply is kept as long as was said", kept(fixture)).await;
    suite.check("of many at once exactly one runs", one_of_many(fixture)).await;
    suite.end()
}

/// Every part of the reply comes back; another caller's key is another key.
///
/// # Errors
/// How they do not.
pub async fn replayed<F: StoreFixture>(fixture: &F) -> Result<(), Broken> {
    let (store, key) = (fixture.store(), unique("k"));
    let (ann, bob) = (call("ann", &key, 1)?, call("bob", &key, 1)?);
    let token = run(&store, &ann, "the first time it runs").await?;
    store.complete(&token, &reply(1)).await?;
    for _ in 0..2 {
        let again = store.admit(&ann, terms()?).await?;
        ensure_eq(again, Admission::Replay(reply(1)), "the reply comes back as it was")?;
    }
    run(&store, &bob, "another caller's key is another key").await?;
    run(&store, &call("ann", &unique("k"), 1)?, "another key").await.map(drop)
}

/// While one runs the others are told when to ask again, which is not after its lease.
///
/// # Errors
/// How they are not.
pub async fn in_flight<F: StoreFixture>(fixture: &F) -> Result<(), Broken> {
    let (store, call) = (fixture.store(), call("ann", &unique("k"), 1)?);
    run(&store, &call, "the first runs").await?;
    match store.admit(&call, terms()?).await? {
        Admission::InFlight { retry_after } => {
            ensure(retry_after <= LEASE, "asking again makes sense within the lease")
        }
        other => ensure_eq(other, Admission::InFlight { retry_after: LEASE }, "the second is told to wait"),
    }
}

/// Both while the first runs and when it has completed.
///
/// # Errors
/// When it is not.
pub async fn mismatch<F: StoreFixture>(fixture: &F) -> Result<(), Broken> {
    let (store, key) = (fixture.store(), unique("k"));
    let (first, other) = (call("ann", &key, 1)?, call("ann", &key, 2)?);
    let token = run(&store, &first, "the first runs").await?;
    ensure_eq(store.admit(&other, terms()?).await?, Admission::Mismatch, "while the first runs")?;
    store.complete(&token, &reply(1)).await?;
    ensure_eq(store.admit(&other, terms()?).await?, Admission::Mismatch, "after its reply")
}

/// At once, under a new token; the old one is worth nothing.
///
/// # Errors
/// How it does not.
pub async fn abandoned<F: StoreFixture>(fixture: &F) -> Result<(), Broken> {
    let (store, call) = (fixture.store(), call("ann", &unique("k"), 1)?);
    let first = run(&store, &call, "the first runs").await?;
    store.abandon(&first).await?;
    store.abandon(&first).await?;
    refused(store.complete(&first, &reply(1)).await, "a complete of what was abandoned")?;
    let second = run(&store, &call, "the next runs at once").await?;
    ensure(second.fence != first.fence, "each run has a fence of its own")?;
    store.complete(&second, &reply(2)).await?;
    ensure_eq(store.admit(&call, terms()?).await?, Admission::Replay(reply(2)), "the reply of the second")
}

/// Not before its end, and under a new token.
///
/// # Errors
/// How it does not.
pub async fn lease_ends<F: StoreFixture>(fixture: &F) -> Result<(), Broken> {
    let (store, call) = (fixture.store(), call("ann", &unique("k"), 1)?);
    let long = LeaseOptions::new(LEASE * 5, KEEP)?;
    let Admission::Run(first) = store.admit(&call, long).await? else {
        return ensure(false, "the first runs");
    };
    fixture.pass(LEASE).await;
    let early = store.admit(&call, terms()?).await?;
    ensure(matches!(early, Admission::InFlight { .. }), "a lease is as long as was asked for")?;
    fixture.pass(LEASE * 4 + MORE).await;
    let second = run(&store, &call, "after the lease the next runs").await?;
    ensure(second.fence != first.fence, "each run has a fence of its own")
}

/// Whether nobody, somebody, or somebody with a reply has come since.
///
/// # Errors
/// When it is not.
pub async fn late_complete<F: StoreFixture>(fixture: &F) -> Result<(), Broken> {
    let (store, alone) = (fixture.store(), call("ann", &unique("k"), 1)?);
    let overtaken = call("ann", &unique("k"), 1)?;
    let late_alone = run(&store, &alone, "the first runs").await?;
    let late = run(&store, &overtaken, "the first runs").await?;
    fixture.pass(LEASE + MORE).await;
    refused(store.complete(&late_alone, &reply(1)).await, "nobody else runs")?;
    run(&store, &alone, "what was refused is not remembered").await?;
    let second = run(&store, &overtaken, "after the lease the next runs").await?;
    refused(store.complete(&late, &reply(1)).await, "another runs")?;
    store.complete(&second, &reply(2)).await?;
    refused(store.complete(&late, &reply(1)).await, "another has completed")?;
    ensure_eq(store.admit(&overtaken, terms()?).await?, Admission::Replay(reply(2)), "its reply stays")
}

/// The next run keeps its lease.
///
/// # Errors
/// How it does not.
pub async fn late_abandon<F: StoreFixture>(fixture: &F) -> Result<(), Broken> {
    let (store, call) = (fixture.store(), call("ann", &unique("k"), 1)?);
    let late = run(&store, &call, "the first runs").await?;
    fixture.pass(LEASE + MORE).await;
    let second = run(&store, &call, "after the lease the next runs").await?;
    store.abandon(&late).await?;
    let third = store.admit(&call, terms()?).await?;
    ensure(matches!(third, Admission::InFlight { .. }), "the second still has its lease")?;
    store.complete(&second, &reply(2)).await?;
    store.abandon(&late).await?;
    ensure_eq(store.admit(&call, terms()?).await?, Admission::Replay(reply(2)), "its reply stays")
}

/// A second complete is the same as one, and an abandon comes too late.
///
/// # Errors
/// How it does not.
pub async fn completed<F: StoreFixture>(fixture: &F) -> Result<(), Broken> {
    let (store, call) = (fixture.store(), call("ann", &unique("k"), 1)?);
    let token = run(&store, &call, "the first runs").await?;
    store.complete(&token, &reply(1)).await?;
    store.complete(&token, &reply(2)).await?;
    store.abandon(&token).await?;
    ensure_eq(store.admit(&call, terms()?).await?, Admission::Replay(reply(1)), "the first reply stays")
}

/// Beyond the lease, until the keep has passed since the reply; then the key is new.
///
/// # Errors
/// How it is not.
pub async fn kept<F: StoreFixture>(fixture: &F) -> Result<(), Broken> {
    let (store, call) = (fixture.store(), call("ann", &unique("k"), 1)?);
    let token = run(&store, &call, "the first runs").await?;
    store.complete(&token, &reply(1)).await?;
    // Longer than the lease, shorter than the keep.
    fixture.pass(LEASE + LEASE / 4).await;
    let within = store.admit(&call, terms()?).await?;
    ensure_eq(within, Admission::Replay(reply(1)), "a reply outlives its lease")?;
    fixture.pass(KEEP - LEASE + MORE).await;
    run(&store, &call, "a key whose reply was kept long enough is new").await.map(drop)
}

/// Sixty-four callers at once: one run; every other one gets its reply, or is told to ask again.
///
/// # Errors
/// How many ran.
pub async fn one_of_many<F: StoreFixture>(fixture: &F) -> Result<(), Broken> {
    let (store, call) = (fixture.store(), call("ann", &unique("k"), 1)?);
    let runs = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let caller = |_| {
        let (store, call, runs) = (store.clone(), call.clone(), runs.clone());
        let work = async move || {
            runs.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            tokio::task::yield_now().await;
            Ok(reply(1))
        };
        tokio::spawn(async move { run_once(&store, &call, LeaseOptions::default(), work).await })
    };
    for caller in (0..64).map(caller).collect::<Vec<_>>() {
        match caller.await? {
            Ok(replied) => ensure_eq(replied.reply, reply(1), "every caller gets the reply")?,
            Err(error) => ensure_eq(error.kind, ErrorKind::Conflict, "or is told to ask again")?,
        }
    }
    ensure_eq(runs.load(std::sync::atomic::Ordering::SeqCst), 1, "how many ran")
}

async fn run(store: &Arc<dyn IdempotencyStore>, call: &CallKey, promise: &str) -> Result<LeaseToken, Broken> {
    match store.admit(call, terms()?).await? {
        Admission::Run(token) => Ok(token),
        other => Err(Broken::new(format!("{promise}, but was answered {other:?}"))),
    }
}

fn refused(result: Result<(), Error>, when: &str) -> Result<(), Broken> {
    let kind = result.err().map(|error| error.kind);
    ensure_eq(kind, Some(ErrorKind::Conflict), &format!("it is refused with Conflict: {when}"))
}

fn terms() -> Result<LeaseOptions, Error> {
    LeaseOptions::new(LEASE, KEEP)
}

fn call(principal: &str, key: &str, request: u8) -> Result<CallKey, Error> {
    CallKey::with_fingerprint(principal, "suite", key, [request; 32])
}

fn reply(number: i32) -> StoredReply {
    StoredReply::new(number, &b"\x00done\xff"[..])
        .header("location", "/jobs/1")
        .header("location", &b"\xff"[..])
}
