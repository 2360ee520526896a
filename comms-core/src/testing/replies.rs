//! The conformance suite of [`Replies`]: a repeated request gets the reply that the first one committed.

use crate::{
    Error, ErrorKind, Scoped, UnitOfWork,
    clock::Clock,
    idempotency::{Admission, CallKey, Replies, StoredReply, reply_once},
};

use super::{
    Broken, UnitFixture,
    check::{OBSERVED_WAIT, Suite, ensure, ensure_eq, unique},
};

/// Checks every guarantee.
///
/// # Errors
/// Returns [`Broken`] with every violated guarantee and what was observed.
pub async fn all<F: UnitFixture<Unit: Replies>>(fixture: &F) -> Result<(), Broken> {
    let mut suite = Suite::new("Replies");
    suite
        .check("a reply is replayed to the same request of the same caller", reply_is_replayed(fixture))
        .await;
    suite.check("reply and effect commit together", reply_and_effect_commit_together(fixture)).await;
    suite.check("a concurrent request waits for the reply", concurrent_request_waits(fixture)).await;
    suite.check("one of many concurrent requests runs", one_of_many_runs(fixture)).await;
    suite
        .check(
            "a request is completed once, and in the transaction that admitted it",
            missing_and_second_replies_are_refused(fixture),
        )
        .await;
    suite.finish()
}

/// Checks that every part of a reply is replayed, that another request under the key is a mismatch, and that the keys
/// of different callers are different keys.
///
/// # Errors
/// Returns [`Broken`] if a request gets another admission.
pub async fn reply_is_replayed<F: UnitFixture<Unit: Replies>>(fixture: &F) -> Result<(), Broken> {
    let (unit, key) = (fixture.unit(), unique("k"));
    let (ann, bob, other) = (call("ann", &key, 1)?, call("bob", &key, 1)?, call("ann", &unique("k"), 1)?);
    let admission = admit_and_roll_back(fixture, &ann).await?;
    ensure_eq(admission, Admission::Run(()), "the first request of a key runs")?;
    let mut tx = unit.begin().await?;
    let admission = unit.admit(&mut tx, &ann).await?;
    ensure_eq(admission, Admission::Run(()), "a request whose transaction rolled back is forgotten")?;
    unit.complete(&mut tx, &ann, &reply()).await?;
    unit.commit(tx).await?;
    let admission = admit_and_roll_back(fixture, &ann).await?;
    ensure_eq(admission, Admission::Replay(reply()), "an equal request gets the stored reply unchanged")?;
    let admission = admit_and_roll_back(fixture, &call("ann", &key, 2)?).await?;
    ensure_eq(admission, Admission::Mismatch, "another fingerprint under the same key is a mismatch")?;
    let admission = admit_and_roll_back(fixture, &bob).await?;
    ensure_eq(
        admission,
        Admission::Run(()),
        "the same key of another caller is another key, and its request runs",
    )?;
    let admission = admit_and_roll_back(fixture, &other).await?;
    ensure_eq(admission, Admission::Run(()), "the first request of another key runs")
}

/// Checks that reply and effect are stored together after a commit, that neither is stored after an error, and that a
/// replay has no effect.
///
/// # Errors
/// Returns [`Broken`] if an effect is committed without its reply, twice, or not at all, or an error of the work is
/// lost.
pub async fn reply_and_effect_commit_together<F: UnitFixture<Unit: Replies>>(
    fixture: &F,
) -> Result<(), Broken> {
    let (unit, key) = (fixture.unit(), unique("k"));
    let call = call("ann", &key, 1)?;
    let run = async |fails: bool| {
        reply_once(&unit, &call, async |mut tx: Scoped<_>| {
            fixture.write(&mut tx, &key).await?;
            if fails { Err(Error::not_executed("after the write")) } else { Ok(reply()) }
        })
        .await
    };
    ensure(run(true).await.is_err(), "an error of the work is returned", "reply_once returned Ok")?;
    ensure_eq(fixture.count(&key).await?, 0, "the number of effects after an error is 0")?;
    let first = run(false).await?;
    ensure(!first.replayed, "no reply is stored after an error", format!("a replay of {:?}", first.reply))?;
    let second = run(false).await?;
    let observed = (second.replayed, second.reply);
    ensure_eq(observed, (true, reply()), "an equal request after the commit is a replay")?;
    ensure_eq(fixture.count(&key).await?, 1, "the number of effects after a run and a replay is 1")
}

