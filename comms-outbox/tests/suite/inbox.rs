//! What has been applied is remembered with its effect.

use std::time::Duration;

use comms_core::{Claim, Claimed, ErrorKind, Inbox, UnitOfWork};

use super::Backend;

fn claim(id: &str) -> Claim {
    Claim { subscriber: "g".into(), source: "s".into(), id: id.into() }
}

pub async fn a_claim_is_new_once_and_forgotten_with_its_transaction<B: Backend>() {
    let backend = B::start().await;
    let unit = backend.unit();
    let mut tx = unit.begin().await.unwrap();
    let claims = [claim("b"), claim("a"), claim("b")];
    let answers = unit.claim(&mut tx, &claims).await.unwrap();
    assert_eq!(answers, [Claimed::New, Claimed::New, Claimed::Seen], "in the order of the input");
    drop(tx);

    let mut tx = unit.begin().await.unwrap();
    assert_eq!(unit.claim(&mut tx, &claims[..1]).await.unwrap(), [Claimed::New], "the first rolled back");
    unit.commit(tx).await.unwrap();

    let mut tx = unit.begin().await.unwrap();
    let other = Claim { subscriber: "other".into(), ..claim("b") };
    let answers = unit.claim(&mut tx, &[claim("c"), claim("b"), other]).await.unwrap();
    assert_eq!(answers, [Claimed::New, Claimed::Seen, Claimed::New]);
    assert!(unit.claim(&mut tx, &[]).await.unwrap().is_empty());
}

pub async fn a_concurrent_claim_waits_and_learns_how_the_first_ended<B: Backend>() {
    let backend = B::start().await;
    for (id, commits, expected) in [("1", true, Claimed::Seen), ("2", false, Claimed::New)] {
        let unit = backend.unit();
        let mut first = unit.begin().await.unwrap();
        assert_eq!(unit.claim(&mut first, &[claim(id)]).await.unwrap(), [Claimed::New]);
        let second = tokio::spawn({
            let unit = backend.unit();
            async move {
                let mut tx = unit.begin().await.unwrap();
                unit.claim(&mut tx, &[claim(id)]).await.unwrap()
            }
        });
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(!second.is_finished(), "it waits");
        if commits {
            unit.commit(first).await.unwrap();
        } else {
            drop(first);
        }
        assert_eq!(second.await.unwrap(), [expected]);
    }
}

/// Overlapping batches in opposite orders, many times: sorted claims cannot deadlock, each is New once.
pub async fn batches_in_opposite_orders_do_not_deadlock<B: Backend>() {
    let backend = B::start().await;
    let ids: Vec<String> = (0..40).map(|n| format!("{n:02}")).collect();
    for round in 0..10 {
        let worker = |reversed: bool| {
            let unit = backend.unit();
            let mut claims: Vec<_> = ids.iter().map(|id| claim(&format!("{round}-{id}"))).collect();
            if reversed {
                claims.reverse();
            }
            tokio::spawn(async move {
                let mut tx = unit.begin().await?;
                let answers = unit.claim(&mut tx, &claims).await?;
                unit.commit(tx).await?;
                Ok::<_, comms_core::Error>(answers.iter().filter(|a| **a == Claimed::New).count())
            })
        };
        let workers: Vec<_> = (0..4).map(|n| worker(n % 2 == 1)).collect();
        let mut new = 0;
        for worker in workers {
            let answered = worker.await.unwrap();
            assert_ne!(answered.as_ref().map_err(|e| e.kind).err(), Some(ErrorKind::Conflict), "deadlock");
            new += answered.unwrap();
        }
        assert_eq!(new, ids.len());
    }
}
