//! The conformance suite of [`Inbox`]: a claim is recorded if and only if the transaction with the effect commits.

use crate::{Claim, Claimed, Error, Inbox, UnitOfWork, clock::Clock, in_transaction};

use super::{
    Broken, UnitFixture,
    check::{OBSERVED_WAIT, Suite, ensure, ensure_eq, unique},
};

/// Checks every guarantee.
///
/// # Errors
/// Returns [`Broken`] with every violated guarantee and what was observed.
pub async fn all<F: UnitFixture<Unit: Inbox>>(fixture: &F) -> Result<(), Broken> {
    let mut suite = Suite::new("Inbox");
    suite.check("a claim is New until it commits, then Seen", new_until_committed(fixture)).await;
    suite.check("claim and effect commit together", claim_and_effect_commit_together(fixture)).await;
    suite.check("results are in the order of the claims", results_in_the_order_of_claims(fixture)).await;
    suite
        .check("subscriber, handler, source and id identify a claim", every_part_identifies_a_claim(fixture))
        .await;
    suite.check("a concurrent claim waits for the first transaction", concurrent_claim_waits(fixture)).await;
    suite.check("one of many concurrent claims is New", one_of_many_is_new(fixture)).await;
    suite.check("batches in opposite orders do not deadlock", opposite_orders_do_not_deadlock(fixture)).await;
    suite.finish()
}

/// Checks that a claim is forgotten if its transaction rolls back, and recorded if its transaction commits.
///
/// # Errors
/// Returns [`Broken`] if a claim is `Seen` before a commit in another transaction, or `New` after one.
pub async fn new_until_committed<F: UnitFixture<Unit: Inbox>>(fixture: &F) -> Result<(), Broken> {
    let (unit, claim) = (fixture.unit(), [claim(&unique("m"))]);
    let mut tx = unit.begin().await?;
    let claimed = unit.claim(&mut tx, &claim).await?;
    ensure_eq(claimed, vec![Claimed::New], "the first claim of a message is New")?;
    let claimed = unit.claim(&mut tx, &claim).await?;
    ensure_eq(claimed, vec![Claimed::Seen], "a repeated claim in the same transaction is Seen")?;
    drop(tx);
    let mut tx = unit.begin().await?;
    let claimed = unit.claim(&mut tx, &claim).await?;
    ensure_eq(claimed, vec![Claimed::New], "a claim whose transaction was dropped is forgotten")?;
    unit.commit(tx).await?;
    let mut tx = unit.begin().await?;
    ensure_eq(unit.claim(&mut tx, &claim).await?, vec![Claimed::Seen], "a committed claim is Seen")
}

/// Checks that claim and effect are recorded together after a commit, and that neither is recorded after an error.
///
/// # Errors
/// Returns [`Broken`] if an effect is committed without its claim, twice, or not at all, or an error of the work is
/// lost.
pub async fn claim_and_effect_commit_together<F: UnitFixture<Unit: Inbox>>(
    fixture: &F,
) -> Result<(), Broken> {
    let (unit, id) = (fixture.unit(), unique("m"));
    let apply = async |fails: bool| {
        in_transaction(&unit, async |mut tx| {
            let claimed = unit.claim(&mut tx, &[claim(&id)]).await?;
            if claimed == [Claimed::New] {
                fixture.write(&mut tx, &id).await?;
            }
            if fails { Err(Error::not_executed("after the write")) } else { Ok(()) }
        })
        .await
    };
    ensure(apply(true).await.is_err(), "an error of the work is returned", "the transaction returned Ok")?;
    ensure_eq(fixture.count(&id).await?, 0, "the number of effects after an error is 0")?;
    apply(false).await?;
    ensure_eq(
        fixture.count(&id).await?,
        1,
        "the number of effects is 1 if the attempt after an error succeeds",
    )?;
    apply(false).await?;
    ensure_eq(fixture.count(&id).await?, 1, "the number of effects stays 1 if the message is delivered again")
}