/// Checks that the second of two concurrent requests waits for the transaction of the first, and gets its reply.
///
/// # Errors
/// Returns [`Broken`] if the second request does not wait, or gets another admission.
pub async fn concurrent_request_waits<F: UnitFixture<Unit: Replies>>(fixture: &F) -> Result<(), Broken> {
    let (unit, call) = (fixture.unit(), call("ann", &unique("k"), 1)?);
    let mut tx = unit.begin().await?;
    ensure_eq(unit.admit(&mut tx, &call).await?, Admission::Run(()), "the first request of a key runs")?;
    let second = tokio::spawn({
        let (unit, call) = (fixture.unit(), call.clone());
        async move {
            let mut tx = unit.begin().await?;
            unit.admit(&mut tx, &call).await
        }
    });
    Clock::system().sleep(OBSERVED_WAIT).await;
    let guarantee = "an equal request waits until the first transaction ends";
    ensure(
        !second.is_finished(),
        guarantee,
        "the second request returned while the first transaction was open",
    )?;
    unit.complete(&mut tx, &call, &reply()).await?;
    unit.commit(tx).await?;
    ensure_eq(
        second.await??,
        Admission::Replay(reply()),
        "a request that waited gets the reply of the first one",
    )
}

/// Checks that one of eight concurrent requests of a key runs, and that each other request gets its reply.
///
/// # Errors
/// Returns [`Broken`] if not exactly one request ran, or a request got another reply.
pub async fn one_of_many_runs<F: UnitFixture<Unit: Replies>>(fixture: &F) -> Result<(), Broken> {
    let key = unique("k");
    let request = |_| {
        let (unit, call) = (fixture.unit(), call("ann", &key, 1));
        tokio::spawn(async move { reply_once(&unit, &call?, async |_| Ok(reply())).await })
    };
    let mut runs = 0;
    for request in (0..8).map(request).collect::<Vec<_>>() {
        let replied = request.await??;
        ensure_eq(replied.reply, reply(), "each request gets the same reply")?;
        runs += usize::from(!replied.replayed);
    }
    ensure_eq(runs, 1, "the number of requests that ran is 1")
}

/// Checks that a reply without an admitted request, a second reply, and a request that was committed without a reply
/// fail with `Invalid`.
///
/// # Errors
/// Returns [`Broken`] if one of them succeeds or fails with another kind.
pub async fn missing_and_second_replies_are_refused<F: UnitFixture<Unit: Replies>>(
    fixture: &F,
) -> Result<(), Broken> {
    let invalid = Some(ErrorKind::Invalid);
    let (unit, first) = (fixture.unit(), call("ann", &unique("k"), 1)?);
    let mut tx = unit.begin().await?;
    let completed = unit.complete(&mut tx, &first, &reply()).await;
    ensure_eq(
        kind(completed),
        invalid,
        "complete fails with Invalid if its transaction admitted no request",
    )?;
    drop(tx);
    let mut tx = unit.begin().await?;
    unit.admit(&mut tx, &first).await?;
    unit.commit(tx).await?;
    let mut tx = unit.begin().await?;
    let admitted = unit.admit(&mut tx, &first).await;
    let guarantee = "admit fails with Invalid if an equal request was committed without a reply: \
                     a second run could double its effect";
    ensure_eq(kind(admitted), invalid, guarantee)?;
    drop(tx);

    let second = call("ann", &unique("k"), 1)?;
    let mut tx = unit.begin().await?;
    unit.admit(&mut tx, &second).await?;
    unit.complete(&mut tx, &second, &reply()).await?;
    let completed = unit.complete(&mut tx, &second, &reply()).await;
    ensure_eq(kind(completed), invalid, "a second complete of a request fails with Invalid")
}

async fn admit_and_roll_back<F: UnitFixture<Unit: Replies>>(
    fixture: &F,
    call: &CallKey,
) -> Result<Admission, Error> {
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
