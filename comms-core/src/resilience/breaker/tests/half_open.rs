//! The probes of the half-open state.

use std::sync::mpsc;

use super::*;

/// Returns an open breaker whose open duration has passed.
fn ready_to_probe() -> (Breaker, Clock) {
    let (breaker, clock) = make(|_| {});
    fail(&breaker, 5);
    clock.advance(OPEN);
    (breaker, clock)
}

#[test]
fn half_open_permits_only_half_open_max_calls() {
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
fn a_dropped_probe_frees_its_slot() {
    let (breaker, _) = ready_to_probe();
    for _ in 0..100 {
        drop(breaker.acquire().expect("the slot of the dropped probe is free"));
    }
    assert_eq!(breaker.state(), BreakerState::HalfOpen, "a dropped probe is neither a success nor a failure");
    succeed(&breaker, 2);
    assert_eq!(breaker.state(), BreakerState::Closed);
}

#[test]
fn probes_are_abandoned_after_60_s_at_the_earliest() {
    let (breaker, clock) = make(|config| config.open_duration = Duration::from_secs(2));
    fail(&breaker, 5);
    clock.advance(Duration::from_secs(2));
    let probe = breaker.acquire().unwrap();
    clock.advance(Duration::from_secs(59));
    assert!(breaker.acquire().is_err(), "the probe is still in flight");
    probe.failure();
    assert_eq!(breaker.state(), BreakerState::Open);
}

#[test]
fn a_probe_without_a_result_is_abandoned() {
    let (breaker, clock) = ready_to_probe();
    let lost = breaker.acquire().unwrap();
    assert!(breaker.acquire().is_err());
    clock.advance(OPEN - Duration::from_millis(1));
    assert!(breaker.acquire().is_err());
    clock.advance(Duration::from_millis(1));
    let probe = breaker.acquire().expect("the next call is a new probe");
    lost.failure();
    assert_eq!(breaker.state(), BreakerState::HalfOpen, "the abandoned probe no longer counts");
    probe.success();
    succeed(&breaker, 1);
    assert_eq!(breaker.state(), BreakerState::Closed);
}
