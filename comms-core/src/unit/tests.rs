use std::{
    collections::HashSet,
    sync::{Mutex as StdMutex, PoisonError},
};

use super::*;
use crate::{Admit, BoxHandler, CallKey, Clock, ErrorKind, Replies, StoredReply, reply_once};

/// A database in memory: what a transaction has staged becomes visible when it commits.
#[derive(Clone, Default)]
struct Memory(Arc<StdMutex<State>>);

#[derive(Clone, Default)]
struct State {
    writes: Vec<String>,
    claims: HashSet<Claim>,
    replies: Vec<(CallKey, StoredReply)>,
}

impl Memory {
    fn state(&self) -> State {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl UnitOfWork for Memory {
    type Tx = State;
    async fn begin(&self) -> Result<State, Error> {
        Ok(self.state())
    }
    async fn commit(&self, tx: State) -> Result<(), Error> {
        *self.0.lock().unwrap() = tx;
        Ok(())
    }
}

impl Inbox for Memory {
    async fn claim(&self, tx: &mut State, claims: &[Claim]) -> Result<Vec<Claimed>, Error> {
        let mut claim = |claim: &Claim| match tx.claims.insert(claim.clone()) {
            true => Claimed::New,
            false => Claimed::Seen,
        };
        Ok(claims.iter().map(&mut claim).collect())
    }
}

impl Replies for Memory {
    async fn admit(&self, tx: &mut State, key: &CallKey) -> Result<Admit, Error> {
        let known = tx.replies.iter().find(|(k, _)| (&k.scope, &k.key) == (&key.scope, &key.key));
        Ok(match known {
            None => Admit::Run,
            Some((k, _)) if k.fingerprint != key.fingerprint => Admit::Mismatch,
            Some((_, reply)) => Admit::Replay(reply.clone()),
        })
    }
    async fn answer(&self, tx: &mut State, key: &CallKey, reply: &StoredReply) -> Result<(), Error> {
        tx.replies.push((key.clone(), reply.clone()));
        Ok(())
    }
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Paid {
    order: String,
}

impl Event for Paid {
    const TYPE: &'static str = "order.paid";
    const VERSION: u32 = 1;
    fn key(&self) -> String {
        self.order.clone()
    }
}

fn paid(order: &str) -> Delivery {
    let event = Paid { order: order.into() };
    let message = Message::event(&"orders".into(), &event, &Clock::system()).unwrap();
    Delivery::new(message, "billing", "test")
}

/// Writes the order; an order named `fails` fails after its write.
fn handler(memory: &Memory) -> BoxHandler {
    BoxHandler::new(transactional(memory.clone(), |event: Paid, mut tx: Scoped<State>| async move {
        tx.writes.push(event.order.clone());
        match event.order.as_str() {
            "fails" => Err(Error::transient("after its write")),
            "panics" => panic!("after its write"),
            _ => Ok(()),
        }
    }))
}

#[tokio::test]
async fn a_delivery_is_applied_once_in_effect() {
    let memory = Memory::default();
    let (handler, delivery) = (handler(&memory), paid("a"));
    assert_eq!(handler.handle(delivery.clone()).await.unwrap(), Outcome::Done);
    assert_eq!(handler.handle(delivery.clone()).await.unwrap(), Outcome::Duplicate);
    let other = Delivery { group: "shipping".into(), ..delivery };
    assert_eq!(handler.handle(other).await.unwrap(), Outcome::Done, "another group's effect is its own");
    assert_eq!(memory.state().writes, ["a", "a"]);
}

#[tokio::test]
async fn a_failure_after_the_writes_leaves_nothing_behind() {
    let memory = Memory::default();
    let handler = handler(&memory);
    assert!(handler.handle(paid("fails")).await.is_err());
    let panicked = tokio::spawn(async move { handler.handle(paid("panics")).await }).await;
    assert!(panicked.unwrap_err().is_panic());
    assert!(memory.state().writes.is_empty() && memory.state().claims.is_empty());
}

#[tokio::test]
async fn other_types_and_versions_are_skipped_and_garbage_is_invalid() {
    let memory = Memory::default();
    let handler = handler(&memory);
    for name in ["order.paid.v2", "order.paid", "order.paid.v1x", "other.v1"] {
        let mut delivery = paid("a");
        delivery.message.headers.insert("ce_type", name);
        assert_eq!(handler.handle(delivery).await.unwrap(), Outcome::Skipped, "{name}");
    }
    for payload in [None, Some(bytes::Bytes::from_static(b"{}")), Some(bytes::Bytes::from_static(b"\xff"))] {
        let mut delivery = paid("a");
        delivery.message.payload = payload;
        assert_eq!(handler.handle(delivery).await.unwrap_err().kind, ErrorKind::Invalid);
    }
    assert!(memory.state().claims.is_empty());
}

#[tokio::test]
async fn older_versions_reach_the_handler_as_the_newest_and_newer_ones_are_invalid() {
    #[derive(serde::Serialize, serde::Deserialize)]
    struct PaidBy {
        order: String,
        by: String,
    }
    impl Event for PaidBy {
        const TYPE: &'static str = Paid::TYPE;
        const VERSION: u32 = 3;
        fn key(&self) -> String {
            self.order.clone()
        }
    }
    let by = |word: &'static str| {
        move |mut old: serde_json::Value| {
            old["by"] = serde_json::json!(format!("{}{word}", old["by"].as_str().unwrap_or("")));
            Ok(old)
        }
    };
    let versions = Versions::<PaidBy>::json().upcast(2, by("-two")).upcast(1, by("one")).build().unwrap();
    let memory = Memory::default();
    let write = |event: PaidBy, mut tx: Scoped<State>| async move {
        tx.writes.push(format!("{} {}", event.order, event.by));
        Ok(())
    };
    let handler = BoxHandler::new(transactional_versions(memory.clone(), versions, write));
    let delivered = |version: &str| {
        let mut delivery = paid("a");
        delivery.message.headers.insert("ce_type", version.to_owned());
        delivery
    };
    assert_eq!(handler.handle(paid("a")).await.unwrap(), Outcome::Done);
    assert_eq!(handler.handle(delivered("order.paid.v2")).await.unwrap(), Outcome::Done);
    assert_eq!(handler.handle(delivered("other.v1")).await.unwrap(), Outcome::Skipped);
    let newer = handler.handle(delivered("order.paid.v4")).await.unwrap_err();
    assert!(newer.kind == ErrorKind::Invalid && newer.to_string().contains("newer than v3"), "{newer}");
    assert_eq!(memory.state().writes, ["a one-two", "a -two"]);
}

#[tokio::test]
async fn a_function_that_keeps_its_transaction_commits_nothing() {
    let memory = Memory::default();
    let kept = Arc::new(StdMutex::new(None));
    let keep = kept.clone();
    let end = in_transaction(&memory, |mut tx: Scoped<State>| async move {
        tx.writes.push("kept".into());
        *keep.lock().unwrap() = Some(tx);
        Ok(())
    });
    assert_eq!(end.await.unwrap_err().kind, ErrorKind::Fatal);
    assert!(memory.state().writes.is_empty());
}

#[tokio::test]
async fn a_request_runs_once_and_its_reply_is_replayed() {
    let memory = Memory::default();
    let call = |who: &str, body: &str| CallKey::new(who, "place", "key", body.as_bytes()).unwrap();
    let place = async |call: CallKey, fail: bool| {
        let scope = call.scope.to_string();
        reply_once(&memory, &call, |mut tx: Scoped<State>| async move {
            tx.writes.push(scope);
            let reply = StoredReply { status: 0, body: "done".into() };
            if fail { Err(Error::transient("after its write")) } else { Ok(reply) }
        })
        .await
    };
    assert!(place(call("ann", "one"), true).await.is_err());
    assert!(!place(call("ann", "one"), false).await.unwrap().replayed, "a failure stored nothing");
    let again = place(call("ann", "one"), false).await.unwrap();
    assert!(again.replayed && again.reply.body == "done");
    assert_eq!(place(call("ann", "two"), false).await.unwrap_err().kind, ErrorKind::Invalid);
    assert!(!place(call("bob", "one"), false).await.unwrap().replayed, "another's key is another key");
    assert_eq!(memory.state().writes.len(), 2);
}
