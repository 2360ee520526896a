//! A request that comes again gets the reply of the first.

use std::time::Duration;

use bytes::Bytes;
use comms_core::{Admit, CallKey, ErrorKind, Replies, StoredReply, UnitOfWork};

use super::Backend;

fn key(principal: &str, key: &str, request: &str) -> CallKey {
    CallKey::new(principal, "place order", key, request.as_bytes()).unwrap()
}

fn reply() -> StoredReply {
    StoredReply::new(202, Bytes::from_static(b"\x00order 1\xff")).header("location", "/orders/1")
}

async fn admit<B: Backend>(backend: &B, key: &CallKey) -> Admit {
    let unit = backend.unit();
    let mut tx = unit.begin().await.unwrap();
    unit.admit(&mut tx, key).await.unwrap()
}

async fn answer<B: Backend>(backend: &B, key: &CallKey) {
    let unit = backend.unit();
    let mut tx = unit.begin().await.unwrap();
    assert_eq!(unit.admit(&mut tx, key).await.unwrap(), Admit::Run);
    unit.answer(&mut tx, key, &reply()).await.unwrap();
    unit.commit(tx).await.unwrap();
}

pub async fn a_reply_is_replayed_to_the_same_request_of_the_same_caller<B: Backend>() {
    let backend = B::start().await;
    let first = key("ann", "k", "one phone");
    assert_eq!(admit(&backend, &first).await, Admit::Run);
    assert_eq!(admit(&backend, &first).await, Admit::Run, "the first rolled back");
    answer(&backend, &first).await;
    assert_eq!(admit(&backend, &first).await, Admit::Replay(reply()));
    assert_eq!(admit(&backend, &key("ann", "k", "two phones")).await, Admit::Mismatch);
    assert_eq!(admit(&backend, &key("bob", "k", "one phone")).await, Admit::Run);
    assert_eq!(admit(&backend, &key("ann", "other", "one phone")).await, Admit::Run);
}

pub async fn a_concurrent_request_waits_for_the_reply<B: Backend>() {
    let backend = B::start().await;
    let key = key("ann", "k", "one phone");
    let unit = backend.unit();
    let mut tx = unit.begin().await.unwrap();
    assert_eq!(unit.admit(&mut tx, &key).await.unwrap(), Admit::Run);
    let second = tokio::spawn({
        let (backend, key) = (backend.clone(), key.clone());
        async move { admit(&backend, &key).await }
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!second.is_finished(), "it waits");
    unit.answer(&mut tx, &key, &reply()).await.unwrap();
    unit.commit(tx).await.unwrap();
    assert_eq!(second.await.unwrap(), Admit::Replay(reply()));
}

pub async fn many_at_once_run_once<B: Backend>() {
    let backend = B::start().await;
    let call = |_| {
        let (unit, key) = (backend.unit(), key("ann", "k", "one phone"));
        tokio::spawn(async move {
            let mut tx = unit.begin().await.unwrap();
            let admitted = unit.admit(&mut tx, &key).await.unwrap();
            if admitted == Admit::Run {
                unit.answer(&mut tx, &key, &reply()).await.unwrap();
                unit.commit(tx).await.unwrap();
            }
            admitted
        })
    };
    let mut runs = 0;
    for call in (0..8).map(call).collect::<Vec<_>>() {
        match call.await.unwrap() {
            Admit::Run => runs += 1,
            other => assert_eq!(other, Admit::Replay(reply())),
        }
    }
    assert_eq!(runs, 1);
}

pub async fn a_forgotten_answer_is_said_aloud<B: Backend>() {
    let backend = B::start().await;
    let (unit, key) = (backend.unit(), key("ann", "k", "one phone"));
    let mut tx = unit.begin().await.unwrap();
    let unasked = unit.answer(&mut tx, &key, &reply()).await.unwrap_err();
    assert_eq!(unasked.kind, ErrorKind::Invalid);
    drop(tx);
    let mut tx = unit.begin().await.unwrap();
    unit.admit(&mut tx, &key).await.unwrap();
    unit.commit(tx).await.unwrap();
    let mut tx = unit.begin().await.unwrap();
    let error = unit.admit(&mut tx, &key).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid);
    assert!(error.to_string().contains("call answer before the commit"), "{error}");
}
