//! Deadlines and time limits.

use super::*;

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
        assert_eq!(error.to_string(), "not_executed: away", "the last cause, not the clock's");
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
    assert_eq!((error.kind, error.rejection().unwrap().guard), (ErrorKind::Indeterminate, Guard::Timeout));
    assert_eq!((attempts.get(), now() - began), (1, millis(200)), "not again: it may have happened");

    let mut config = policy.snapshot().config;
    config.retry = Some(RetryConfig { idempotent: true, ..retry(3) });
    config.timeout = Some(millis(450));
    policy.configure(config).unwrap();
    let began = now();
    policy.run(hang).await.unwrap_err();
    assert_eq!(attempts.get(), 3, "idempotent: again, and the deadline cuts the second short");
    assert_eq!(now() - began, millis(450));
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
    assert_eq!(breaker.state(), BreakerState::Closed);
    for _ in 0..20 {
        let deadline = Deadline::after(millis(1), &Clock::system());
        let channel = || async {
            tokio::time::sleep(millis(1)).await;
            Err::<(), _>(Error::indeterminate("deadline exceeded, says the channel"))
        };
        Context::default().with_deadline(deadline).scope(policy.run(channel)).await.unwrap_err();
    }
    assert_eq!(breaker.state(), BreakerState::Closed, "also where the channel saw it first");
    for _ in 0..5 {
        policy.run(hang).await.unwrap_err();
    }
    assert_eq!(breaker.state(), BreakerState::Open, "the policy's own limit does");
    tokio::time::advance(Duration::from_secs(70)).await;
    hurried().await;
    assert_eq!(breaker.state(), BreakerState::HalfOpen, "a probe in a hurry is given back");
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
    assert_eq!((error.kind, error.rejection().unwrap().guard), (ErrorKind::NotExecuted, Guard::Unready));
    assert!(now() - began >= millis(600), "three attempts, each to its limit");
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
