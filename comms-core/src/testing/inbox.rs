//! The promises of [`Inbox`]: what was applied is remembered, with its effect.

use crate::{Claim, Claimed, Error, Inbox, UnitOfWork, clock::Clock, in_transaction};

use super::{
    Broken, UnitFixture,
    check::{Suite, WATCHED, ensure, ensure_eq, unique},
};

/// Tries every promise.
///
/// # Errors
/// The promises that were broken.
pub async fn all<F: UnitFixture<Unit: Inbox>>(fixture: &F) -> Result<(), Broken> {
    let mut suite = Suite::new("Inbox");
    suite.check("a claim is New until it commits, then Seen", new_until_committed(fixture)).await;
    suite.check("claim and effect commit together", with_the_effect(fixture)).await;
    suite.check("answers stand in the order of the claims", answers_in_order(fixture)).await;
    suite.check("subscriber, handler, source and id are all of the claim", identity(fixture)).await;
    suite.check("a concurrent claim waits and learns how the first ended", waits(fixture)).await;
    suite.check("of many at once exactly one is New", one_of_many(fixture)).await;
    suite.check("batches in opposite orders do not deadlock", opposite_orders(fixture)).await;
    suite.end()
}

/// A claim that rolled back is forgotten; one that committed is remembered.
///
/// # Errors
/// How it is not.
pub async fn new_until_committed<F: UnitFixture<Unit: Inbox>>(fixture: &F) -> Result<(), Broken> {
    let (unit, claim) = (fixture.unit(), [claim(&unique("m"))]);
    let mut tx = unit.begin().await?;
    ensure_eq(unit.claim(&mut tx, &claim).await?, vec![Claimed::New], "the first time it is New")?;
    ensure_eq(unit.claim(&mut tx, &claim).await?, vec![Claimed::Seen], "a transaction sees its own claim")?;
    drop(tx);
    let mut tx = unit.begin().await?;
    let answer = unit.claim(&mut tx, &claim).await?;
    ensure_eq(answer, vec![Claimed::New], "a claim whose transaction was dropped is forgotten")?;
    unit.commit(tx).await?;
    let mut tx = unit.begin().await?;
    ensure_eq(unit.claim(&mut tx, &claim).await?, vec![Claimed::Seen], "a committed claim is Seen")
}

/// Neither is there without the other: after a commit, an error, a drop.
///
/// # Errors
/// How one is.
pub async fn with_the_effect<F: UnitFixture<Unit: Inbox>>(fixture: &F) -> Result<(), Broken> {
    let (unit, id) = (fixture.unit(), unique("m"));
    let apply = async |fails: bool| {
        in_transaction(&unit, async |mut tx| {
            let answers = unit.claim(&mut tx, &[claim(&id)]).await?;
            if answers == [Claimed::New] {
                fixture.write(&mut tx, &id).await?;
            }
            if fails { Err(Error::not_executed("after its write")) } else { Ok(()) }
        })
        .await
    };
    ensure(apply(true).await.is_err(), "an error of the work is handed on")?;
    ensure_eq(fixture.count(&id).await?, 0, "an error leaves no effect behind")?;
    apply(false).await?;
    ensure_eq(fixture.count(&id).await?, 1, "an error leaves no claim behind")?;
    apply(false).await?;
    ensure_eq(fixture.count(&id).await?, 1, "the second time changes nothing")
}

/// One answer for each claim; of equal ones in one call the first is New.
///
/// # Errors
/// How they do not.
pub async fn answers_in_order<F: UnitFixture<Unit: Inbox>>(fixture: &F) -> Result<(), Broken> {
    let (unit, [a, b, c]) = (fixture.unit(), ["a", "b", "c"].map(|id| claim(&unique(id))));
    let mut tx = unit.begin().await?;
    let answers = unit.claim(&mut tx, &[b.clone(), a.clone(), b.clone()]).await?;
    let expected = vec![Claimed::New, Claimed::New, Claimed::Seen];
    ensure_eq(answers, expected, "of equal claims in one call the first is New")?;
    unit.commit(tx).await?;
    let mut tx = unit.begin().await?;
    let answers = unit.claim(&mut tx, &[c, b, a]).await?;
    ensure_eq(answers, vec![Claimed::New, Claimed::Seen, Claimed::Seen], "old and new claims in one call")?;
    ensure_eq(unit.claim(&mut tx, &[]).await?, vec![], "no claims, no answers")
}

