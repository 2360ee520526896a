//! Breaker and bulkhead in a call.

use super::*;

#[tokio::test(start_paused = true)]
async fn the_breaker_counts_attempts_by_what_they_say_about_the_peer() {
    let policy = policy(|c| c.breaker = Some(BreakerConfig::default()));
    let breaker = policy.breaker().unwrap();
    for error in [Error::invalid, Error::conflict, Error::fatal] as [fn(&'static str) -> Error; 3] {
        for _ in 0..10 {
            policy.run(|| async { Err::<(), _>(error("no")) }).await.unwrap_err();
        }
    }
    assert_eq!(breaker.state(), BreakerState::Closed);
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
        c.bulkhead = Some(BulkheadConfig { max_wait: millis(50), ..BulkheadConfig::new(1) });
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
    assert_eq!(breaker.snapshot().consecutive_failures, 0);
    // A probe that is dropped frees its place.
    for _ in 0..5 {
        policy.run(failing::<()>).await.unwrap_err();
    }
    tokio::time::advance(Duration::from_secs(70)).await;
    drop(Box::pin(policy.run(hang)).as_mut().now_or_never());
    policy.run(|| async { Ok(()) }).await.unwrap();
    assert_eq!(breaker.state(), BreakerState::HalfOpen);
}

#[tokio::test(start_paused = true)]
async fn a_probe_refused_by_the_bulkhead_is_given_back() {
    let policy = policy(|c| {
        c.breaker = Some(BreakerConfig::default());
        c.bulkhead = Some(BulkheadConfig::new(1));
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
        policy(|c| c.bulkhead = Some(BulkheadConfig { max_wait: millis(300), ..BulkheadConfig::new(1) }));
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
async fn a_seat_that_comes_with_the_deadline_comes_too_late() {
    let policy = policy(|c| {
        c.timeout = Some(millis(100));
        c.bulkhead = Some(BulkheadConfig { max_wait: millis(500), ..BulkheadConfig::new(1) });
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
async fn a_breaker_that_opens_while_a_seat_is_waited_for_is_asked_again() {
    let policy = policy(|c| {
        c.breaker = Some(BreakerConfig::default());
        c.bulkhead = Some(BulkheadConfig { max_wait: millis(300), ..BulkheadConfig::new(1) });
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
        c.bulkhead = Some(BulkheadConfig::new(1));
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
