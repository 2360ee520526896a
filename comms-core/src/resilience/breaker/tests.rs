use std::sync::{Mutex as StdMutex, mpsc};

use super::*;

const OPEN: Duration = Duration::from_secs(60);

fn make(change: impl FnOnce(&mut BreakerConfig)) -> (Breaker, Clock) {
    let clock = Clock::manual(Duration::ZERO);
    let mut config = BreakerConfig { jitter: 0.0, ..BreakerConfig::default() };
    change(&mut config);
    (Breaker::new("b", config, clock.clone()).unwrap(), clock)
}

fn windowed(window: WindowConfig) -> (Breaker, Clock) {
    make(|config| (config.failure_threshold, config.window) = (0, Some(window)))
}

fn fail(breaker: &Breaker, times: u32) {
    (0..times).for_each(|_| breaker.acquire().unwrap().failure());
}

fn succeed(breaker: &Breaker, times: u32) {
    (0..times).for_each(|_| breaker.acquire().unwrap().success());
}

/// An open breaker whose time is over.
fn due() -> (Breaker, Clock) {
    let (breaker, clock) = make(|_| {});
    fail(&breaker, 5);
    clock.advance(OPEN);
    (breaker, clock)
}

/// Every event in every state, and the state after it.
#[test]
fn the_table_of_states() {
    use BreakerState::{Closed, ForcedClosed, ForcedOpen, HalfOpen, Open};
    type Event = (&'static str, fn(&Breaker, &Clock));
    let events: [Event; 8] = [
        ("success", |b, _| b.acquire().into_iter().for_each(BreakerPermit::success)),
        ("failure", |b, _| b.acquire().into_iter().for_each(BreakerPermit::failure)),
        ("5 failures", |b, _| (0..5).for_each(|_| b.acquire().into_iter().for_each(BreakerPermit::failure))),
        ("cancelled", |b, _| drop(b.acquire())),
        ("60 s and a cancelled call", |b, clock| {
            clock.advance(OPEN);
            drop(b.acquire());
        }),
        ("force open", |b, _| b.force_open()),
        ("force closed", |b, _| b.force_closed()),
        ("reset", |b, _| b.reset()),
    ];
    let table = [
        (Closed, [Closed, Closed, Open, Closed, Closed, ForcedOpen, ForcedClosed, Closed]),
        (Open, [Open, Open, Open, Open, HalfOpen, ForcedOpen, ForcedClosed, Closed]),
        (HalfOpen, [HalfOpen, Open, Open, HalfOpen, HalfOpen, ForcedOpen, ForcedClosed, Closed]),
        (
            ForcedOpen,
            [ForcedOpen, ForcedOpen, ForcedOpen, ForcedOpen, ForcedOpen, ForcedOpen, ForcedClosed, Closed],
        ),
        (
            ForcedClosed,
            [
                ForcedClosed,
                ForcedClosed,
                ForcedClosed,
                ForcedClosed,
                ForcedClosed,
                ForcedOpen,
                ForcedClosed,
                Closed,
            ],
        ),
    ];
    for (from, after) in table {
        for ((name, event), to) in events.iter().zip(after) {
            let (breaker, clock) = make(|_| {});
            match from {
                Closed => {}
                Open => fail(&breaker, 5),
                HalfOpen => {
                    fail(&breaker, 5);
                    clock.advance(OPEN);
                    drop(breaker.acquire());
                }
                ForcedOpen => breaker.force_open(),
                ForcedClosed => breaker.force_closed(),
            }
            assert_eq!(breaker.state(), from);
            event(&breaker, &clock);
            assert_eq!(breaker.state(), to, "{from:?} after {name}");
        }
    }
}

#[test]
fn failures_count_only_in_a_row() {
    let (breaker, _) = make(|_| {});
    for _ in 0..10 {
        fail(&breaker, 4);
        succeed(&breaker, 1);
    }
    assert_eq!(breaker.state(), BreakerState::Closed);
    fail(&breaker, 4);
    drop(breaker.acquire());
    fail(&breaker, 1);
    assert_eq!(breaker.state(), BreakerState::Open, "a cancelled call does not end the row");
}

#[test]
fn an_open_breaker_says_how_long() {
    let (breaker, clock) = make(|_| {});
    fail(&breaker, 5);
    clock.advance(Duration::from_secs(20));
    let rejection = breaker.acquire().unwrap_err();
    assert_eq!((rejection.guard, rejection.retry_after), (Guard::Breaker, Some(Duration::from_secs(40))));
    let snapshot = breaker.snapshot();
    assert_eq!(
        (snapshot.remaining_open_ms, snapshot.consecutive_failures),
        (Some(40_000), 5),
        "and what led to it"
    );
}

/// A window that never slides would still weigh all the old successes.
#[test]
fn a_count_window_forgets_old_successes() {
    let (breaker, _) = windowed(WindowConfig::calls(100));
    succeed(&breaker, 10_000);
    fail(&breaker, 49);
    assert_eq!(breaker.state(), BreakerState::Closed);
    fail(&breaker, 1);
    assert_eq!(breaker.state(), BreakerState::Open);
}

#[test]
fn a_count_window_forgets_old_failures() {
    let (breaker, _) = windowed(WindowConfig::calls(10));
    for _ in 0..1_000 {
        fail(&breaker, 4);
        succeed(&breaker, 6);
    }
    assert_eq!(breaker.state(), BreakerState::Closed);
    assert_eq!((breaker.snapshot().calls, breaker.snapshot().failed), (10, 4));
}

#[test]
fn rates_say_nothing_below_the_least_number_of_calls() {
    let (breaker, _) = windowed(WindowConfig::time(Duration::from_secs(10)));
    fail(&breaker, 19);
    assert_eq!(breaker.state(), BreakerState::Closed);
    succeed(&breaker, 1);
    assert_eq!(breaker.state(), BreakerState::Open, "the twentieth call opens it, also when it succeeds");
}

#[test]
fn a_time_window_slides_by_buckets() {
    let (breaker, clock) = windowed(WindowConfig::time(Duration::from_secs(10)));
    succeed(&breaker, 15);
    for second in 1..=9 {
        clock.advance(Duration::from_secs(1));
        fail(&breaker, 1);
        assert_eq!(breaker.snapshot().calls, 15 + second, "within the window nothing is forgotten");
    }
    clock.advance(Duration::from_secs(1));
    fail(&breaker, 1);
    assert_eq!(breaker.snapshot().calls, 10, "after ten seconds the successes of the first are");
    fail(&breaker, 9);
    assert_eq!(breaker.state(), BreakerState::Closed);
    fail(&breaker, 1);
    assert_eq!(breaker.state(), BreakerState::Open);
}

#[test]
fn a_pause_empties_a_time_window() {
    let (breaker, clock) = windowed(WindowConfig::time(Duration::from_secs(10)));
    for pause in [10, 11, 19, 1_000, 1_000_000_000] {
        fail(&breaker, 19);
        clock.advance(Duration::from_secs(pause));
        succeed(&breaker, 1);
        assert_eq!((breaker.snapshot().calls, breaker.snapshot().failed), (1, 0), "after {pause} s");
        clock.advance(Duration::from_secs(10));
    }
}

#[test]
fn slow_calls_open_it_also_when_they_succeed() {
    let slow = WindowConfig {
        slow_call_duration: Some(Duration::from_secs(1)),
        slow_call_rate_threshold: 0.5,
        ..WindowConfig::calls(4)
    };
    let (breaker, clock) = windowed(slow);
    for took in [999, 1_000, 1_001] {
        let permit = breaker.acquire().unwrap();
        clock.advance(Duration::from_millis(took));
        permit.success();
    }
    assert_eq!(breaker.snapshot().slow, 1, "slow is longer than the limit, not as long");
    let permit = breaker.acquire().unwrap();
    clock.advance(Duration::from_secs(2));
    permit.success();
    assert_eq!(breaker.state(), BreakerState::Open);

    clock.advance(OPEN);
    let probe = breaker.acquire().unwrap();
    clock.advance(Duration::from_secs(2));
    probe.success();
    assert_eq!(breaker.state(), BreakerState::Open, "a slow probe does not close what slowness opened");
}

/// Seven of eight libraries let a late result decide about a state it knows nothing of.
#[test]
fn a_result_from_before_the_opening_changes_nothing() {
    let (breaker, clock) = make(|config| (config.half_open_max_calls, config.success_threshold) = (2, 1));
    let late: Vec<_> = (0..4).map(|_| breaker.acquire().unwrap()).collect();
    fail(&breaker, 5);
    clock.advance(OPEN);
    let probe = breaker.acquire().unwrap();
    let mut late = late.into_iter();
    late.next().unwrap().failure();
    late.next().unwrap().success();
    drop(late.next());
    assert_eq!(breaker.state(), BreakerState::HalfOpen);
    probe.success();
    assert_eq!(breaker.state(), BreakerState::Closed);
    fail(&breaker, 4);
    late.next().unwrap().failure();
    assert_eq!(breaker.state(), BreakerState::Closed, "the fifth in a row was of another time");
}

#[test]
fn half_open_lets_only_its_probes_through() {
    let (breaker, clock) = make(|config| config.half_open_max_calls = 3);
    fail(&breaker, 5);
    clock.advance(OPEN);
    let barrier = std::sync::Barrier::new(64);
    let (sender, receiver) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..64 {
            let (breaker, barrier, sender) = (&breaker, &barrier, sender.clone());
            scope.spawn(move || {
                barrier.wait();
                if let Ok(permit) = breaker.acquire() {
                    sender.send(permit).unwrap();
                }
            });
        }
    });
    drop(sender);
    assert_eq!(receiver.iter().collect::<Vec<_>>().len(), 3);
}

