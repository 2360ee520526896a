//! Retries and their limits.

use super::*;

#[tokio::test(start_paused = true)]
async fn the_first_success_ends_the_attempts() {
    let (policy, attempts) = (policy(|c| c.retry = Some(retry(5))), Cell::new(0));
    let answer = policy.run(|| {
        attempts.set(attempts.get() + 1);
        let answer = if attempts.get() < 3 { Err(Error::not_executed("away")) } else { Ok(attempts.get()) };
        async { answer }
    });
    assert_eq!(answer.await.unwrap(), 3);
}

/// The budget keeps a total outage near one attempt per request, whatever `max_attempts` is.
#[tokio::test(start_paused = true)]
async fn a_total_outage_is_not_multiplied() {
    for callers in [1, 64] {
        // A short backoff: the retries of a few slow callers would be within the ten per second that need no success.
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
        assert!(share > 1.0 && share <= 1.1, "{share} attempts per request for {callers} callers");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_can_be_idempotent_for_itself() {
    let policy = policy(|c| (c.attempt_timeout, c.retry) = (Some(millis(200)), Some(retry(3))));
    let attempts = Cell::new(0);
    let hang = || {
        attempts.set(attempts.get() + 1);
        std::future::pending::<Result<(), Error>>()
    };
    // The idempotency key of the handled request does not make the calls within it idempotent.
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
async fn the_wait_is_exactly_the_pushback() {
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
async fn a_refused_retry_returns_the_indeterminate_error_of_an_earlier_attempt() {
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
        "a refusal by the peer proves nothing about the first attempt"
    );

    // The first attempt may be the concurrent change that the second one lost against.
    for (second, kind) in
        [(ErrorKind::Invalid, ErrorKind::Invalid), (ErrorKind::Conflict, ErrorKind::Indeterminate)]
    {
        attempts.set(0);
        let error = patient
            .run_idempotent(|| {
                attempts.set(attempts.get() + 1);
                let kind = if attempts.get() == 1 { ErrorKind::Indeterminate } else { second };
                async move { Err::<(), _>(Error::new(kind, "scripted")) }
            })
            .await
            .unwrap_err();
        assert_eq!((attempts.get(), error.kind), (2, kind), "after {second}");
    }
}

/// For example, a body that is a stream.
#[tokio::test(start_paused = true)]
async fn a_request_that_cannot_be_cloned_is_sent_once() {
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
        fn clone_request(&self, _: &Stream) -> Option<Stream> {
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
