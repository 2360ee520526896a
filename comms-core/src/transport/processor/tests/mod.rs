//! What becomes of a delivery, and when.
#![allow(clippy::disallowed_methods, reason = "the tests wait for real time or for tokio's paused time")]

mod holds;
mod measured;
#[cfg(feature = "cloudevents")]
mod structured;

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use super::{run::RETRY_AFTER_LIMIT, *};
use crate::{
    Delivery, Error, ErrorKind, Message, MessageParts, Outcome, handler_fn,
    resilience::{Breaker, BreakerConfig},
    transport::Disposition,
    transport::FailureDecision,
};

impl Processor {
    /// Attempts `delivery` until the result is final, as a worker does with a delivery that does not end at once.
    async fn process(
        &self,
        mut delivery: Delivery,
        stopping: impl Future<Output = ()>,
        cancelled: impl Future<Output = ()>,
    ) -> Verdict {
        let failure_policy = &FailureDecision::default();
        let rules = Rules { budget: None, failure_policy, blocks: None };
        let (stopping, cancelled) = (std::pin::pin!(stopping), std::pin::pin!(cancelled));
        tokio::select! {
            biased;
            () = cancelled => Verdict::Abandoned,
            verdict = self.run(&mut delivery, None, rules, stopping) => verdict,
        }
    }
}

fn delivery() -> Delivery {
    let message = Message::new(MessageParts { source: "s", id: "1", topic: "t", ..MessageParts::default() });
    Delivery::new(message, "g")
}

/// Fails with `kind` until the `good`-th try.
fn processor(kind: ErrorKind, good: u32) -> (Processor, Arc<AtomicU32>) {
    failing(good, move || Error::new(kind, "no"))
}

/// Fails with `error` until the `good`-th try.
fn failing(
    good: u32,
    error: impl Fn() -> Error + Clone + Send + Sync + 'static,
) -> (Processor, Arc<AtomicU32>) {
    let tries = Arc::new(AtomicU32::new(0));
    let count = tries.clone();
    let handler = handler_fn(move |_| {
        let n = count.fetch_add(1, Ordering::SeqCst) + 1;
        let error = error();
        async move { if n >= good { Ok(Outcome::Done) } else { Err(error) } }
    });
    let attempts = AttemptConfig { max_attempts: 5, ..AttemptConfig::default() };
    (Processor::new(BoxHandler::new(handler), attempts, Clock::system(), "test"), tries)
}