#[test]
fn a_probe_that_was_dropped_is_given_back() {
    let (breaker, _) = due();
    for _ in 0..100 {
        drop(breaker.acquire().expect("the dropped probe is free again"));
    }
    assert_eq!(breaker.state(), BreakerState::HalfOpen, "and counts neither way");
    succeed(&breaker, 2);
    assert_eq!(breaker.state(), BreakerState::Closed);
}

#[test]
fn a_probe_has_a_minute_however_short_the_time_open() {
    let (breaker, clock) = make(|config| config.open_duration = Duration::from_secs(2));
    fail(&breaker, 5);
    clock.advance(Duration::from_secs(2));
    let probe = breaker.acquire().unwrap();
    clock.advance(Duration::from_secs(59));
    assert!(breaker.acquire().is_err(), "its time limit has not ended it yet");
    probe.failure();
    assert_eq!(breaker.state(), BreakerState::Open);
}

#[test]
fn a_probe_that_never_comes_back_is_given_up() {
    let (breaker, clock) = due();
    let lost = breaker.acquire().unwrap();
    assert!(breaker.acquire().is_err());
    clock.advance(OPEN - Duration::from_millis(1));
    assert!(breaker.acquire().is_err());
    clock.advance(Duration::from_millis(1));
    let probe = breaker.acquire().expect("another may try");
    lost.failure();
    assert_eq!(breaker.state(), BreakerState::HalfOpen, "the lost one no longer counts");
    probe.success();
    succeed(&breaker, 1);
    assert_eq!(breaker.state(), BreakerState::Closed);
}

