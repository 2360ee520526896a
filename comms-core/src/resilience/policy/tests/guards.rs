//! Breaker and bulkhead in a call.

use super::*;

#[tokio::test(start_paused = true)]
async fn the_breaker_counts_only_failures_of_the_peer() {
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
async fn a_dropped_call_is_not_counted_and_releases_its_permits() {
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
    assert_eq!((bulkhead.in_use(), bulkhead.snapshot().queued), (0, 0));
    assert_eq!(breaker.snapshot().consecutive_failures, 0);
    // A dropped call releases its half-open probe.
    for _ in 0..5 {
        policy.run(failing::<()>).await.unwrap_err();
    }
    tokio::time::advance(Duration::from_secs(70)).await;
    drop(Box::pin(policy.run(hang)).as_mut().now_or_never());
    policy.run(|| async { Ok(()) }).await.unwrap();
    assert_eq!(breaker.state(), BreakerState::HalfOpen);
}

#[tokio::test(start_paused = true)]
async fn a_probe_rejected_by_the_bulkhead_is_released() {
    let policy = policy(|c| {
        c.breaker = Some(BreakerConfig::default());
        c.bulkhead = Some(BulkheadConfig::new(1));
    });
    for _ in 0..5 {
        policy.run(failing::<()>).await.unwrap_err();
    }
    tokio::time::advance(Duration::from_secs(70)).await;
    let bulkhead = policy.bulkhead().unwrap();
    let permit = bulkhead.try_acquire().unwrap();
    let refused = policy.run(|| async { Ok(()) }).await.unwrap_err();
    assert_eq!(refused.rejection().unwrap().guard, Guard::Bulkhead);
    drop(permit);
    policy.run(|| async { Ok(()) }).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_wait_for_a_permit_is_bounded_by_max_wait_and_by_the_deadline() {
    let policy =
        policy(|c| c.bulkhead = Some(BulkheadConfig { max_wait: millis(300), ..BulkheadConfig::new(1) }));
    let bulkhead = policy.bulkhead().unwrap();
    let permit = bulkhead.try_acquire().unwrap();
    let began = now();
    let refused = policy.run(|| async { Ok(()) }).await.unwrap_err();
    assert_eq!((refused.rejection().unwrap().guard, now() - began), (Guard::Bulkhead, millis(300)));

    let deadline = Deadline::after(millis(100), &Clock::system());
    let call = Context::default().with_deadline(deadline).scope(policy.run(|| async { Ok(()) }));
    let refused = call.await.unwrap_err();
    assert_eq!((refused.rejection().unwrap().guard, now() - began), (Guard::Deadline, millis(400)));

    let waiting = tokio::spawn({
        let policy = policy.clone();
        async move { policy.run(|| async { Ok(()) }).await }
    });
    tokio::time::sleep(millis(200)).await;
    drop(permit);
    waiting.await.unwrap().unwrap();
    assert_eq!(now() - began, millis(600));
}

#[tokio::test(start_paused = true)]
async fn a_permit_that_is_granted_at_the_deadline_is_too_late() {
    let policy = policy(|c| {
        c.timeout = Some(millis(100));
        c.bulkhead = Some(BulkheadConfig { max_wait: millis(500), ..BulkheadConfig::new(1) });
    });
    let bulkhead = policy.bulkhead().unwrap();
    let permit = bulkhead.try_acquire().unwrap();
    let mut waiting = Box::pin(policy.run(|| async { Ok(()) }));
    assert!(waiting.as_mut().now_or_never().is_none());
    tokio::time::advance(millis(100)).await;
    drop(permit);
    let refused = waiting.await.unwrap_err();
    assert_eq!((refused.kind, refused.rejection().unwrap().guard), (ErrorKind::Rejected, Guard::Deadline));
    assert_eq!(bulkhead.in_use(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_breaker_is_checked_again_after_the_wait_for_a_permit() {
    let policy = policy(|c| {
        c.breaker = Some(BreakerConfig::default());
        c.bulkhead = Some(BulkheadConfig { max_wait: millis(300), ..BulkheadConfig::new(1) });
    });
    let bulkhead = policy.bulkhead().unwrap();
    let permit = bulkhead.try_acquire().unwrap();
    let mut waiting = Box::pin(policy.run(|| async { Ok(()) }));
    assert!(waiting.as_mut().now_or_never().is_none());
    policy.breaker().unwrap().force_open();
    drop(permit);
    assert_eq!(waiting.await.unwrap_err().rejection().unwrap().guard, Guard::Breaker);
    assert_eq!(bulkhead.in_use(), 0);
}

/// A rejection must not wait for a timer, which takes a millisecond.
#[tokio::test(start_paused = true)]
async fn a_rejection_is_returned_at_the_first_poll() {
    let policy = policy(|c| {
        c.timeout = Some(millis(1_000));
        c.retry = Some(retry(5));
        c.breaker = Some(BreakerConfig::default());
        c.bulkhead = Some(BulkheadConfig::new(1));
    });
    let bulkhead = policy.bulkhead().unwrap();
    let permit = bulkhead.try_acquire().unwrap();
    let full = policy.run(|| async { Ok(()) }).now_or_never().expect("at once").unwrap_err();
    assert_eq!(full.rejection().unwrap().guard, Guard::Bulkhead);
    drop(permit);
    policy.breaker().unwrap().force_open();
    let open = policy.run(|| async { Ok(()) }).now_or_never().expect("at once").unwrap_err();
    assert_eq!(open.rejection().unwrap().guard, Guard::Breaker);
}