#[tokio::test(start_paused = true)]
async fn the_kind_of_the_error_decides() {
    for kind in ErrorKind::ALL {
        let (processor, count) = processor(kind, 8);
        let verdict = processor.process(delivery(), pending(), pending()).await;
        let calls = count.load(Ordering::SeqCst);
        match (kind.disposition(), verdict) {
            // More than the limit of 5: no attempt was counted.
            (Disposition::Hold, Verdict::Done(Outcome::Done)) => assert_eq!(calls, 8, "{kind}"),
            (Disposition::Retry, Verdict::DeadLetter { error, attempts: 5 }) => {
                assert_eq!((calls, error.kind), (5, kind));
            }
            (Disposition::DeadLetter, Verdict::DeadLetter { error, attempts: 1 }) => {
                assert_eq!((calls, error.kind), (1, kind));
            }
            (Disposition::Stop, Verdict::Stop(error)) => assert_eq!((calls, error.kind), (1, kind)),
            (disposition, verdict) => panic!("{kind}: {disposition:?} became {verdict:?}"),
        }
        assert!(processor.holds().is_empty(), "{kind}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_guard_that_refuses_is_asked_ever_more_rarely() {
    let breaker = Breaker::new("b", BreakerConfig::default(), Clock::system()).unwrap();
    breaker.force_open();
    let (processor, tries) = failing(30, move || breaker.acquire().unwrap_err().into());
    let start = Clock::system().now();
    processor.process(delivery(), pending(), pending()).await;
    assert_eq!(tries.load(Ordering::SeqCst), 30);
    let (took, minutes) = (Clock::system().now() - start, Duration::from_secs(60));
    assert!(8 * minutes < took && took < 14 * minutes, "{took:?}: the waits of 30 attempts");
}

#[tokio::test(start_paused = true)]
async fn a_conflict_is_retried_soon_however_often_it_comes() {
    let (processor, _) = processor(ErrorKind::Conflict, 100);
    let start = Clock::system().now();
    let verdict = processor.process(delivery(), pending(), pending()).await;
    assert!(matches!(verdict, Verdict::DeadLetter { attempts: 5, .. }), "{verdict:?}");
    let took = Clock::system().now() - start;
    assert!(took <= Duration::from_millis(4 * 120), "{took:?}: four waits of 100 ms, +-20%");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_asks_for_a_year_is_asked_again_after_five_minutes() {
    let year = Duration::from_secs(365 * 24 * 3600);
    for kind in [ErrorKind::Indeterminate, ErrorKind::Rejected, ErrorKind::Conflict] {
        let (processor, _) = failing(2, move || Error::new(kind, "no").with_retry_after(year));
        let start = Clock::system().now();
        processor.process(delivery(), pending(), pending()).await;
        assert_eq!(Clock::system().now() - start, RETRY_AFTER_LIMIT, "{kind}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_passes_is_retried() {
    let (processor, tries) = processor(ErrorKind::Indeterminate, 3);
    assert!(matches!(
        processor.process(delivery(), pending(), pending()).await,
        Verdict::Done(Outcome::Done)
    ));
    assert_eq!(tries.load(Ordering::SeqCst), 3);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_without_end_and_a_panic_count_as_attempts() {
    let stuck = handler_fn(|_| pending());
    let panics = handler_fn(|delivery: Delivery| async move { panic!("at try {}", delivery.attempt) });
    for (handler, kind) in
        [(BoxHandler::new(stuck), ErrorKind::Indeterminate), (BoxHandler::new(panics), ErrorKind::Internal)]
    {
        let attempts = AttemptConfig { max_attempts: 2, ..AttemptConfig::default() };
        let processor = Processor::new(handler, attempts, Clock::system(), "test");
        match processor.process(delivery(), pending(), pending()).await {
            Verdict::DeadLetter { error, attempts: 2 } => assert_eq!(error.kind, kind),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_cancelled_ends_its_wait_and_its_try() {
    let (waits, _) = processor(ErrorKind::NotExecuted, 100);
    let limit = || tokio::time::sleep(Duration::from_millis(150));
    assert!(matches!(waits.process(delivery(), pending(), limit()).await, Verdict::Abandoned));
    let stuck = BoxHandler::new(handler_fn(|_| pending()));
    let runs = Processor::new(stuck, AttemptConfig::default(), Clock::system(), "test");
    assert!(matches!(runs.process(delivery(), pending(), limit()).await, Verdict::Abandoned));
}

#[tokio::test(start_paused = true)]
async fn what_is_stopping_ends_its_wait_at_once_but_not_its_try() {
    let signal = |millis| tokio::time::sleep(Duration::from_millis(millis));
    let start = Clock::system().now();
    let (waits, tries) = processor(ErrorKind::NotExecuted, 100);
    assert!(matches!(waits.process(delivery(), signal(250), pending()).await, Verdict::Abandoned));
    assert_eq!(Clock::system().now() - start, Duration::from_millis(250), "not at the end of a wait");
    let before = tries.load(Ordering::SeqCst);
    assert!(before < 5, "the wait was left, not its last try made");

    let slow = |result: fn() -> Result<Outcome, Error>| {
        let handler = handler_fn(move |_| async move {
            tokio::time::sleep(Duration::from_secs(2)).await;
            result()
        });
        Processor::new(BoxHandler::new(handler), AttemptConfig::default(), Clock::system(), "test")
    };
    let good = slow(|| Ok(Outcome::Done));
    assert!(matches!(good.process(delivery(), signal(500), pending()).await, Verdict::Done(Outcome::Done)));
    assert!(matches!(good.process(delivery(), signal(500), signal(900)).await, Verdict::Abandoned));
    let bad = slow(|| Err(Error::not_executed("no")));
    let start = Clock::system().now();
    assert!(matches!(bad.process(delivery(), signal(500), pending()).await, Verdict::Abandoned));
    assert_eq!(Clock::system().now() - start, Duration::from_secs(2), "the try ended, no other began");
}

#[tokio::test]
async fn what_is_stopping_already_begins_no_try() {
    let (processor, tries) = processor(ErrorKind::NotExecuted, 1);
    assert!(matches!(processor.process(delivery(), async {}, pending()).await, Verdict::Abandoned));
    assert_eq!(tries.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn waits_and_time_limits_are_those_of_the_clock() {
    let clock = Clock::manual(Duration::from_secs(1));
    let stuck = BoxHandler::new(handler_fn(|_| pending()));
    let attempts = AttemptConfig { max_attempts: 2, ..AttemptConfig::default() };
    let processor = Processor::new(stuck, attempts, clock.clone(), "test");
    let verdict = tokio::spawn(async move { processor.process(delivery(), pending(), pending()).await });
    let mut passed = Duration::ZERO;
    while !verdict.is_finished() {
        tokio::task::yield_now().await;
        clock.advance(Duration::from_millis(100));
        passed += Duration::from_millis(100);
        assert!(passed < Duration::from_secs(120), "a clock of another kind is waited for");
    }
    assert!(passed >= Duration::from_secs(60), "{passed:?}: two tries of 30 s");
    assert!(matches!(verdict.await.unwrap(), Verdict::DeadLetter { attempts: 2, .. }));
}