#[test]
fn repeated_openings_last_longer_up_to_the_limit() {
    let (breaker, clock) = make(|config| config.max_open_duration = Some(OPEN * 3));
    fail(&breaker, 5);
    for expected in [60, 120, 180, 180] {
        assert_eq!(breaker.acquire().unwrap_err().retry_after, Some(Duration::from_secs(expected)));
        clock.advance(Duration::from_secs(expected));
        fail(&breaker, 1);
    }
    clock.advance(OPEN * 3);
    succeed(&breaker, 2);
    fail(&breaker, 5);
    assert_eq!(breaker.acquire().unwrap_err().retry_after, Some(OPEN), "closing begins anew");
}

#[test]
fn the_time_open_is_spread_by_the_jitter() {
    let waits: Vec<_> = (0..200)
        .map(|seed| {
            let clock = Clock::seeded(Duration::ZERO, seed);
            let breaker = Breaker::new("b", BreakerConfig::default(), clock).unwrap();
            fail(&breaker, 5);
            breaker.acquire().unwrap_err().retry_after.unwrap().as_secs_f64()
        })
        .collect();
    assert!(waits.iter().all(|wait| (54.0..=66.0).contains(wait)));
    assert!(waits.iter().any(|wait| *wait < 56.0) && waits.iter().any(|wait| *wait > 64.0));
}

