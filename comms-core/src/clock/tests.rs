use futures_util::FutureExt;

use super::*;

#[test]
fn rfc3339_prints_utc_with_milliseconds() {
    assert_eq!(rfc3339(Duration::ZERO), "1970-01-01T00:00:00.000Z");
    assert_eq!(rfc3339(Duration::from_millis(951_782_400_123)), "2000-02-29T00:00:00.123Z");
    assert_eq!(rfc3339(Duration::from_secs(1_763_708_399)), "2025-11-21T06:59:59.000Z");
    assert_eq!(rfc3339(Duration::MAX), "9999-12-31T23:59:59.999Z");
}

#[test]
fn a_manual_clock_moves_only_by_advance() {
    let clock = Clock::manual(Duration::from_secs(100));
    let before = clock.now();
    clock.advance(Duration::from_secs(5));
    assert_eq!(clock.now() - before, Duration::from_secs(5));
    assert_eq!(clock.unix_millis(), 105_000);
}

#[tokio::test]
async fn advance_wakes_a_sleep_on_a_manual_clock() {
    let clock = Clock::manual(Duration::ZERO);
    let sleeper = tokio::spawn(clock.sleep(Duration::from_secs(10)));
    tokio::task::yield_now().await;
    clock.advance(Duration::from_secs(9));
    tokio::task::yield_now().await;
    assert!(!sleeper.is_finished());
    clock.advance(Duration::from_secs(1));
    sleeper.await.unwrap();
}

#[test]
fn a_manual_clock_never_goes_back() {
    let clock = Clock::manual(Duration::ZERO);
    clock.advance(Duration::from_secs(1));
    clock.advance(Duration::from_secs(600 * 365 * 86_400));
    assert!(clock.unix() > Duration::from_secs(500 * 365 * 86_400));
}

#[tokio::test]
async fn a_sleep_resolves_although_another_branch_uses_up_the_budget() {
    let (sender, mut receiver) = tokio::sync::mpsc::channel(1);
    let feed = sender.clone();
    sender.try_send(()).unwrap();
    let busy = async {
        // A message is always available: only tokio's cooperative budget makes this loop yield.
        while receiver.recv().await.is_some() {
            feed.try_send(()).unwrap();
        }
    };
    tokio::select! {
        biased;
        () = busy => {}
        () = Clock::system().sleep(Duration::from_millis(20)) => {}
    }
}

#[tokio::test(start_paused = true)]
async fn the_system_clock_stops_under_paused_time() {
    let clock = Clock::system();
    let before = clock.now();
    clock.sleep(Duration::from_secs(3600)).await;
    assert_eq!(clock.now() - before, Duration::from_secs(3600));
}

#[test]
fn seeded_random_numbers_repeat_and_those_of_the_system_differ() {
    let seeded = |seed| Clock::seeded(Duration::ZERO, seed).random::<16>();
    assert_eq!(seeded(7), seeded(7));
    assert_ne!(seeded(7), seeded(8));
    let system = Clock::system();
    assert_ne!(system.random::<16>(), system.random::<16>());
    let other = std::thread::spawn(|| Clock::system().random::<16>()).join().unwrap();
    assert_ne!(system.random::<16>(), other);
}

#[test]
fn identifiers_sort_in_the_order_of_creation_while_the_clock_stands_still() {
    let clock = Clock::manual(Duration::from_millis(1_700_000_000_000));
    let ids: Vec<_> = (0..10_000).map(|_| clock.uuid_v7()).collect();
    assert!(ids.is_sorted());
    let first = ids[0];
    assert_eq!((first.get_version_num(), first.get_variant()), (7, uuid::Variant::RFC4122));
    assert_eq!(first.get_timestamp().unwrap().to_unix(), (1_700_000_000, 0));
}

#[tokio::test]
async fn sleep_until_on_a_manual_clock_resolves_at_the_deadline() {
    let clock = Clock::manual(Duration::ZERO);
    let mut sleep = Box::pin(clock.sleep_until(clock.now() + Duration::from_secs(10)));
    clock.advance(Duration::from_secs(9));
    assert!(sleep.as_mut().now_or_never().is_none());
    clock.advance(Duration::from_secs(1));
    assert!(sleep.as_mut().now_or_never().is_some());
    let passed = clock.sleep_until(clock.now() - Duration::from_secs(1));
    assert!(passed.now_or_never().is_some());
}

