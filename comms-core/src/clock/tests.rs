use super::*;

#[test]
fn writes_dates_as_rfc_3339_has_them() {
    assert_eq!(rfc3339(Duration::ZERO), "1970-01-01T00:00:00.000Z");
    assert_eq!(rfc3339(Duration::from_millis(951_782_400_123)), "2000-02-29T00:00:00.123Z");
    assert_eq!(rfc3339(Duration::from_secs(1_763_708_399)), "2025-11-21T06:59:59.000Z");
    assert_eq!(rfc3339(Duration::MAX), "9999-12-31T23:59:59.999Z");
}

#[test]
fn a_manual_clock_moves_only_when_told() {
    let clock = Clock::manual(Duration::from_secs(100));
    let before = clock.now();
    clock.advance(Duration::from_secs(5));
    assert_eq!(clock.now() - before, Duration::from_secs(5));
    assert_eq!(clock.unix_millis(), 105_000);
}

#[tokio::test]
async fn a_sleep_on_a_manual_clock_ends_when_the_clock_is_moved_past_it() {
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
async fn a_limit_holds_for_work_that_never_lets_go() {
    let (sender, mut receiver) = tokio::sync::mpsc::channel(1);
    let feed = sender.clone();
    sender.try_send(()).unwrap();
    let busy = async {
        // Always something there: only tokio's budget makes it pause.
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
async fn the_system_clock_stands_still_with_tokio() {
    let clock = Clock::system();
    let before = clock.now();
    clock.sleep(Duration::from_secs(3600)).await;
    assert_eq!(clock.now() - before, Duration::from_secs(3600));
}

#[test]
fn randomness_repeats_by_seed_and_differs_without() {
    let seeded = |seed| Clock::seeded(Duration::ZERO, seed).random::<16>();
    assert_eq!(seeded(7), seeded(7));
    assert_ne!(seeded(7), seeded(8));
    let system = Clock::system();
    assert_ne!(system.random::<16>(), system.random::<16>());
    let other = std::thread::spawn(|| Clock::system().random::<16>()).join().unwrap();
    assert_ne!(system.random::<16>(), other);
}

#[test]
fn identifiers_sort_as_they_were_made_also_when_the_clock_stands() {
    let clock = Clock::manual(Duration::from_millis(1_700_000_000_000));
    let ids: Vec<_> = (0..10_000).map(|_| clock.uuid_v7()).collect();
    assert!(ids.is_sorted());
    let first = ids[0];
    assert_eq!((first.get_version_num(), first.get_variant()), (7, uuid::Variant::RFC4122));
    assert_eq!(first.get_timestamp().unwrap().to_unix(), (1_700_000_000, 0));
}
