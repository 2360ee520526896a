use std::{
    cell::Cell,
    convert::Infallible,
    sync::atomic::AtomicU32,
    task::{Context as TaskContext, Poll},
    time::{Duration, Instant},
};

use futures_util::{FutureExt, future::join_all};
use tower::{Layer, Service, ServiceExt, limit::ConcurrencyLimitLayer, service_fn};

use super::*;
use crate::{
    Context, Deadline, ErrorKind,
    resilience::{
        Backoff, BreakerConfig, BudgetConfig, BulkheadConfig, Class, Classify, Guard, Rejection, RetryConfig,
        breaker::State,
    },
};

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// The system clock stands still with tokio's.
fn now() -> Instant {
    Clock::system().now()
}

/// Everything under tokio's paused time: a wait costs none.
fn policy(change: impl FnOnce(&mut PolicyConfig)) -> Policy {
    let mut config = PolicyConfig::none();
    change(&mut config);
    Policy::new("p", config).unwrap()
}

fn retry(attempts: u32) -> RetryConfig {
    let backoff = Backoff::new(millis(100), millis(1_000)).unwrap();
    RetryConfig { attempts, backoff, budget: None, ..RetryConfig::default() }
}

async fn failing<T>() -> Result<T, Error> {
    Err(Error::transient("away"))
}

#[tokio::test(start_paused = true)]
async fn attempts_end_with_the_first_that_works() {
    let (policy, attempts) = (policy(|c| c.retry = Some(retry(5))), Cell::new(0));
    let answer = policy.run(|| {
        attempts.set(attempts.get() + 1);
        let answer = if attempts.get() < 3 { Err(Error::transient("away")) } else { Ok(attempts.get()) };
        async { answer }
    });
    assert_eq!(answer.await.unwrap(), 3);
}

/// Some libraries multiply an outage by their attempts: the budget must hold it near one attempt a request.
#[tokio::test(start_paused = true)]
async fn a_total_outage_is_not_multiplied() {
    for callers in [1, 64] {
        // Callers as fast as they can be; what a few slow ones retry is within the floor of ten a second.
        let backoff = Backoff::new(millis(1), millis(1_000)).unwrap();
        let config = RetryConfig { backoff, budget: Some(BudgetConfig::default()), ..retry(4) };
        let (policy, attempts) = (policy(|c| c.retry = Some(config)), AtomicU32::new(0));
        let requests = 10_000 / callers * callers;
        join_all((0..callers).map(|_| async {
            for _ in 0..requests / callers {
                let call = policy.run(|| {
                    attempts.fetch_add(1, Ordering::Relaxed);
                    failing::<()>()
                });
                assert!(call.await.is_err());
            }
        }))
        .await;
        let share = f64::from(attempts.load(Ordering::Relaxed)) / f64::from(requests);
        assert!(share > 1.0 && share <= 1.1, "{share} attempts a request for {callers} callers");
    }
}

