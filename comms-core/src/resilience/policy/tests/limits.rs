//! Deadlines and time limits.

use super::*;

#[tokio::test(start_paused = true)]
async fn neither_a_backoff_nor_an_attempt_passes_the_deadline() {
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
        assert_eq!(error.to_string(), "not_executed: away", "the error of the last attempt");
        assert!(last.get().unwrap() - began < millis(timeout));
        assert!(
            now() - began < millis(timeout),
            "the call ends before the deadline, after {:?}",
            now() - began
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_hanging_attempt_ends_at_its_time_limit_as_indeterminate() {
    let policy = policy(|c| (c.attempt_timeout, c.retry) = (Some(millis(200)), Some(retry(3))));
    let (began, attempts) = (now(), Cell::new(0));
    let hang = || {
        attempts.set(attempts.get() + 1);
        std::future::pending::<Result<(), Error>>()
    };
    let error = policy.run(hang).await.unwrap_err();
    assert_eq!((error.kind, error.rejection().unwrap().guard), (ErrorKind::Indeterminate, Guard::Timeout));
    assert_eq!(
        (attempts.get(), now() - began),
        (1, millis(200)),
        "not retried: the attempt may have been executed"
    );

    let mut config = policy.snapshot().config;
    config.retry = Some(RetryConfig { idempotent: true, ..retry(3) });
    config.timeout = Some(millis(450));
    policy.configure(config).unwrap();
    let began = now();
    policy.run(hang).await.unwrap_err();
    assert_eq!(attempts.get(), 3, "idempotent: retried, and the deadline ends the second attempt");
    assert_eq!(now() - began, millis(450));
}

#[tokio::test(start_paused = true)]
async fn the_earlier_deadline_applies_and_is_visible_to_the_attempt() {
    let clock = Clock::system();
    let policy = policy(|c| (c.timeout, c.attempt_timeout) = (Some(millis(800)), Some(millis(300))));
    let left = || async move { Ok(Context::current().deadline.and_then(|d| d.remaining(&Clock::system()))) };
    assert_eq!(policy.run(left).await.unwrap(), Some(millis(300)));
    let scoped = |timeout| Context::default().with_deadline(Deadline::after(timeout, &clock));
    assert_eq!(scoped(millis(100)).scope(policy.run(left)).await.unwrap(), Some(millis(100)));
    let inner = policy.clone();
    let nested = policy.run(|| inner.run(left)).await.unwrap();
    assert_eq!(nested, Some(millis(300)));
    assert!(Context::current().deadline.is_none(), "the deadline ends with the call");

    let passed = scoped(Duration::ZERO).scope(policy.run(left)).await.unwrap_err();
    assert_eq!((passed.kind, passed.rejection().unwrap().guard), (ErrorKind::Rejected, Guard::Deadline));
}

/// Else a caller with short deadlines could open the breaker for all callers, and keep it open by failed probes.
#[tokio::test(start_paused = true)]
async fn a_timeout_at_the_callers_deadline_is_no_failure_of_the_peer() {
    let policy = policy(|c| {
        c.attempt_timeout = Some(millis(500));
        c.breaker = Some(BreakerConfig::default());
    });
    let breaker = policy.breaker().unwrap();
    let hang = || std::future::pending::<Result<(), Error>>();
    let short_call = async || {
        let deadline = Deadline::after(millis(1), &Clock::system());
        Context::default().with_deadline(deadline).scope(policy.run(hang)).await.unwrap_err()
    };
    for _ in 0..20 {
        assert_eq!(short_call().await.rejection().unwrap().guard, Guard::Timeout);
    }
    assert_eq!(breaker.state(), BreakerState::Closed);
    for _ in 0..20 {
        let deadline = Deadline::after(millis(1), &Clock::system());
        let channel = || async {
            tokio::time::sleep(millis(1)).await;
            Err::<(), _>(Error::indeterminate("deadline exceeded"))
        };
        Context::default().with_deadline(deadline).scope(policy.run(channel)).await.unwrap_err();
    }
    assert_eq!(breaker.state(), BreakerState::Closed, "also if the channel reports the timeout first");
    for _ in 0..5 {
        policy.run(hang).await.unwrap_err();
    }
    assert_eq!(
        breaker.state(),
        BreakerState::Open,
        "a timeout at the policy's own limit is a failure of the peer"
    );
    tokio::time::advance(Duration::from_secs(70)).await;
    short_call().await;
    assert_eq!(
        breaker.state(),
        BreakerState::HalfOpen,
        "the probe of a call with a short deadline is released"
    );
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_never_ready_is_retried_until_the_last_attempt() {
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
    assert_eq!((error.kind, error.rejection().unwrap().guard), (ErrorKind::NotExecuted, Guard::Unready));
    assert!(now() - began >= millis(600), "three attempts, each until its time limit");
}

#[test]
fn a_manual_clock_drives_a_call_without_a_runtime() {
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
