use std::{future::pending, sync::Arc, time::Duration};

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::{Error, ErrorKind, clock::Clock};

fn call(key: &str) -> CallKey {
    CallKey::with_fingerprint("ann", "pay", key, [1; 32]).unwrap()
}

fn store(limits: MemoryLimits) -> (Arc<MemoryStore>, Clock) {
    let clock = Clock::manual(Duration::ZERO);
    (Arc::new(MemoryStore::with_limits(limits, clock.clone()).unwrap()), clock)
}

fn terms(lease: u64, keep: u64) -> LeaseOptions {
    LeaseOptions::new(Duration::from_secs(lease), Duration::from_secs(keep)).unwrap()
}

async fn token(store: &MemoryStore, key: &str) -> LeaseToken {
    match store.admit(&call(key), terms(10, 100)).await.unwrap() {
        Admission::Run(token) => token,
        other => panic!("{other:?}"),
    }
}

#[test]
fn keys_are_printable_and_scopes_do_not_run_together() {
    for key in ["", " ", "a\n", "ä", &"k".repeat(256)] {
        let error = CallKey::with_fingerprint("ann", "pay", key, [0; 32]).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Invalid, "{key:?}");
    }
    let scope = |who: &str, what: &str| CallKey::with_fingerprint(who, what, "k", [0; 32]).unwrap().scope;
    assert_ne!(scope("a", "b/c"), scope("a/b", "c"));
}

#[cfg(feature = "fingerprint")]
#[test]
fn another_request_has_another_fingerprint() {
    let of = |request: &[u8]| CallKey::new("ann", "pay", "k", request).unwrap();
    assert_eq!(of(b"one"), of(b"one"));
    assert_ne!(of(b"one").fingerprint, of(b"two").fingerprint);
}

#[test]
fn replies_and_terms_have_bounds() {
    assert!(StoredReply::new(200, vec![0; REPLY_LIMIT]).check().is_ok());
    let error = StoredReply::new(200, vec![0; REPLY_LIMIT]).header("a", "").check().unwrap_err();
    assert!(error.kind == ErrorKind::Invalid && error.to_string().contains("reference"), "{error}");
    let many = (0..17).fold(StoredReply::new(200, ""), |reply, _| reply.header("a", ""));
    assert!(many.check().is_err());
    for (lease, keep) in [(0, 1), (1, 0), (1, 400 * 24 * 3600), (u64::MAX, 1)] {
        assert!(LeaseOptions::new(Duration::from_secs(lease), Duration::from_secs(keep)).is_err());
    }
    let small = |entries, bytes, reply_bytes| {
        MemoryStore::with_limits(MemoryLimits { entries, bytes, reply_bytes }, Clock::system()).is_err()
    };
    assert!(small(0, 10_000, 1) && small(1, 100, 1) && small(1, 10_000, 0) && small(1, 1 << 30, 1 << 29));
}

#[tokio::test]
async fn a_full_store_refuses_new_keys_and_forgets_none() {
    let (store, clock) = store(MemoryLimits { entries: 2, ..MemoryLimits::default() });
    let first = token(&store, "1").await;
    store.complete(&first, &StoredReply::new(200, "one")).await.unwrap();
    clock.advance(Duration::from_secs(5));
    let second = token(&store, "2").await;
    let error = store.admit(&call("3"), terms(10, 100)).await.unwrap_err();
    assert_eq!((error.kind, error.retry_after), (ErrorKind::Rejected, Some(Duration::from_secs(10))));
    let replayed = store.admit(&call("1"), terms(10, 100)).await.unwrap();
    assert_eq!(replayed, Admission::Replay(StoredReply::new(200, "one")), "what it has it answers");
    // The lease of the second ends: there is room.
    clock.advance(Duration::from_secs(10));
    token(&store, "3").await;
    assert_eq!(store.len(), 2);
    assert_eq!(
        store.complete(&second, &StoredReply::new(200, "")).await.unwrap_err().kind,
        ErrorKind::Conflict
    );
}

#[tokio::test]
async fn there_is_always_room_for_the_reply_of_what_was_admitted() {
    let (store, _) = store(MemoryLimits { bytes: 5_000, reply_bytes: 2_000, ..MemoryLimits::default() });
    let tokens = [token(&store, "1").await, token(&store, "2").await];
    let refused = store.admit(&call("3"), terms(10, 100)).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Rejected);
    let error = store.complete(&tokens[0], &StoredReply::new(200, vec![0; 2_001])).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid);
    for token in &tokens {
        store.complete(token, &StoredReply::new(200, vec![0; 1_000])).await.unwrap();
    }
    token(&store, "3").await;
}

