//! What is tried again, how often, and at what price.

use super::*;

#[tokio::test(start_paused = true)]
async fn attempts_end_with_the_first_that_works() {
    let (policy, attempts) = (policy(|c| c.retry = Some(retry(5))), Cell::new(0));
    let answer = policy.run(|| {
        attempts.set(attempts.get() + 1);
        let answer = if attempts.get() < 3 { Err(Error::not_executed("away")) } else { Ok(attempts.get()) };
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
        let config = RetryConfig { backoff, budget: Some(RetryBudgetConfig::default()), ..retry(4) };
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
async fn a_refusal_of_a_later_attempt_does_not_unsay_what_may_have_happened() {
    let policy = policy(|c| {
        c.retry = Some(RetryConfig { idempotent: true, ..retry(5) });
        c.breaker = Some(BreakerConfig { failure_threshold: 2, ..BreakerConfig::default() });
    });
    let error =
        policy.run(|| async { Err::<(), _>(Error::indeterminate("the answer was lost")) }).await.unwrap_err();
    assert_eq!(policy.breaker().unwrap().state(), BreakerState::Open);
    assert_eq!(error.to_string(), "indeterminate: the answer was lost");

    let (patient, attempts) = (policy_of_three(), Cell::new(0));
    let error = patient
        .run_idempotent(|| {
            attempts.set(attempts.get() + 1);
            let first = attempts.get() == 1;
            let error = if first {
                Error::indeterminate("the answer was lost")
            } else {
                Error::not_executed("refused")
            };
            async { Err::<(), _>(error) }
        })
        .await
        .unwrap_err();
    assert_eq!(
        (attempts.get(), error.kind),
        (3, ErrorKind::Indeterminate),
        "the last failure does not, either"
    );

    attempts.set(0);
    let error = patient
        .run_idempotent(|| {
            attempts.set(attempts.get() + 1);
            let first = attempts.get() == 1;
            let error = if first {
                Error::indeterminate("the answer was lost")
            } else {
                Error::invalid("no such order")
            };
            async { Err::<(), _>(error) }
        })
        .await
        .unwrap_err();
    assert_eq!((attempts.get(), error.kind), (2, ErrorKind::Invalid), "what the peer answers does");
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
