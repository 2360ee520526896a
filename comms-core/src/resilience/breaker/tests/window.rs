//! Failure and slow-call rates.

use super::*;

fn windowed(window: WindowConfig) -> (Breaker, Clock) {
    make(|config| (config.failure_threshold, config.window) = (0, Some(window)))
}

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
fn rates_are_not_evaluated_below_min_calls() {
    let (breaker, _) = windowed(WindowConfig::time(Duration::from_secs(10)));
    fail(&breaker, 19);
    assert_eq!(breaker.state(), BreakerState::Closed);
    succeed(&breaker, 1);
    assert_eq!(
        breaker.state(),
        BreakerState::Open,
        "the twentieth call opens the breaker although it succeeds"
    );
}

#[test]
fn a_time_window_slides_by_buckets() {
    let (breaker, clock) = windowed(WindowConfig::time(Duration::from_secs(10)));
    succeed(&breaker, 15);
    for second in 1..=9 {
        clock.advance(Duration::from_secs(1));
        fail(&breaker, 1);
        assert_eq!(breaker.snapshot().calls, 15 + second, "every call is still in the window");
    }
    clock.advance(Duration::from_secs(1));
    fail(&breaker, 1);
    assert_eq!(
        breaker.snapshot().calls,
        10,
        "after ten seconds the successes of the first second are dropped"
    );
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
fn slow_calls_open_the_breaker_even_if_they_succeed() {
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
    assert_eq!(breaker.snapshot().slow, 1, "only a call longer than the limit is slow");
    let permit = breaker.acquire().unwrap();
    clock.advance(Duration::from_secs(2));
    permit.success();
    assert_eq!(breaker.state(), BreakerState::Open);

    clock.advance(OPEN);
    let probe = breaker.acquire().unwrap();
    clock.advance(Duration::from_secs(2));
    probe.success();
    assert_eq!(breaker.state(), BreakerState::Open, "a slow probe opens the breaker again");
}
