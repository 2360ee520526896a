//! Which failures end a call, and which concern one attempt.

use super::*;
use crate::resilience::{Class, Classify, Rejection, Retry};
use ErrorKind::{Conflict, Fatal, Internal, Misconfigured, NotFound, PermissionDenied, Unauthenticated};

/// Kinds that prove nothing about another attempt of the same call.
const REFUSALS: [ErrorKind; 6] =
    [NotExecuted, Rejected, Misconfigured, Unauthenticated, PermissionDenied, Conflict];

#[tokio::test(start_paused = true)]
async fn a_refusal_of_one_attempt_leaves_the_others() {
    for kind in REFUSALS {
        let peer = Peer::new(&[(200, Ok(1)), (5, Err(kind))]);
        assert_eq!(call(&fixed(50, 2), &peer).await, (Ok(1), 200), "{kind}");
        let peer = Peer::new(&[(60, Err(kind)), (200, Ok(2))]);
        assert_eq!(call(&fixed(50, 2), &peer).await, (Ok(2), 250), "{kind}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_may_have_been_executed_outweighs_a_refusal_before_and_after_it() {
    for kind in REFUSALS {
        let peer = Peer::new(&[(5, Err(Indeterminate)), (5, Err(kind))]);
        assert_eq!(call(&fixed(50, 2), &peer).await, (Err(Indeterminate), 10), "{kind}");
        let peer = Peer::new(&[(200, Err(kind)), (5, Err(Indeterminate))]);
        assert_eq!(call(&fixed(50, 2), &peer).await, (Err(Indeterminate), 200), "{kind}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_a_handler_ends_the_call() {
    for kind in [Invalid, NotFound, Internal, Fatal] {
        let peer = Peer::new(&[(200, Ok(1)), (5, Err(kind))]);
        assert_eq!(call(&fixed(50, 3), &peer).await, (Err(kind), 55), "{kind}");
        assert_eq!(peer.dropped.load(SeqCst), 1, "{kind}");
        let peer = Peer::new(&[(5, Err(Indeterminate)), (5, Err(kind))]);
        assert_eq!(call(&fixed(50, 2), &peer).await, (Err(kind), 10), "{kind}");
    }
}

/// Ends a call with `NotExecuted`, and sends another attempt because of `Internal`.
#[derive(Clone)]
struct Reversed;

impl Classify<u32, u32, Error> for Reversed {
    fn classify(&self, result: &Result<u32, Error>) -> Class {
        Classify::<u32, u32, Error>::classify(&ByKind::idempotent(), result)
    }

    fn reject(&self, rejection: Rejection) -> Error {
        rejection.into()
    }

    fn clone_request(&self, request: &u32) -> Option<u32> {
        Some(*request)
    }

    fn is_idempotent(&self, _: &u32) -> bool {
        true
    }

    fn retry(&self, _: &Result<u32, Error>, kind: ErrorKind) -> Retry {
        if kind == Internal { Retry::Yes } else { Retry::No }
    }

    fn is_conclusive(&self, _: &Result<u32, Error>, kind: ErrorKind) -> bool {
        kind == NotExecuted
    }
}

#[tokio::test(start_paused = true)]
async fn a_classifier_decides_which_failures_end_the_call() {
    let call = async |peer: &Peer| {
        let service = fixed(50, 3).layer(Reversed).layer(peer.clone());
        service.oneshot(7).await.map_err(|error| error.kind)
    };
    let peer = Peer::new(&[(200, Ok(1)), (5, Err(NotExecuted))]);
    assert_eq!((call(&peer).await, peer.dropped.load(SeqCst)), (Err(NotExecuted), 1));
    let peer = Peer::new(&[(5, Err(Internal)), (5, Ok(2))]);
    assert_eq!(call(&peer).await, Ok(2));
    let peer = Peer::new(&[(5, Err(Indeterminate)), (5, Ok(2))]);
    assert_eq!((call(&peer).await, peer.begun()), (Err(Indeterminate), 1));
}

/// As a policy retries: the first failure decides whether another attempt follows at once.
#[tokio::test(start_paused = true)]
async fn only_failures_that_a_policy_would_retry_send_another_attempt() {
    for kind in [Rejected, Misconfigured, Unauthenticated, PermissionDenied, Conflict] {
        let peer = Peer::new(&[(5, Err(kind)), (5, Ok(2))]);
        assert_eq!(call(&fixed(50, 2), &peer).await, (Err(kind), 5), "{kind}: ends at once");
        assert_eq!(peer.begun(), 1, "{kind}");
    }
    for kind in [NotExecuted, Indeterminate] {
        let peer = Peer::new(&[(5, Err(kind)), (5, Ok(2))]);
        assert_eq!(call(&fixed(50, 2), &peer).await, (Ok(2), 10), "{kind}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_longest_pushback_counts_for_every_further_attempt() {
    let pushback = |time, kind, wait| (time, Err(kind), Some(millis(wait)));
    // The hedge is refused until 455 ms. The failure of the first attempt at 300 ms sends no attempt before that.
    let peer = Peer::with_pushback(&[
        (300, Err(NotExecuted), None),
        pushback(5, NotExecuted, 400),
        (5, Ok(3), None),
    ]);
    assert_eq!(call(&fixed(50, 3), &peer).await, (Ok(3), 460));
    // A shorter pushback does not replace a longer one.
    let peer =
        Peer::with_pushback(&[pushback(100, Rejected, 10), pushback(5, Rejected, 400), (5, Ok(3), None)]);
    assert_eq!(call(&fixed(50, 3), &peer).await, (Ok(3), 460));
    // A failure that sends no attempt itself delays the one that is due because of the time.
    let peer = Peer::with_pushback(&[(500, Ok(1), None), pushback(5, Misconfigured, 200), (5, Ok(3), None)]);
    assert_eq!(call(&fixed(50, 3), &peer).await, (Ok(3), 260));
    // The attempt that is due after a pushback is sent, also if the last attempt in flight fails for another reason.
    let peer =
        Peer::with_pushback(&[(100, Err(Misconfigured), None), pushback(5, Rejected, 200), (5, Ok(3), None)]);
    assert_eq!(call(&fixed(50, 3), &peer).await, (Ok(3), 260));
}

/// The clock jumps over the delay and the deadline.
#[tokio::test(start_paused = true)]
async fn a_timer_that_fires_after_the_deadline_sends_nothing() {
    let clock = Clock::manual(Duration::ZERO);
    let budget = RetryBudget::new(&RetryBudgetConfig::default(), clock.clone()).unwrap();
    let config = HedgeConfig::default().delay(HedgeDelay::Fixed(millis(50)));
    let hedge = Hedge::new("h", config, budget.clone(), clock.clone()).unwrap();
    let peer = Peer::new(&[(1_000, Ok(1))]);
    let context = CallContext::default().with_deadline(Deadline::after(millis(60), &clock));
    let calling = tokio::spawn({
        let (hedge, peer) = (hedge.clone(), peer.clone());
        async move { context.scope(call(&hedge, &peer)).await }
    });
    sleep(millis(1)).await;
    clock.advance(Duration::from_secs(10));
    assert_eq!(calling.await.unwrap().0, Ok(1));
    assert_eq!((peer.begun(), hedge.snapshot().hedges, budget.available()), (1, 0, 100));
}
