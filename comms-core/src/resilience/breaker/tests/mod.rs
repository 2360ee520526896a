//! Transitions and settings; `half_open.rs` has the probes, `window.rs` the rates.

mod half_open;
mod window;

use std::sync::Mutex as StdMutex;

use super::*;

const OPEN: Duration = Duration::from_secs(60);

fn make(change: impl FnOnce(&mut BreakerConfig)) -> (Breaker, Clock) {
    let clock = Clock::manual(Duration::ZERO);
    let mut config = BreakerConfig { jitter: 0.0, ..BreakerConfig::default() };
    change(&mut config);
    (Breaker::new("b", config, clock.clone()).unwrap(), clock)
}

fn fail(breaker: &Breaker, times: u32) {
    (0..times).for_each(|_| breaker.acquire().unwrap().failure());
}

fn succeed(breaker: &Breaker, times: u32) {
    (0..times).for_each(|_| breaker.acquire().unwrap().success());
}

#[test]
fn every_event_leads_to_the_expected_state() {
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
fn only_consecutive_failures_open_the_breaker() {
    let (breaker, _) = make(|_| {});
    for _ in 0..10 {
        fail(&breaker, 4);
        succeed(&breaker, 1);
    }
    assert_eq!(breaker.state(), BreakerState::Closed);
    fail(&breaker, 4);
    drop(breaker.acquire());
    fail(&breaker, 1);
    assert_eq!(breaker.state(), BreakerState::Open, "a cancelled call does not reset the count");
}

#[test]
fn an_open_breaker_reports_its_remaining_open_duration() {
    let (breaker, clock) = make(|_| {});
    fail(&breaker, 5);
    clock.advance(Duration::from_secs(20));
    let rejection = breaker.acquire().unwrap_err();
    assert_eq!((rejection.guard, rejection.retry_after), (Guard::Breaker, Some(Duration::from_secs(40))));
    let snapshot = breaker.snapshot();
    assert_eq!(
        (snapshot.remaining_open_ms, snapshot.consecutive_failures),
        (Some(40_000), 5),
        "and the failures that opened it"
    );
}

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
    assert_eq!(breaker.state(), BreakerState::Closed, "a failure of an earlier generation is not the fifth");
}

#[test]
fn repeated_openings_double_up_to_max_open_duration() {
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
    assert_eq!(breaker.acquire().unwrap_err().retry_after, Some(OPEN), "closing resets the open duration");
}

#[test]
fn the_open_duration_varies_by_the_jitter() {
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
fn listeners_receive_every_transition_and_may_call_the_breaker() {
    let (breaker, clock) = make(|_| {});
    let received = Arc::new(StdMutex::new(Vec::new()));
    let (log, queried) = (received.clone(), breaker.clone());
    breaker.on_transition(move |change| log.lock().unwrap().push((change.from, change.to, queried.state())));
    fail(&breaker, 5);
    clock.advance(OPEN);
    succeed(&breaker, 2);
    breaker.force_open();
    breaker.reset();
    breaker.reset();
    use BreakerState::{Closed, ForcedOpen, HalfOpen, Open};
    let expected =
        [(Closed, Open), (Open, HalfOpen), (HalfOpen, Closed), (Closed, ForcedOpen), (ForcedOpen, Closed)];
    assert_eq!(*received.lock().unwrap(), expected.map(|(from, to)| (from, to, to)));
}

#[test]
fn configure_keeps_the_state() {
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
    assert_eq!(
        breaker.snapshot().calls,
        2,
        "a window that was added starts to count when the breaker closes"
    );
}

#[test]
fn invalid_settings_are_rejected() {
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