#[tokio::test]
async fn what_is_kept_is_not_a_window_into_a_larger_buffer() {
    let (store, _) = store(MemoryLimits::default());
    let request = Bytes::from(vec![b'x'; 10_000]);
    let reply = StoredReply::new(200, request.slice(..3)).header("location", request.slice(3..6));
    store.complete(&token(&store, "1").await, &reply).await.unwrap();
    assert_eq!(store.admit(&call("1"), terms(10, 100)).await.unwrap(), Admission::Replay(reply));
    assert!(request.is_unique(), "the whole buffer is free");
}

/// One request whose work ends with `end`.
async fn run(
    store: &Arc<MemoryStore>,
    key: &str,
    end: Result<(), Option<ErrorKind>>,
) -> Result<Replied, Error> {
    run_once(store, &call(key), terms(10, 100), || async move {
        match end {
            Ok(()) => Ok(StoredReply::new(200, "done")),
            Err(Some(kind)) => Err(Error::new(kind, "no")),
            Err(None) => panic!("no"),
        }
    })
    .await
}

#[tokio::test]
async fn an_error_gives_the_lease_back_only_where_nothing_happened() {
    use ErrorKind::{Conflict, NotExecuted};
    let (store, clock) = store(MemoryLimits::default());
    for kind in ErrorKind::ALL {
        let (key, at_once) = (kind.as_str(), kind.is_without_effect());
        assert_eq!(run(&store, key, Err(Some(kind))).await.unwrap_err().kind, kind);
        match run(&store, key, Ok(())).await {
            Ok(done) => assert!(at_once && !done.replayed, "{kind}"),
            Err(error) => assert!(!at_once && error.kind == Conflict, "{kind}: {error}"),
        }
    }
    clock.advance(Duration::from_secs(10));
    assert!(!run(&store, "indeterminate", Ok(())).await.unwrap().replayed, "after the lease");
    assert!(
        run(&store, "not_executed", Err(Some(NotExecuted))).await.unwrap().replayed,
        "what is done is done"
    );
}

#[tokio::test]
async fn a_panic_and_a_drop_in_mid_work_keep_the_lease_until_its_end() {
    let (store, clock) = store(MemoryLimits::default());
    let panics = std::panic::AssertUnwindSafe(run(&store, "1", Err(None)));
    assert!(futures_util::FutureExt::catch_unwind(panics).await.is_err());
    {
        let call = call("2");
        let hangs = std::pin::pin!(run_once(&store, &call, terms(10, 100), pending));
        assert!(futures_util::FutureExt::now_or_never(hangs).is_none());
    }
    for _ in 0..3 {
        tokio::task::yield_now().await;
    }
    for key in ["1", "2"] {
        let error = run(&store, key, Ok(())).await.unwrap_err();
        assert!(error.kind == ErrorKind::Conflict && error.retry_after.is_some(), "{error}");
    }
    clock.advance(Duration::from_secs(10));
    for key in ["1", "2"] {
        assert!(!run(&store, key, Ok(())).await.unwrap().replayed);
    }
}

#[tokio::test]
async fn work_that_outlives_its_lease_is_told_and_overwrites_nothing() {
    let (store, clock) = store(MemoryLimits::default());
    let call = call("1");
    let late = run_once(&store, &call, terms(10, 100), || async {
        clock.advance(Duration::from_secs(11));
        let other = run_once(&store, &call, terms(10, 100), || async { Ok(StoredReply::new(2, "")) });
        assert!(!other.await.unwrap().replayed, "the lease ran out");
        Ok(StoredReply::new(1, ""))
    });
    let error = late.await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Conflict);
    assert!(error.to_string().contains("the work was done"), "{error}");
    let kept = store.admit(&call, LeaseOptions::default()).await.unwrap();
    assert_eq!(kept, Admission::Replay(StoredReply::new(2, "")));
}

/// A store that is away when a request completes.
struct Away(MemoryStore);

#[crate::async_trait]
impl IdempotencyStore for Away {
    async fn admit(&self, call: &CallKey, options: LeaseOptions) -> Result<Admission<LeaseToken>, Error> {
        self.0.admit(call, options).await
    }
    async fn complete(&self, _: &LeaseToken, _: &StoredReply) -> Result<(), Error> {
        Err(Error::not_executed("connection refused"))
    }
    async fn abandon(&self, token: &LeaseToken) -> Result<(), Error> {
        self.0.abandon(token).await
    }
}

#[tokio::test]
async fn a_reply_that_could_not_be_stored_leaves_the_outcome_unknown_and_the_lease_taken() {
    let store: Arc<dyn IdempotencyStore> = Arc::new(Away(MemoryStore::new(Clock::system())));
    let work = || async { Ok(StoredReply::new(200, "")) };
    let error = run_once(&store, &call("1"), LeaseOptions::default(), work).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Indeterminate);
    tokio::task::yield_now().await;
    let again = run_once(&store, &call("1"), LeaseOptions::default(), work).await.unwrap_err();
    assert_eq!(again.kind, ErrorKind::Conflict, "not at once a second time");
}