#[tokio::test(start_paused = true)]
async fn sleep_until_on_the_system_clock_resolves_at_the_deadline() {
    let clock = Clock::system();
    let deadline = clock.now() + Duration::from_secs(3_600);
    clock.sleep_until(deadline).await;
    assert_eq!(clock.now(), deadline);
    let passed = clock.sleep_until(deadline - Duration::from_secs(1));
    assert!(passed.now_or_never().is_some());
}

/// On each clock: before its first deadline, after it, and for a duration beyond the range of `Instant`.
#[tokio::test(start_paused = true)]
async fn reset_restarts_a_sleep() {
    const SECOND: Duration = Duration::from_secs(1);
    async fn advance(clock: &Clock, by: Duration) {
        clock.advance(by);
        if !clock.is_manual() {
            tokio::time::advance(by).await;
        }
    }
    for clock in [Clock::manual(Duration::ZERO), Clock::system()] {
        let mut sleep = Box::pin(clock.sleep(SECOND * 10));
        assert!(sleep.as_mut().now_or_never().is_none());
        advance(&clock, SECOND * 9).await;
        sleep.as_mut().reset(SECOND * 10);
        advance(&clock, SECOND * 9).await;
        assert!(sleep.as_mut().now_or_never().is_none(), "{clock:?}: the first deadline is replaced");
        advance(&clock, SECOND).await;
        assert!(sleep.as_mut().now_or_never().is_some(), "{clock:?}");
        sleep.as_mut().reset(SECOND);
        assert!(sleep.as_mut().now_or_never().is_none(), "{clock:?}: a resolved sleep starts again");
        advance(&clock, SECOND).await;
        assert!(sleep.as_mut().now_or_never().is_some(), "{clock:?}");
        sleep.as_mut().reset(Duration::MAX);
        assert!(sleep.as_mut().now_or_never().is_none(), "{clock:?}: {:?}", Duration::MAX);
    }
}

#[tokio::test]
async fn a_sleep_that_was_reset_wakes_its_task_at_the_new_time() {
    let clock = Clock::manual(Duration::ZERO);
    let mut sleep = Box::pin(clock.sleep(Duration::from_secs(1)));
    assert!(sleep.as_mut().now_or_never().is_none());
    sleep.as_mut().reset(Duration::from_secs(10));
    let sleeper = tokio::spawn(sleep);
    tokio::task::yield_now().await;
    clock.advance(Duration::from_secs(9));
    tokio::task::yield_now().await;
    assert!(!sleeper.is_finished());
    clock.advance(Duration::from_secs(1));
    sleeper.await.unwrap();
}

#[test]
fn a_timeout_on_a_manual_clock_needs_no_runtime() {
    let clock = Clock::manual(Duration::ZERO);
    let limit = Duration::from_secs(2);
    assert_eq!(clock.timeout(limit, async { 7 }).now_or_never(), Some(Ok(7)));
    let mut pending = Box::pin(clock.timeout(limit, std::future::pending::<()>()));
    assert!(pending.as_mut().now_or_never().is_none());
    clock.advance(limit);
    let elapsed = pending.now_or_never().unwrap().unwrap_err();
    assert_eq!((elapsed.limit(), elapsed.to_string().as_str()), (limit, "not completed within 2 s"));
}

#[tokio::test(start_paused = true)]
async fn a_timeout_on_the_system_clock_resolves_at_its_limit() {
    let (clock, limit) = (Clock::system(), Duration::from_secs(2));
    let started = clock.now();
    assert!(clock.timeout(limit, std::future::pending::<()>()).await.is_err());
    assert_eq!(clock.now() - started, limit);
    let at_the_limit = clock.sleep(limit);
    assert_eq!(clock.timeout(limit, at_the_limit).await, Ok(()), "the future is polled before the timer");
    assert_eq!(clock.timeout(Duration::ZERO, async { 7 }).await, Ok(7));
    assert_eq!(clock.timeout(Duration::MAX, async { 7 }).await, Ok(7));
}