/// Claims that differ in one part are different ones.
///
/// # Errors
/// Which are not.
pub async fn identity<F: UnitFixture<Unit: Inbox>>(fixture: &F) -> Result<(), Broken> {
    let (unit, first) = (fixture.unit(), claim(&unique("m")));
    let others = [
        Claim { subscriber: "another".into(), ..first.clone() },
        Claim { handler: "another".into(), ..first.clone() },
        Claim { source: "another".into(), ..first.clone() },
        Claim { id: unique("m").into(), ..first.clone() },
    ];
    let mut tx = unit.begin().await?;
    unit.claim(&mut tx, &[first]).await?;
    unit.commit(tx).await?;
    let mut tx = unit.begin().await?;
    ensure_eq(unit.claim(&mut tx, &others).await?, vec![Claimed::New; 4], "each of them is New")
}

/// The second of two transactions waits for the first, and is `Seen` or `New` as that one commits or not.
///
/// # Errors
/// How it does not.
pub async fn waits<F: UnitFixture<Unit: Inbox>>(fixture: &F) -> Result<(), Broken> {
    for (commits, expected) in [(true, Claimed::Seen), (false, Claimed::New)] {
        let (unit, claim) = (fixture.unit(), [claim(&unique("m"))]);
        let mut first = unit.begin().await?;
        unit.claim(&mut first, &claim).await?;
        let second = tokio::spawn({
            let (unit, claim) = (fixture.unit(), claim.clone());
            async move {
                let mut tx = unit.begin().await?;
                unit.claim(&mut tx, &claim).await
            }
        });
        Clock::system().sleep(WATCHED).await;
        ensure(!second.is_finished(), "the second does not answer before the first has ended")?;
        if commits {
            unit.commit(first).await?;
        } else {
            drop(first);
        }
        let promise = if commits { "the first committed" } else { "the first was dropped" };
        ensure_eq(second.await??, vec![expected], promise)?;
    }
    Ok(())
}

/// Sixteen deliveries of one message have one effect.
///
/// # Errors
/// How many they have.
pub async fn one_of_many<F: UnitFixture<Unit: Inbox>>(fixture: &F) -> Result<(), Broken> {
    let id = unique("m");
    let claims = (0..16).map(|_| claimed(fixture, vec![claim(&id)]));
    let mut new = 0;
    for claimed in claims.collect::<Vec<_>>() {
        new += claimed.await??;
    }
    ensure_eq(new, 1, "how many were New")
}

/// Overlapping batches, forwards and backwards, many times: none fails, and each claim is New once.
///
/// # Errors
/// How one fails.
pub async fn opposite_orders<F: UnitFixture<Unit: Inbox>>(fixture: &F) -> Result<(), Broken> {
    for _ in 0..10 {
        let round = unique("m");
        let forwards: Vec<_> = (0..40).map(|n| claim(&format!("{round}-{n:02}"))).collect();
        let backwards: Vec<_> = forwards.iter().rev().cloned().collect();
        let batches = [&forwards, &backwards, &forwards, &backwards];
        let mut new = 0;
        for claimed in batches.map(|batch| claimed(fixture, batch.clone())) {
            new += claimed.await??;
        }
        ensure_eq(new, forwards.len(), "how many were New")?;
    }
    Ok(())
}

/// Claims and commits in a task of its own; how many were New.
fn claimed<F: UnitFixture<Unit: Inbox>>(
    fixture: &F,
    claims: Vec<Claim>,
) -> tokio::task::JoinHandle<Result<usize, Error>> {
    let unit = fixture.unit();
    tokio::spawn(async move {
        let mut tx = unit.begin().await?;
        let answers = unit.claim(&mut tx, &claims).await?;
        unit.commit(tx).await?;
        Ok(answers.iter().filter(|answer| **answer == Claimed::New).count())
    })
}

fn claim(id: &str) -> Claim {
    Claim { subscriber: "suite".into(), handler: "test".into(), source: "test".into(), id: id.into() }
}
