//! The promises of [`Replies`]: a request that comes again gets the reply of the first.

use crate::{
    Error, ErrorKind, Scoped, UnitOfWork,
    clock::Clock,
    idempotency::{Admission, CallKey, Replies, StoredReply, reply_once},
};

use super::{
    Broken, UnitFixture,
    check::{Suite, WATCHED, ensure, ensure_eq, unique},
};

/// Tries every promise.
///
/// # Errors
/// The promises that were broken.
pub async fn all<F: UnitFixture<Unit: Replies>>(fixture: &F) -> Result<(), Broken> {
    let mut suite = Suite::new("Replies");
    suite.check("a reply is replayed to the same request of the same caller", replayed(fixture)).await;
    suite.check("reply and effect commit together", with_the_effect(fixture)).await;
    suite.check("a concurrent request waits for the reply", waits(fixture)).await;
    suite.check("of many at once exactly one runs", one_of_many(fixture)).await;
    suite.check("an answer that was forgotten is said aloud", forgotten(fixture)).await;
    suite.end()
}

/// Every part of the reply comes back; another request of the key is a mismatch, another caller's key another key.
///
/// # Errors
/// How they do not.
pub async fn replayed<F: UnitFixture<Unit: Replies>>(fixture: &F) -> Result<(), Broken> {
    let (unit, key) = (fixture.unit(), unique("k"));
    let (ann, bob, other) = (call("ann", &key, 1)?, call("bob", &key, 1)?, call("ann", &unique("k"), 1)?);
    ensure_eq(admit(fixture, &ann).await?, Admission::Run(()), "the first time it runs")?;
    let mut tx = unit.begin().await?;
    ensure_eq(unit.admit(&mut tx, &ann).await?, Admission::Run(()), "what rolled back is forgotten")?;
    unit.complete(&mut tx, &ann, &reply()).await?;
    unit.commit(tx).await?;
    ensure_eq(admit(fixture, &ann).await?, Admission::Replay(reply()), "the reply comes back as it was")?;
    let another = admit(fixture, &call("ann", &key, 2)?).await?;
    ensure_eq(another, Admission::Mismatch, "another request under the same key")?;
    ensure_eq(admit(fixture, &bob).await?, Admission::Run(()), "another caller's key is another key")?;
    ensure_eq(admit(fixture, &other).await?, Admission::Run(()), "another key")
}

/// Neither is there without the other: after an error, after a commit, after a replay.
///
/// # Errors
/// How one is.
pub async fn with_the_effect<F: UnitFixture<Unit: Replies>>(fixture: &F) -> Result<(), Broken> {
    let (unit, key) = (fixture.unit(), unique("k"));
    let call = call("ann", &key, 1)?;
    let run = async |fails: bool| {
        reply_once(&unit, &call, async |mut tx: Scoped<_>| {
            fixture.write(&mut tx, &key).await?;
            if fails { Err(Error::not_executed("after its write")) } else { Ok(reply()) }
        })
        .await
    };
    ensure(run(true).await.is_err(), "an error of the work is handed on")?;
    ensure_eq(fixture.count(&key).await?, 0, "an error leaves no effect behind")?;
    ensure(!run(false).await?.replayed, "an error leaves no reply behind")?;
    let again = run(false).await?;
    ensure_eq((again.replayed, again.reply), (true, reply()), "the second time is a replay")?;
    ensure_eq(fixture.count(&key).await?, 1, "a replay has no effect")
}

/// The second of two requests waits for the transaction of the first, and gets its reply.
///
/// # Errors
/// How it does not.
pub async fn waits<F: UnitFixture<Unit: Replies>>(fixture: &F) -> Result<(), Broken> {
    let (unit, call) = (fixture.unit(), call("ann", &unique("k"), 1)?);
    let mut tx = unit.begin().await?;
    ensure_eq(unit.admit(&mut tx, &call).await?, Admission::Run(()), "the first runs")?;
    let second = tokio::spawn({
        let (unit, call) = (fixture.unit(), call.clone());
        async move {
            let mut tx = unit.begin().await?;
            unit.admit(&mut tx, &call).await
        }
    });
    Clock::system().sleep(WATCHED).await;
    ensure(!second.is_finished(), "the second does not answer before the first has ended")?;
    unit.complete(&mut tx, &call, &reply()).await?;
    unit.commit(tx).await?;
    ensure_eq(second.await??, Admission::Replay(reply()), "the second gets the reply of the first")
}

/// Eight requests of one key have one effect; the others get its reply.
///
/// # Errors
/// How many they have.
pub async fn one_of_many<F: UnitFixture<Unit: Replies>>(fixture: &F) -> Result<(), Broken> {
    let key = unique("k");
    let run = |_| {
        let (unit, call) = (fixture.unit(), call("ann", &key, 1));
        tokio::spawn(async move { reply_once(&unit, &call?, async |_| Ok(reply())).await })
    };
    let mut runs = 0;
    for run in (0..8).map(run).collect::<Vec<_>>() {
        let replied = run.await??;
        ensure_eq(replied.reply, reply(), "every caller gets the reply")?;
        runs += usize::from(!replied.replayed);
    }
    ensure_eq(runs, 1, "how many ran")
}

/// An answer needs a request, a request needs an answer, and only one: anything else is `Invalid`.
///
/// # Errors
/// What is let through.
pub async fn forgotten<F: UnitFixture<Unit: Replies>>(fixture: &F) -> Result<(), Broken> {
    let (unit, call) = (fixture.unit(), call("ann", &unique("k"), 1)?);
    let mut tx = unit.begin().await?;
    let unasked = unit.complete(&mut tx, &call, &reply()).await;
    ensure_eq(kind(unasked), Some(ErrorKind::Invalid), "an answer to a request that was not admitted")?;
    drop(tx);
    let mut tx = unit.begin().await?;
    unit.admit(&mut tx, &call).await?;
    unit.commit(tx).await?;
    let mut tx = unit.begin().await?;
    let admitted = unit.admit(&mut tx, &call).await;
    ensure_eq(kind(admitted), Some(ErrorKind::Invalid), "running again could double the effect")?;
    drop(tx);

    let call = self::call("ann", &unique("k"), 1)?;
    let mut tx = unit.begin().await?;
    unit.admit(&mut tx, &call).await?;
    unit.complete(&mut tx, &call, &reply()).await?;
    let twice = unit.complete(&mut tx, &call, &reply()).await;
    ensure_eq(kind(twice), Some(ErrorKind::Invalid), "a second answer")
}

async fn admit<F: UnitFixture<Unit: Replies>>(fixture: &F, call: &CallKey) -> Result<Admission, Error> {
    let unit = fixture.unit();
    let mut tx = unit.begin().await?;
    unit.admit(&mut tx, call).await
}

fn kind<T>(result: Result<T, Error>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind)
}

fn call(principal: &str, key: &str, request: u8) -> Result<CallKey, Error> {
    CallKey::with_fingerprint(principal, "suite", key, [request; 32])
}

fn reply() -> StoredReply {
    StoredReply::new(202, &b"\x00order 1\xff"[..])
        .header("location", "/orders/1")
        .header("location", &b"\xff"[..])
}