#[test]
fn listeners_hear_every_change_and_may_ask_the_breaker() {
    let (breaker, clock) = make(|_| {});
    let heard = Arc::new(StdMutex::new(Vec::new()));
    let (log, asked) = (heard.clone(), breaker.clone());
    breaker.on_transition(move |change| log.lock().unwrap().push((change.from, change.to, asked.state())));
    fail(&breaker, 5);
    clock.advance(OPEN);
    succeed(&breaker, 2);
    breaker.force_open();
    breaker.reset();
    breaker.reset();
    use BreakerState::{Closed, ForcedOpen, HalfOpen, Open};
    let expected =
        [(Closed, Open), (Open, HalfOpen), (HalfOpen, Closed), (Closed, ForcedOpen), (ForcedOpen, Closed)];
    assert_eq!(*heard.lock().unwrap(), expected.map(|(from, to)| (from, to, to)));
}

#[test]
fn other_settings_keep_the_state() {
    let (breaker, clock) = make(|_| {});
    fail(&breaker, 4);
    breaker
        .configure(BreakerConfig { failure_threshold: 6, jitter: 0.0, ..BreakerConfig::default() })
        .unwrap();
    fail(&breaker, 1);
    assert_eq!(breaker.state(), BreakerState::Closed);
    fail(&breaker, 1);
    assert_eq!(breaker.state(), BreakerState::Open);
    breaker
        .configure(BreakerConfig { window: Some(WindowConfig::calls(3)), ..BreakerConfig::default() })
        .unwrap();
    assert_eq!(breaker.state(), BreakerState::Open);
    assert!(breaker.configure(BreakerConfig { half_open_max_calls: 0, ..BreakerConfig::default() }).is_err());
    clock.advance(OPEN);
    succeed(&breaker, 2);
    succeed(&breaker, 2);
    assert_eq!(breaker.snapshot().calls, 2, "a window that was added counts from the closing on");
}

#[test]
fn refuses_what_makes_no_sense() {
    let window = |change: fn(&mut WindowConfig)| {
        let mut window = WindowConfig::default();
        change(&mut window);
        BreakerConfig { window: Some(window), ..BreakerConfig::default() }
    };
    let refused = [
        BreakerConfig { failure_threshold: 0, ..BreakerConfig::default() },
        BreakerConfig { open_duration: Duration::ZERO, ..BreakerConfig::default() },
        BreakerConfig { open_duration: Duration::MAX, ..BreakerConfig::default() },
        BreakerConfig { max_open_duration: Some(Duration::MAX), ..BreakerConfig::default() },
        BreakerConfig { jitter: 1.1, ..BreakerConfig::default() },
        BreakerConfig { half_open_max_calls: 0, ..BreakerConfig::default() },
        BreakerConfig { success_threshold: 0, ..BreakerConfig::default() },
        window(|w| w.failure_rate_threshold = 0.0),
        window(|w| w.slow_call_rate_threshold = f64::NAN),
        window(|w| w.min_calls = 0),
        window(|w| w.kind = WindowKind::Calls(0)),
        window(|w| w.kind = WindowKind::Calls(10)),
        window(|w| w.kind = WindowKind::Time(Duration::from_millis(1))),
    ];
    for config in refused {
        assert!(Breaker::new("b", config.clone(), Clock::system()).is_err(), "{config:?}");
    }
}