/// Checks that each claim has one result, in the order of the claims, and that the first of equal claims is `New`.
///
/// # Errors
/// Returns [`Broken`] if the results differ in number, order or value.
pub async fn results_in_the_order_of_claims<F: UnitFixture<Unit: Inbox>>(fixture: &F) -> Result<(), Broken> {
    let (unit, [a, b, c]) = (fixture.unit(), ["a", "b", "c"].map(|id| claim(&unique(id))));
    let mut tx = unit.begin().await?;
    let claimed = unit.claim(&mut tx, &[b.clone(), a.clone(), b.clone()]).await?;
    let expected = vec![Claimed::New, Claimed::New, Claimed::Seen];
    ensure_eq(claimed, expected, "the first of equal claims in one call is New")?;
    unit.commit(tx).await?;
    let mut tx = unit.begin().await?;
    let claimed = unit.claim(&mut tx, &[c, b, a]).await?;
    let expected = vec![Claimed::New, Claimed::Seen, Claimed::Seen];
    ensure_eq(claimed, expected, "new and committed claims in one call each get their result")?;
    ensure_eq(unit.claim(&mut tx, &[]).await?, vec![], "a call without claims has no results")
}

/// Checks that claims which differ in one part are different claims.
///
/// # Errors
/// Returns [`Broken`] if a claim that differs from a committed one is `Seen`.
pub async fn every_part_identifies_a_claim<F: UnitFixture<Unit: Inbox>>(fixture: &F) -> Result<(), Broken> {
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
    let guarantee = "a claim with another subscriber, handler, source or id (in this order) is New";
    ensure_eq(unit.claim(&mut tx, &others).await?, vec![Claimed::New; 4], guarantee)
}

/// Checks that a concurrent claim waits for the first transaction, and is `Seen` after its commit and `New` after its
/// rollback.
///
/// # Errors
/// Returns [`Broken`] if the second claim does not wait, or its result does not follow from the end of the first
/// transaction.
pub async fn concurrent_claim_waits<F: UnitFixture<Unit: Inbox>>(fixture: &F) -> Result<(), Broken> {
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
        Clock::system().sleep(OBSERVED_WAIT).await;
        let guarantee = "an equal claim waits until the first transaction ends";
        ensure(
            !second.is_finished(),
            guarantee,
            "the second claim returned while the first transaction was open",
        )?;
        let guarantee = if commits {
            unit.commit(first).await?;
            "a claim that waited is Seen if the first transaction commits"
        } else {
            drop(first);
            "a claim that waited is New if the first transaction rolls back"
        };
        ensure_eq(second.await??, vec![expected], guarantee)?;
    }
    Ok(())
}

/// Checks that one of sixteen concurrent claims of a message is `New`.
///
/// # Errors
/// Returns [`Broken`] with the number of claims that were `New`.
pub async fn one_of_many_is_new<F: UnitFixture<Unit: Inbox>>(fixture: &F) -> Result<(), Broken> {
    let id = unique("m");
    let counts = (0..16).map(|_| spawn_claims(fixture, vec![claim(&id)]));
    let mut new = 0;
    for count in counts.collect::<Vec<_>>() {
        new += count.await??;
    }
    ensure_eq(new, 1, "the number of concurrent equal claims that are New is 1")
}

/// Checks that concurrent batches with the same claims in opposite orders succeed, and that each claim is `New` once.
/// The check has ten rounds of four batches with forty claims.
///
/// # Errors
/// Returns [`Broken`] if a batch fails, for example because of a deadlock, or a claim is not `New` exactly once.
pub async fn opposite_orders_do_not_deadlock<F: UnitFixture<Unit: Inbox>>(fixture: &F) -> Result<(), Broken> {
    for _ in 0..10 {
        let round = unique("m");
        let ascending: Vec<_> = (0..40).map(|n| claim(&format!("{round}-{n:02}"))).collect();
        let descending: Vec<_> = ascending.iter().rev().cloned().collect();
        let batches = [&ascending, &descending, &ascending, &descending];
        let mut new = 0;
        for count in batches.map(|batch| spawn_claims(fixture, batch.clone())) {
            new += count.await??;
        }
        ensure_eq(new, ascending.len(), "each claim of concurrent batches is New once")?;
    }
    Ok(())
}

/// Spawns a task that claims and commits, and returns the number of claims that were `New`.
fn spawn_claims<F: UnitFixture<Unit: Inbox>>(
    fixture: &F,
    claims: Vec<Claim>,
) -> tokio::task::JoinHandle<Result<usize, Error>> {
    let unit = fixture.unit();
    tokio::spawn(async move {
        let mut tx = unit.begin().await?;
        let claimed = unit.claim(&mut tx, &claims).await?;
        unit.commit(tx).await?;
        Ok(claimed.iter().filter(|claimed| **claimed == Claimed::New).count())
    })
}

fn claim(id: &str) -> Claim {
    Claim { subscriber: "suite".into(), handler: "test".into(), source: "test".into(), id: id.into() }
}
