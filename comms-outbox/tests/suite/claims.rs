//! Many claims in one call, which are made together if all of them are new.

use comms_core::{
    Claim,
    Claimed::{self, New, Seen},
    Inbox, UnitOfWork,
};

use super::Backend;

const MANY: usize = 100;

fn claim(id: usize) -> Claim {
    Claim { subscriber: "s".into(), handler: "h".into(), source: "t".into(), id: format!("{id:03}").into() }
}

fn claims(ids: impl IntoIterator<Item = usize>) -> Vec<Claim> {
    ids.into_iter().map(claim).collect()
}

async fn commit<B: Backend>(backend: &B, claims: &[Claim]) -> Vec<Claimed> {
    let unit = backend.unit();
    let mut tx = unit.begin().await.unwrap();
    let claimed = unit.claim(&mut tx, claims).await.unwrap();
    // The transaction is usable, also after a claim that was made before.
    backend.add_effect(&mut tx, "a").await;
    unit.commit(tx).await.unwrap();
    claimed
}

/// Each of many claims has its own result, and a transaction that finds claims of others commits.
pub async fn each_of_many_claims_has_its_own_result<B: Backend>() {
    let backend = B::start().await;
    let mut twice = claims(0..MANY);
    twice.extend(claims(0..MANY));
    assert_eq!(commit(&backend, &twice).await, [[New; MANY], [Seen; MANY]].concat());
    // Every second one is made already.
    let half: Vec<_> = (0..MANY).map(|n| n + (n % 2) * MANY).collect();
    let expected: Vec<_> = half.iter().map(|id| if *id < MANY { Seen } else { New }).collect();
    assert_eq!(commit(&backend, &claims(half.clone())).await, expected);
    assert_eq!(commit(&backend, &claims(half)).await, [Seen; MANY]);
    assert_eq!(backend.effects().await.len(), 3);
}

/// Claims of a transaction that rolls back are not made, whether all of them were new or not.
pub async fn many_claims_are_made_if_their_transaction_commits<B: Backend>() {
    let backend = B::start().await;
    commit(&backend, &claims([0])).await;
    for first in [0, 1] {
        let unit = backend.unit();
        let mut tx = unit.begin().await.unwrap();
        let claimed = unit.claim(&mut tx, &claims(first..MANY)).await.unwrap();
        assert_eq!(claimed.iter().filter(|claimed| **claimed == New).count(), MANY - 1);
        drop(tx);
    }
    assert_eq!(commit(&backend, &claims(1..MANY)).await, [New; MANY - 1]);
}

/// Of transactions that make the same claims at the same time in any order, one makes each, and none fails.
pub async fn many_claims_in_any_order_do_not_deadlock<B: Backend>() {
    let backend = B::start().await;
    for round in 0..10 {
        let ids = round * MANY..(round + 1) * MANY;
        let orders =
            [claims(ids.clone()), claims(ids.clone().rev()), claims(ids.clone().step_by(2)), claims(ids)];
        let tasks = orders.map(|claims| {
            let backend = backend.clone();
            tokio::spawn(async move { commit(&backend, &claims).await })
        });
        let mut new = 0;
        for task in tasks {
            new += task.await.unwrap().into_iter().filter(|claimed| *claimed == New).count();
        }
        assert_eq!(new, MANY);
    }
}