/// A store that takes its time to complete.
struct Slow(MemoryStore);

#[crate::async_trait]
impl IdempotencyStore for Slow {
    async fn admit(&self, call: &CallKey, options: LeaseOptions) -> Result<Admission<LeaseToken>, Error> {
        self.0.admit(call, options).await
    }
    async fn complete(&self, token: &LeaseToken, reply: &StoredReply) -> Result<(), Error> {
        tokio::task::yield_now().await;
        self.0.complete(token, reply).await
    }
    async fn abandon(&self, token: &LeaseToken) -> Result<(), Error> {
        self.0.abandon(token).await
    }
}

#[tokio::test]
async fn a_caller_that_goes_away_after_the_work_leaves_its_reply() {
    let store = Arc::new(Slow(MemoryStore::new(Clock::system())));
    let done = StoredReply::new(200, "done");
    {
        let call = call("1");
        let run = run_once(&store, &call, LeaseOptions::default(), || async { Ok(done.clone()) });
        assert!(futures_util::FutureExt::now_or_never(run).is_none(), "the store is not done");
    }
    for _ in 0..3 {
        tokio::task::yield_now().await;
    }
    assert_eq!(store.admit(&call("1"), LeaseOptions::default()).await.unwrap(), Admission::Replay(done));
}

#[test]
fn without_a_runtime_nothing_is_begun() {
    let (store, _) = store(MemoryLimits::default());
    let ended = futures_util::FutureExt::now_or_never(run(&store, "1", Ok(())));
    assert_eq!(ended.unwrap().unwrap_err().kind, ErrorKind::Invalid);
    assert!(store.is_empty());
}

#[derive(Debug, Clone)]
enum Step {
    Admission(u8),
    Complete(usize),
    Abandon(usize),
    Advance(u64),
}

proptest! {
    /// Against a list that is searched from end to end.
    #[test]
    fn it_agrees_with_a_simple_model_and_its_totals_are_right(steps in prop::collection::vec(prop_oneof![
        (0..4u8).prop_map(Step::Admission),
        (0..12usize).prop_map(Step::Complete),
        (0..12usize).prop_map(Step::Abandon),
        (0..8u64).prop_map(Step::Advance),
    ], 0..60)) {
        let (store, clock) = store(MemoryLimits { entries: 3, ..MemoryLimits::default() });
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        // Key, fence, end, replied.
        let (mut model, mut tokens, mut now) = (Vec::<(u8, u64, u64, bool)>::new(), Vec::new(), 0);
        for step in steps {
            model.retain(|(_, _, end, _)| *end > now);
            match step {
                Step::Admission(key) => {
                    let known = model.iter().find(|(k, ..)| *k == key).copied();
                    let admitted = runtime.block_on(store.admit(&call(&key.to_string()), terms(10, 20)));
                    match (known, admitted) {
                        (Some((_, fence, _, true)), Ok(Admission::Replay(reply))) => prop_assert_eq!(reply.status, fence as i32),
                        (Some((.., false)), Ok(Admission::InFlight { .. })) => {}
                        (None, Err(error)) => prop_assert!(model.len() == 3 && error.kind == ErrorKind::Rejected),
                        (None, Ok(Admission::Run(token))) => {
                            prop_assert!(model.len() < 3);
                            model.push((key, token.fence, now + 10, false));
                            tokens.push((key, token));
                        }
                        other => prop_assert!(false, "{:?}", other),
                    }
                }
                Step::Complete(n) => {
                    let Some((key, token)) = tokens.get(n) else { continue };
                    let entry = model.iter_mut().find(|(k, fence, ..)| (k, *fence) == (key, token.fence));
                    let done = runtime.block_on(store.complete(token, &StoredReply::new(token.fence as i32, "")));
                    prop_assert_eq!(done.is_ok(), entry.is_some());
                    if let Some(entry) = entry.filter(|entry| !entry.3) {
                        (entry.2, entry.3) = (now + 20, true);
                    }
                }
                Step::Abandon(n) => {
                    let Some((_, token)) = tokens.get(n) else { continue };
                    runtime.block_on(store.abandon(token)).unwrap();
                    model.retain(|(_, fence, _, replied)| *fence != token.fence || *replied);
                }
                Step::Advance(seconds) => {
                    clock.advance(Duration::from_secs(seconds));
                    now += seconds;
                }
            }
        }
        clock.advance(Duration::from_secs(30));
        prop_assert_eq!(store.totals(), (0, 0, 0));
    }
}
