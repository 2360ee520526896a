#![allow(clippy::disallowed_methods, reason = "the tests use tokio's paused time")]

mod failures;
mod percentile;
mod policies;

use std::{
    sync::{
        Arc as StdArc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    task::{Context, Poll},
};

use futures_util::FutureExt;
use tokio::time::{Instant as Now, sleep};
use tower::{Layer, Service, ServiceExt};

use super::*;
use crate::{
    ErrorKind,
    context::{Context as CallContext, Deadline},
    resilience::{ByKind, RetryBudgetConfig},
};

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

type Answer = Result<u32, ErrorKind>;

/// A service whose attempts have scripted durations and results. Further attempts are as the last one.
#[derive(Clone)]
struct Peer {
    script: StdArc<[(u64, Answer, Option<Duration>)]>,
    begun: StdArc<AtomicU32>,
    dropped: StdArc<AtomicU32>,
}

impl Peer {
    fn new(script: &[(u64, Answer)]) -> Self {
        Self::with_pushback(&script.iter().map(|(time, answer)| (*time, *answer, None)).collect::<Vec<_>>())
    }

    fn with_pushback(script: &[(u64, Answer, Option<Duration>)]) -> Self {
        Self { script: script.into(), begun: StdArc::default(), dropped: StdArc::default() }
    }

    fn begun(&self) -> u32 {
        self.begun.load(SeqCst)
    }
}

struct Unfinished(StdArc<AtomicU32>);

impl Drop for Unfinished {
    fn drop(&mut self) {
        self.0.fetch_add(1, SeqCst);
    }
}

impl Service<u32> for Peer {
    type Response = u32;
    type Error = Error;
    type Future = futures_util::future::BoxFuture<'static, Result<u32, Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: u32) -> Self::Future {
        let index = self.begun.fetch_add(1, SeqCst) as usize;
        let (time, answer, pushback) = self.script[index.min(self.script.len() - 1)];
        let unfinished = Unfinished(self.dropped.clone());
        async move {
            sleep(millis(time)).await;
            std::mem::forget(unfinished);
            answer.map_err(|kind| {
                let error = Error::new(kind, "scripted");
                pushback.map_or(Error::new(kind, "scripted"), |wait| error.with_retry_after(wait))
            })
        }
        .boxed()
    }
}

fn hedge(config: HedgeConfig) -> Hedge {
    let budget = RetryBudget::new(&RetryBudgetConfig::default(), Clock::system()).unwrap();
    Hedge::new("h", config, budget, Clock::system()).unwrap()
}

fn fixed(delay: u64, max_attempts: u32) -> Hedge {
    hedge(HedgeConfig::default().delay(HedgeDelay::Fixed(millis(delay))).max_attempts(max_attempts))
}

/// Makes one idempotent call. Returns its result and its duration in milliseconds.
async fn call(hedge: &Hedge, peer: &Peer) -> (Answer, u64) {
    let began = Now::now();
    let result = hedge.layer(ByKind::idempotent()).layer(peer.clone()).oneshot(7).await;
    (result.map_err(|error| error.kind), (Now::now() - began).as_millis() as u64)
}

use ErrorKind::{Indeterminate, Invalid, NotExecuted, Rejected};