/// A back-off that sleeps past the deadline, or an attempt after it.
#[tokio::test(start_paused = true)]
async fn nothing_is_tried_and_nothing_waited_for_beyond_the_deadline() {
    for timeout in [1, 99, 250, 1_000, 5_000] {
        let policy = policy(|c| (c.timeout, c.retry) = (Some(millis(timeout)), Some(retry(100))));
        let (began, last) = (now(), Cell::new(None));
        let error = policy
            .run(|| {
                last.set(Some(now()));
                failing::<()>()
            })
            .await
            .unwrap_err();
        assert_eq!(error.to_string(), "transient: away", "the last cause, not the clock's");
        assert!(last.get().unwrap() - began < millis(timeout));
        assert!(now() - began < millis(timeout), "who waits learns it at once, after {:?}", now() - began);
    }
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_hangs_ends_at_its_limit_and_may_have_happened() {
    let policy = policy(|c| (c.attempt_timeout, c.retry) = (Some(millis(200)), Some(retry(3))));
    let (began, attempts) = (now(), Cell::new(0));
    let hang = || {
        attempts.set(attempts.get() + 1);
        std::future::pending::<Result<(), Error>>()
    };
    let error = policy.run(hang).await.unwrap_err();
    assert_eq!((error.kind, error.rejection().unwrap().guard), (ErrorKind::Unknown, Guard::Timeout));
    assert_eq!((attempts.get(), now() - began), (1, millis(200)), "not again: it may have happened");

    let mut config = policy.snapshot().config;
    config.retry = Some(RetryConfig { idempotent: true, ..retry(3) });
    config.timeout = Some(millis(450));
    policy.swap(config).unwrap();
    let began = now();
    policy.run(hang).await.unwrap_err();
    assert_eq!(attempts.get(), 3, "idempotent: again, and the deadline cuts the second short");
    assert_eq!(now() - began, millis(450));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_may_be_made_twice_says_so_itself() {
    let policy = policy(|c| (c.attempt_timeout, c.retry) = (Some(millis(200)), Some(retry(3))));
    let attempts = Cell::new(0);
    let hang = || {
        attempts.set(attempts.get() + 1);
        std::future::pending::<Result<(), Error>>()
    };
    // The key of the request that is being handled is not the key of the calls that are made for it.
    let handled = Context { idempotency_key: Some("k".into()), ..Context::default() };
    handled.scope(policy.run(hang)).await.unwrap_err();
    assert_eq!(attempts.get(), 1);
    policy.run_idempotent(hang).await.unwrap_err();
    assert_eq!(attempts.get(), 1 + 3);
    let service = service_fn(|()| hang());
    policy.layer_with(ByKind::idempotent()).layer(service).oneshot(()).await.unwrap_err();
    assert_eq!(attempts.get(), 1 + 3 + 3);
}

#[tokio::test(start_paused = true)]
async fn the_earlier_deadline_holds_and_the_attempt_sees_what_is_left() {
    let clock = Clock::system();
    let policy = policy(|c| (c.timeout, c.attempt_timeout) = (Some(millis(800)), Some(millis(300))));
    let left = || async move { Ok(Context::current().deadline.and_then(|d| d.remaining(&Clock::system()))) };
    assert_eq!(policy.run(left).await.unwrap(), Some(millis(300)));
    let scoped = |timeout| Context::default().with_deadline(Deadline::after(timeout, &clock));
    assert_eq!(scoped(millis(100)).scope(policy.run(left)).await.unwrap(), Some(millis(100)));
    let inner = policy.clone();
    let nested = policy.run(|| inner.run(left)).await.unwrap();
    assert_eq!(nested, Some(millis(300)));
    assert!(Context::current().deadline.is_none(), "it ends with the call");

    let passed = scoped(Duration::ZERO).scope(policy.run(left)).await.unwrap_err();
    assert_eq!((passed.kind, passed.rejection().unwrap().guard), (ErrorKind::Rejected, Guard::Deadline));
}

#[tokio::test(start_paused = true)]
async fn pushback_is_waited_for_exactly() {
    let (policy, attempts) = (policy(|c| c.retry = Some(retry(2))), Cell::new(0));
    let began = now();
    let call = policy.run(|| {
        attempts.set(attempts.get() + 1);
        let busy = Error::rejected("busy", Some(millis(7_777)));
        let answer = if attempts.get() == 1 { Err(busy) } else { Ok(()) };
        async { answer }
    });
    call.await.unwrap();
    assert_eq!(now() - began, millis(7_777));
}

#[tokio::test(start_paused = true)]
async fn the_breaker_counts_attempts_by_what_they_say_about_the_peer() {
    let policy = policy(|c| c.breaker = Some(BreakerConfig::default()));
    let breaker = policy.breaker().unwrap();
    for error in [Error::invalid, Error::conflict, Error::fatal] as [fn(&'static str) -> Error; 3] {
        for _ in 0..10 {
            policy.run(|| async { Err::<(), _>(error("no")) }).await.unwrap_err();
        }
    }
    assert_eq!(breaker.state(), State::Closed);
    for _ in 0..5 {
        policy.run(failing::<()>).await.unwrap_err();
    }
    let refused = policy.run(|| async { Ok(()) }).await.unwrap_err();
    assert_eq!(refused.rejection().unwrap().guard, Guard::Breaker);
    assert!(refused.retry_after.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_counts_neither_way_and_gives_everything_back() {
    let policy = policy(|c| {
        c.breaker = Some(BreakerConfig::default());
        c.bulkhead = Some(BulkheadConfig { max_wait: millis(50), ..BulkheadConfig::seats(1) });
    });
    let (breaker, bulkhead) = (policy.breaker().unwrap(), policy.bulkhead().unwrap());
    let hang = || std::future::pending::<Result<(), Error>>();
    for _ in 0..100 {
        let mut call = Box::pin(policy.run(hang));
        assert!(call.as_mut().now_or_never().is_none());
        let mut queued = Box::pin(policy.run(hang));
        assert!(queued.as_mut().now_or_never().is_none());
        drop(call);
        drop(queued);
    }
    assert_eq!((bulkhead.in_use(), bulkhead.snapshot().waiting), (0, 0));
    assert_eq!(breaker.snapshot().failures_in_a_row, 0);
    // A probe that is dropped frees its place.
    for _ in 0..5 {
        policy.run(failing::<()>).await.unwrap_err();
    }
    tokio::time::advance(Duration::from_secs(70)).await;
    drop(Box::pin(policy.run(hang)).as_mut().now_or_never());
    policy.run(|| async { Ok(()) }).await.unwrap();
    assert_eq!(breaker.state(), State::HalfOpen);
}

#[tokio::test(start_paused = true)]
async fn a_probe_refused_by_the_bulkhead_is_given_back() {
    let policy = policy(|c| {
        c.breaker = Some(BreakerConfig::default());
        c.bulkhead = Some(BulkheadConfig::seats(1));
    });
    for _ in 0..5 {
        policy.run(failing::<()>).await.unwrap_err();
    }
    tokio::time::advance(Duration::from_secs(70)).await;
    let bulkhead = policy.bulkhead().unwrap();
    let seat = bulkhead.try_acquire().unwrap();
    let refused = policy.run(|| async { Ok(()) }).await.unwrap_err();
    assert_eq!(refused.rejection().unwrap().guard, Guard::Bulkhead);
    drop(seat);
    policy.run(|| async { Ok(()) }).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_a_seat_is_bounded_by_itself_and_by_the_deadline() {
    let policy =
        policy(|c| c.bulkhead = Some(BulkheadConfig { max_wait: millis(300), ..BulkheadConfig::seats(1) }));
    let bulkhead = policy.bulkhead().unwrap();
    let seat = bulkhead.try_acquire().unwrap();
    let began = now();
    let refused = policy.run(|| async { Ok(()) }).await.unwrap_err();
    assert_eq!((refused.rejection().unwrap().guard, now() - began), (Guard::Bulkhead, millis(300)));

    let deadline = Deadline::after(millis(100), &Clock::system());
    let call = Context::default().with_deadline(deadline).scope(policy.run(|| async { Ok(()) }));
    let refused = call.await.unwrap_err();
    assert_eq!((refused.rejection().unwrap().guard, now() - began), (Guard::Deadline, millis(400)));

    let waits = tokio::spawn({
        let policy = policy.clone();
        async move { policy.run(|| async { Ok(()) }).await }
    });
    tokio::time::sleep(millis(200)).await;
    drop(seat);
    waits.await.unwrap().unwrap();
    assert_eq!(now() - began, millis(600));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_of_a_later_attempt_does_not_unsay_what_may_have_happened() {
    let policy = policy(|c| {
        c.retry = Some(RetryConfig { idempotent: true, ..retry(5) });
        c.breaker = Some(BreakerConfig { failures: 2, ..BreakerConfig::default() });
    });
    let error =
        policy.run(|| async { Err::<(), _>(Error::unknown("the answer was lost")) }).await.unwrap_err();
    assert_eq!(policy.breaker().unwrap().state(), State::Open);
    assert_eq!(error.to_string(), "unknown: the answer was lost");

    let (patient, attempts) = (policy_of_three(), Cell::new(0));
    let error = patient
        .run_idempotent(|| {
            attempts.set(attempts.get() + 1);
            let first = attempts.get() == 1;
            let error =
                if first { Error::unknown("the answer was lost") } else { Error::transient("refused") };
            async { Err::<(), _>(error) }
        })
        .await
        .unwrap_err();
    assert_eq!((attempts.get(), error.kind), (3, ErrorKind::Unknown), "the last failure does not, either");
}

fn policy_of_three() -> Policy {
    policy(|c| c.retry = Some(retry(3)))
}

/// Or anybody could open the breaker for everybody, and hold it open by his probes.
#[tokio::test(start_paused = true)]
async fn a_caller_in_a_hurry_does_not_blame_the_peer() {
    let policy = policy(|c| {
        c.attempt_timeout = Some(millis(500));
        c.breaker = Some(BreakerConfig::default());
    });
    let breaker = policy.breaker().unwrap();
    let hang = || std::future::pending::<Result<(), Error>>();
    let hurried = async || {
        let deadline = Deadline::after(millis(1), &Clock::system());
        Context::default().with_deadline(deadline).scope(policy.run(hang)).await.unwrap_err()
    };
    for _ in 0..20 {
        assert_eq!(hurried().await.rejection().unwrap().guard, Guard::Timeout);
    }
    assert_eq!(breaker.state(), State::Closed);
    for _ in 0..20 {
        let deadline = Deadline::after(millis(1), &Clock::system());
        let channel = || async {
            tokio::time::sleep(millis(1)).await;
            Err::<(), _>(Error::unknown("deadline exceeded, says the channel"))
        };
        Context::default().with_deadline(deadline).scope(policy.run(channel)).await.unwrap_err();
    }
    assert_eq!(breaker.state(), State::Closed, "also where the channel saw it first");
    for _ in 0..5 {
        policy.run(hang).await.unwrap_err();
    }
    assert_eq!(breaker.state(), State::Open, "the policy's own limit does");
    tokio::time::advance(Duration::from_secs(70)).await;
    hurried().await;
    assert_eq!(breaker.state(), State::HalfOpen, "a probe in a hurry is given back");
}

#[tokio::test(start_paused = true)]
async fn a_seat_that_comes_with_the_deadline_comes_too_late() {
    let policy = policy(|c| {
        c.timeout = Some(millis(100));
        c.bulkhead = Some(BulkheadConfig { max_wait: millis(500), ..BulkheadConfig::seats(1) });
    });
    let bulkhead = policy.bulkhead().unwrap();
    let seat = bulkhead.try_acquire().unwrap();
    let mut waits = Box::pin(policy.run(|| async { Ok(()) }));
    assert!(waits.as_mut().now_or_never().is_none());
    tokio::time::advance(millis(100)).await;
    drop(seat);
    let refused = waits.await.unwrap_err();
    assert_eq!((refused.kind, refused.rejection().unwrap().guard), (ErrorKind::Rejected, Guard::Deadline));
    assert_eq!(bulkhead.in_use(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_does_not_get_ready_is_given_up_and_tried_again() {
    #[derive(Clone)]
    struct Never;
    impl Service<()> for Never {
        type Response = ();
        type Error = Error;
        type Future = std::future::Ready<Result<(), Error>>;
        fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Error>> {
            Poll::Pending
        }
        fn call(&mut self, (): ()) -> Self::Future {
            unreachable!("it was never ready")
        }
    }
    let policy = policy(|c| (c.attempt_timeout, c.retry) = (Some(millis(200)), Some(retry(3))));
    let began = now();
    let error = policy.layer().layer(Never).oneshot(()).await.unwrap_err();
    assert_eq!((error.kind, error.rejection().unwrap().guard), (ErrorKind::Transient, Guard::Unready));
    assert!(now() - began >= millis(600), "three attempts, each to its limit");
}

/// A body that is a stream goes out once.
#[tokio::test(start_paused = true)]
async fn a_request_that_cannot_be_sent_again_is_sent_once() {
    #[derive(Clone)]
    struct Once;
    struct Stream;
    impl<T> Classify<Stream, T, Error> for Once {
        fn classify(&self, result: &Result<T, Error>) -> Class {
            Classify::<(), T, Error>::classify(&ByKind::default(), result)
        }
        fn reject(&self, rejection: Rejection) -> Error {
            rejection.into()
        }
        fn again(&self, _: &Stream) -> Option<Stream> {
            None
        }
    }
    let (policy, attempts) = (policy_of_three(), Arc::new(AtomicU32::new(0)));
    let count = attempts.clone();
    let service = service_fn(move |_: Stream| {
        count.fetch_add(1, Ordering::Relaxed);
        failing::<()>()
    });
    policy.layer_with(Once).layer(service).oneshot(Stream).await.unwrap_err();
    assert_eq!(attempts.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn a_breaker_that_opens_while_a_seat_is_waited_for_is_asked_again() {
    let policy = policy(|c| {
        c.breaker = Some(BreakerConfig::default());
        c.bulkhead = Some(BulkheadConfig { max_wait: millis(300), ..BulkheadConfig::seats(1) });
    });
    let bulkhead = policy.bulkhead().unwrap();
    let seat = bulkhead.try_acquire().unwrap();
    let mut waits = Box::pin(policy.run(|| async { Ok(()) }));
    assert!(waits.as_mut().now_or_never().is_none());
    policy.breaker().unwrap().force_open();
    drop(seat);
    assert_eq!(waits.await.unwrap_err().rejection().unwrap().guard, Guard::Breaker);
    assert_eq!(bulkhead.in_use(), 0);
}

/// A rejection that waits for a timer costs a millisecond.
#[tokio::test(start_paused = true)]
async fn a_rejection_is_ready_at_the_first_poll() {
    let policy = policy(|c| {
        c.timeout = Some(millis(1_000));
        c.retry = Some(retry(5));
        c.breaker = Some(BreakerConfig::default());
        c.bulkhead = Some(BulkheadConfig::seats(1));
    });
    let bulkhead = policy.bulkhead().unwrap();
    let seat = bulkhead.try_acquire().unwrap();
    let full = policy.run(|| async { Ok(()) }).now_or_never().expect("at once").unwrap_err();
    assert_eq!(full.rejection().unwrap().guard, Guard::Bulkhead);
    drop(seat);
    policy.breaker().unwrap().force_open();
    let open = policy.run(|| async { Ok(()) }).now_or_never().expect("at once").unwrap_err();
    assert_eq!(open.rejection().unwrap().guard, Guard::Breaker);
}

/// A readied service that is cloned, dropped or polled again must neither leak a permit nor call a service that
/// was not readied.
#[tokio::test(start_paused = true)]
async fn readiness_belongs_to_the_service_that_was_readied() {
    #[derive(Default)]
    struct Strict {
        readied: bool,
    }
    impl Clone for Strict {
        fn clone(&self) -> Self {
            Self::default()
        }
    }
    impl Service<u32> for Strict {
        type Response = u32;
        type Error = Error;
        type Future = std::future::Ready<Result<u32, Error>>;
        fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Error>> {
            self.readied = true;
            Poll::Ready(Ok(()))
        }
        fn call(&mut self, n: u32) -> Self::Future {
            assert!(std::mem::take(&mut self.readied), "called without being readied");
            std::future::ready(if n == 0 { Err(Error::transient("away")) } else { Ok(n) })
        }
    }
    let policy = policy(|c| {
        c.retry = Some(retry(3));
        c.bulkhead = Some(BulkheadConfig::seats(1));
    });
    let mut service = policy.layer().layer(Strict::default());
    for n in [1, 0, 2, 0] {
        let _clone = service.ready().await.unwrap().clone();
        assert_eq!(service.call(n).await.is_ok(), n > 0);
    }
    for _ in 0..10 {
        service.ready().await.unwrap();
        drop(service.clone());
        drop(service.call(1));
    }
    assert_eq!(policy.bulkhead().unwrap().in_use(), 0);

    // A permit that readiness holds further in is used or freed, never kept.
    let limited = ConcurrencyLimitLayer::new(1).layer(Strict::default());
    let mut service = policy.layer().layer(limited);
    for _ in 0..10 {
        drop(service.ready().await.unwrap().call(1));
        assert_eq!(service.ready().await.unwrap().call(3).await.unwrap(), 3);
    }
}

#[tokio::test(start_paused = true)]
async fn a_swap_holds_for_the_next_call_and_keeps_the_state() {
    let policy = policy(|c| c.breaker = Some(BreakerConfig::default()));
    let echo = service_fn(|n: u32| async move { Ok::<_, Error>(n) });
    let mut service = policy.layer().layer(echo);
    assert_eq!(service.ready().await.unwrap().call(1).await.unwrap(), 1);
    for _ in 0..5 {
        policy.run(failing::<()>).await.unwrap_err();
    }
    let mut config = policy.snapshot().config;
    config.bulkhead = Some(BulkheadConfig::seats(7));
    config.breaker = Some(BreakerConfig { failures: 9, ..BreakerConfig::default() });
    policy.swap(config.clone()).unwrap();
    assert!(service.ready().await.unwrap().call(1).await.is_err(), "still open");
    assert_eq!(policy.snapshot().bulkhead.unwrap().limit, 7);
    config.breaker = None;
    policy.swap(config.clone()).unwrap();
    assert_eq!(service.ready().await.unwrap().call(1).await.unwrap(), 1, "the service sees the new version");
    config.timeout = Some(Duration::ZERO);
    let refused = policy.swap(config).unwrap_err();
    assert!(refused.to_string().contains("policy p: a timeout must not be zero"), "{refused}");
    let mut config = PolicyConfig::none();
    config.timeout = Some(Duration::MAX);
    assert!(policy.swap(config).is_err(), "no point in time is out of range");
}

#[tokio::test(start_paused = true)]
async fn guards_that_were_given_are_shared_and_left_alone() {
    let clock = Clock::system();
    let breaker = Breaker::new("peer", BreakerConfig::default(), clock.clone()).unwrap();
    let budget = Budget::new(&BudgetConfig::default(), clock).unwrap();
    let make = |name| {
        let builder = Policy::builder(name, PolicyConfig::background()).breaker(breaker.clone());
        builder.budget(budget.clone()).build().unwrap()
    };
    let (charge, refund) = (make("charge"), make("refund"));
    for _ in 0..5 {
        drop(charge.run(failing::<()>).await);
    }
    assert!(refund.run(|| async { Ok(()) }).await.is_err(), "one breaker for the destination");
    refund.swap(PolicyConfig::none()).unwrap();
    assert_eq!(breaker.state(), State::Open);
    assert!(refund.breaker().is_some());
    while budget.try_withdraw() {}
    assert_eq!(charge.snapshot().budget, Some(0), "one budget, too");
}

#[test]
fn configuration_says_no_with_a_reason() {
    let parse = |text: &str| serde_json::from_str::<PolicyConfig>(text).map_err(|e| e.to_string());
    assert_eq!(parse("{}").unwrap(), PolicyConfig::background());
    assert_eq!(parse(r#"{"breaker": false}"#).unwrap().breaker, None);
    assert_eq!(parse(r#"{"breaker": {}}"#).unwrap().breaker, Some(BreakerConfig::default()));
    for (text, reason) in [
        (r#"{"retries": {}}"#, "unknown field `retries`"),
        (r#"{"breaker": true}"#, "settings, or false"),
        (r#"{"timeout": "soon"}"#, "\"soon\" is not a duration like \"250ms\""),
        (r#"{"retry": {"backoff": {"base": "2s", "cap": "1s"}}}"#, "0 < base <= cap"),
    ] {
        let error = parse(text).unwrap_err();
        assert!(error.contains(reason), "{text}: {error}");
    }
    let written = serde_json::to_string(&PolicyConfig::interactive()).unwrap();
    assert_eq!(parse(&written).unwrap(), PolicyConfig::interactive());
    let none = serde_json::to_string(&PolicyConfig::none()).unwrap();
    assert_eq!(parse(&none).unwrap(), PolicyConfig::none());
}

#[cfg(feature = "rate-limit")]
#[tokio::test]
async fn a_rate_limit_counts_calls_not_attempts() {
    use crate::resilience::rate_limit::RateLimitConfig;
    let clock = Clock::manual(Duration::ZERO);
    let mut config = PolicyConfig::none();
    config.rate_limit = Some(RateLimitConfig::new(2, millis(1_000)));
    let policy = Policy::builder("p", config).clock(clock.clone()).build().unwrap();
    let call = async || policy.run(|| async { Ok(()) }).await;
    assert!(call().await.is_ok() && call().await.is_ok());
    let refused = call().await.unwrap_err();
    assert_eq!(
        (refused.rejection().unwrap().guard, refused.retry_after),
        (Guard::RateLimit, Some(millis(500)))
    );
    clock.advance(millis(500));
    assert!(call().await.is_ok());
}

/// A service of another protocol: failures come as responses, and its error is not ours.
#[tokio::test(start_paused = true)]
async fn another_protocol_is_classified_by_its_own_rules() {
    #[derive(Clone)]
    struct Http;
    impl Classify<(), u16, Infallible> for Http {
        fn classify(&self, result: &Result<u16, Infallible>) -> Class {
            match result {
                Ok(500..) => Class::Failure { kind: ErrorKind::Transient, retry_after: None },
                _ => Class::Success,
            }
        }
        fn reject(&self, _: Rejection) -> Infallible {
            unreachable!("no guard is on")
        }
        fn again(&self, (): &()) -> Option<()> {
            Some(())
        }
    }
    let (policy, attempts) = (policy(|c| c.retry = Some(retry(3))), Arc::new(AtomicU32::new(0)));
    let counter = attempts.clone();
    let service = service_fn(move |()| {
        let attempt = counter.fetch_add(1, Ordering::Relaxed);
        async move { Ok::<_, Infallible>(if attempt < 2 { 503 } else { 200 }) }
    });
    assert_eq!(policy.layer_with(Http).layer(service).oneshot(()).await.unwrap(), 200);
    assert_eq!(attempts.load(Ordering::Relaxed), 3);
}

/// The whole policy on a manual clock, without a runtime.
#[test]
fn a_manual_clock_drives_everything() {
    let clock = Clock::manual(Duration::ZERO);
    let mut config = PolicyConfig::none();
    (config.timeout, config.retry) = (Some(millis(1_000)), Some(retry(3)));
    let policy = Policy::builder("p", config).clock(clock.clone()).build().unwrap();
    let began: Instant = clock.now();
    let mut call = Box::pin(policy.run(|| async { std::future::pending::<Result<(), Error>>().await }));
    let mut steps = 0;
    let error = loop {
        match call.as_mut().now_or_never() {
            Some(result) => break result.unwrap_err(),
            None => clock.advance(millis(10)),
        }
        steps += 1;
    };
    assert_eq!((error.rejection().unwrap().guard, steps), (Guard::Timeout, 100));
    assert_eq!(clock.now() - began, millis(1_000));
}