/// Attempts of a call with a delay of 50 ms: duration and answer of each, the result and its time, and the attempts.
#[tokio::test(start_paused = true)]
async fn the_first_success_wins_and_the_others_are_dropped() {
    type Case = (&'static str, u32, &'static [(u64, Answer)], (Answer, u64), u32);
    let table: &[Case] = &[
        ("a fast call is not hedged", 2, &[(49, Ok(1))], (Ok(1), 49), 1),
        ("the hedge is faster", 2, &[(500, Ok(1)), (20, Ok(2))], (Ok(2), 70), 2),
        ("the first attempt is faster after all", 2, &[(60, Ok(1)), (500, Ok(2))], (Ok(1), 60), 2),
        ("three attempts", 3, &[(500, Ok(1)), (500, Ok(2)), (5, Ok(3))], (Ok(3), 105), 3),
        ("no more than max_attempts", 2, &[(500, Ok(1)), (500, Ok(2))], (Ok(1), 500), 2),
        (
            "a failure sends the next attempt at once",
            2,
            &[(10, Err(NotExecuted)), (5, Ok(2))],
            (Ok(2), 15),
            2,
        ),
        (
            "a failed hedge leaves the first attempt",
            2,
            &[(200, Ok(1)), (5, Err(Indeterminate))],
            (Ok(1), 200),
            2,
        ),
        ("an answer ends the call", 3, &[(200, Ok(1)), (5, Err(Invalid))], (Err(Invalid), 55), 2),
        ("an answer of the first attempt is not hedged", 3, &[(5, Err(Invalid))], (Err(Invalid), 5), 1),
        ("all fail", 3, &[(5, Err(NotExecuted))], (Err(NotExecuted), 15), 3),
        (
            "an attempt that may have been executed outweighs one that was not",
            2,
            &[(5, Err(Indeterminate)), (5, Err(NotExecuted))],
            (Err(Indeterminate), 10),
            2,
        ),
    ];
    for (name, max_attempts, script, expected, attempts) in table {
        let (hedge, peer) = (fixed(50, *max_attempts), Peer::new(script));
        assert_eq!(call(&hedge, &peer).await, *expected, "{name}");
        assert_eq!(peer.begun(), *attempts, "{name}");
        let unfinished = peer.dropped.load(SeqCst);
        sleep(millis(1_000)).await;
        assert_eq!(
            (peer.begun(), peer.dropped.load(SeqCst)),
            (*attempts, unfinished),
            "{name}: nothing goes on"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn losers_are_dropped_when_the_call_resolves() {
    let (hedge, peer) = (fixed(50, 3), Peer::new(&[(500, Ok(1)), (500, Ok(2)), (5, Ok(3))]));
    let mut call = Box::pin(hedge.layer(ByKind::idempotent()).layer(peer.clone()).oneshot(7));
    assert_eq!(call.as_mut().await.unwrap(), 3);
    assert_eq!(peer.dropped.load(SeqCst), 2, "while the future is still there");
}

#[tokio::test(start_paused = true)]
async fn a_dropped_call_cancels_all_attempts() {
    let (hedge, peer) = (fixed(50, 2), Peer::new(&[(500, Ok(1))]));
    let cancelled = tokio::time::timeout(millis(60), call(&hedge, &peer)).await;
    assert!(cancelled.is_err());
    assert_eq!((peer.begun(), peer.dropped.load(SeqCst)), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_not_idempotent_is_sent_once() {
    for script in [[(500, Ok(1))], [(5, Err(NotExecuted))]] {
        let (hedge, peer) = (fixed(50, 2), Peer::new(&script));
        let result = hedge.layer(ByKind::default()).layer(peer.clone()).oneshot(7).await;
        assert_eq!((result.map_err(|error| error.kind), peer.begun()), (script[0].1, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_pushback_delays_or_stops_further_attempts() {
    let rejected = |wait| (5, Err(Rejected), Some(wait));
    // The peer requests 200 ms: the next attempt is sent after exactly that time, and not after the delay of 50 ms.
    let peer = Peer::with_pushback(&[rejected(millis(200)), (5, Ok(2), None)]);
    assert_eq!(call(&fixed(50, 2), &peer).await, (Ok(2), 210));
    // The peer forbids further attempts.
    let peer = Peer::with_pushback(&[rejected(Duration::MAX), (5, Ok(2), None)]);
    assert_eq!(call(&fixed(50, 3), &peer).await, (Err(Rejected), 5));
    assert_eq!(peer.begun(), 1);
    // A hedge that is refused for ever stops the third attempt, and the first one goes on.
    let peer = Peer::with_pushback(&[(300, Ok(1), None), rejected(Duration::MAX), (5, Ok(3), None)]);
    assert_eq!(call(&fixed(50, 3), &peer).await, (Ok(1), 300));
    assert_eq!(peer.begun(), 2);
    // The peer asks for a wait of more than five minutes, so no further attempt is made.
    let peer = Peer::with_pushback(&[rejected(Duration::from_secs(301)), (5, Ok(2), None)]);
    assert_eq!(call(&fixed(50, 2), &peer).await, (Err(Rejected), 5));
}

#[tokio::test(start_paused = true)]
async fn hedges_are_paid_from_the_budget() {
    let config = RetryBudgetConfig::default().min_per_second(0).ratio(0.5);
    let budget = RetryBudget::new(&config, Clock::system()).unwrap();
    let settings = HedgeConfig::default().delay(HedgeDelay::Fixed(millis(50)));
    let hedge = Hedge::new("h", settings, budget.clone(), Clock::system()).unwrap();
    let slow = Peer::new(&[(500, Ok(1)), (5, Ok(2))]);
    assert_eq!(call(&hedge, &slow).await, (Ok(2), 55), "the reserve is one token");
    let slow = Peer::new(&[(500, Ok(1)), (5, Ok(2))]);
    assert_eq!(call(&hedge, &slow).await, (Ok(1), 500), "half a token is there");
    assert_eq!(budget.available(), 1, "two successes");
    let slow = Peer::new(&[(500, Ok(1)), (5, Ok(2))]);
    assert_eq!(call(&hedge, &slow).await, (Ok(2), 55));
    assert_eq!((hedge.snapshot().hedges, hedge.snapshot().wins), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn no_attempt_is_sent_whose_delay_reaches_the_deadline() {
    for (left, attempts) in [(50, 1), (51, 2)] {
        let (hedge, peer) = (fixed(50, 2), Peer::new(&[(100, Ok(1))]));
        let context = CallContext::default().with_deadline(Deadline::after(millis(left), &Clock::system()));
        context.scope(call(&hedge, &peer)).await.0.unwrap();
        assert_eq!(peer.begun(), attempts, "{left} ms");
    }
    let peer = Peer::with_pushback(&[(5, Err(Rejected), Some(millis(200))), (5, Ok(2), None)]);
    let context = CallContext::default().with_deadline(Deadline::after(millis(100), &Clock::system()));
    assert_eq!(context.scope(call(&fixed(50, 2), &peer)).await, (Err(Rejected), 5), "ends at once");
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let percentile = |share| HedgeConfig::default().delay(HedgeDelay::Percentile(share));
    let refused = [
        HedgeConfig::default().max_attempts(1),
        HedgeConfig::default().max_attempts(6),
        HedgeConfig::default().min_samples(0),
        HedgeConfig::default().window(millis(59)),
        HedgeConfig::default().window(Duration::MAX),
        HedgeConfig::default().delay(HedgeDelay::Fixed(Duration::MAX)),
        percentile(0.0),
        percentile(1.0),
        percentile(f64::NAN),
    ];
    for config in refused {
        assert_eq!(config.validate().unwrap_err().kind, Invalid, "{config:?}");
    }
    let read: HedgeConfig =
        serde_json::from_str(r#"{"delay": {"fixed": "50ms"}, "max_attempts": 3}"#).unwrap();
    assert_eq!(read, HedgeConfig::default().delay(HedgeDelay::Fixed(millis(50))).max_attempts(3));
    let read: HedgeConfig = serde_json::from_str(r#"{"delay": {"percentile": 0.99}}"#).unwrap();
    assert_eq!(read, percentile(0.99));
    assert!(serde_json::from_str::<HedgeConfig>(r#"{"delays": {"fixed": "50ms"}}"#).is_err());
}
