//! The adaptive limit: against a model of a server, and with arbitrary samples.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

const MILLIS: Duration = Duration::from_millis(1);

/// A server that serves `capacity` requests at once in `base`; further ones queue, so that all take longer. Each step
/// offers `offered` requests, and completes those that the shedder admits.
fn serve(shedder: &Shedder, clock: &Clock, capacity: u32, base: Duration, offered: u32, steps: u32) {
    for _ in 0..steps {
        let admitted: Vec<_> =
            (0..offered).map_while(|_| shedder.try_acquire(Priority::Critical).ok()).collect();
        let queueing = f64::max(1.0, admitted.len() as f64 / f64::from(capacity));
        clock.advance(base.mul_f64(queueing));
        admitted.into_iter().for_each(ShedPermit::success);
    }
}

fn adaptive(change: impl FnOnce(AdaptiveLimitConfig) -> AdaptiveLimitConfig) -> (Shedder, Clock) {
    let clock = Clock::manual(Duration::ZERO);
    let limit = ShedLimit::Adaptive(change(AdaptiveLimitConfig::default().window(10 * MILLIS)));
    (Shedder::new("s", ShedConfig::default().limit(limit), clock.clone()).unwrap(), clock)
}

#[test]
fn the_limit_grows_while_requests_do_not_queue_and_stops_where_they_do() {
    let (shedder, clock) = adaptive(|c| c.max(1_000));
    serve(&shedder, &clock, 100, 10 * MILLIS, 1_000, 300);
    let limit = shedder.limit();
    assert!((100..=200).contains(&limit), "the server has a capacity of 100, and the limit is {limit}");
    serve(&shedder, &clock, 100, 10 * MILLIS, 1_000, 2_400);
    let limit = shedder.limit();
    assert!((100..=400).contains(&limit), "after ten minutes of overload at the default window: {limit}");
}

#[test]
fn the_limit_shrinks_when_the_server_becomes_slower_and_recovers_with_it() {
    let (shedder, clock) = adaptive(|c| c.max(1_000));
    serve(&shedder, &clock, 100, 10 * MILLIS, 1_000, 300);
    let before = shedder.limit();
    serve(&shedder, &clock, 25, 10 * MILLIS, 1_000, 40);
    let slow = shedder.limit();
    assert!(slow < before / 2, "{before} -> {slow}");
    serve(&shedder, &clock, 100, 10 * MILLIS, 1_000, 300);
    assert!(shedder.limit() > slow + 20, "{slow} -> {}", shedder.limit());
}

#[test]
fn a_limit_that_is_not_used_does_not_grow() {
    let (shedder, clock) = adaptive(|c| c);
    serve(&shedder, &clock, 1_000, 10 * MILLIS, 9, 500);
    assert_eq!(shedder.limit(), 20);
}

#[test]
fn overload_shrinks_the_limit_once_per_window_and_never_below_the_minimum() {
    let (shedder, clock) = adaptive(|c| c.initial(100).min(10));
    let overload = |permits: usize| {
        let held: Vec<_> = (0..permits).map(|_| shedder.try_acquire(Priority::Critical).unwrap()).collect();
        clock.advance(10 * MILLIS);
        held.into_iter().for_each(ShedPermit::overloaded);
    };
    // The first ten samples complete a window; the others begin the next one.
    overload(19);
    assert_eq!(shedder.limit(), 90);
    for _ in 0..200 {
        overload(10);
    }
    assert_eq!(shedder.limit(), 10);
    assert_eq!(fill(&shedder, Priority::Critical).len(), 10);
}

#[test]
fn cancelled_requests_and_other_errors_are_no_samples() {
    let (shedder, clock) = adaptive(|c| c.initial(100).min_samples(1));
    let end = |finish: &dyn Fn(ShedPermit)| {
        let permit = shedder.try_acquire(Priority::Standard).unwrap();
        clock.advance(20 * MILLIS);
        finish(permit);
        (shedder.limit(), shedder.snapshot().average_micros)
    };
    assert_eq!(end(&|permit| drop(permit)), (100, None));
    assert_eq!(end(&|permit| permit.result::<()>(&Err(Error::not_found("x")))), (100, None));
    assert_eq!(end(&|permit| permit.result::<()>(&Err(Error::indeterminate("x")))), (100, None));
    let open = Error::from(Rejection::new("peer", Guard::Breaker, None));
    assert_eq!(end(&|permit| permit.result::<()>(&Err(Error::rejected("busy", None)))), (90, None));
    let rejected = |guard| Err(Error::from(Rejection::new("peer", guard, None)));
    assert_eq!(end(&|permit| permit.result::<()>(&rejected(Guard::Timeout))), (81, None));
    assert_eq!(end(&|permit| permit.result::<()>(&rejected(Guard::RateLimit))), (81, None));
    assert_eq!(open.kind, crate::ErrorKind::Rejected);
    assert_eq!(end(&|permit| permit.result::<()>(&rejected(Guard::Breaker))), (81, None));
    assert_eq!(end(&|permit| permit.result(&Ok(()))), (81, Some(20_000)));
}

#[test]
fn a_limit_that_becomes_fixed_ignores_the_samples_of_requests_in_flight() {
    let (shedder, clock) = adaptive(|c| c.min_samples(1));
    let permit = shedder.try_acquire(Priority::Standard).unwrap();
    shedder.configure(ShedConfig::fixed(5)).unwrap();
    clock.advance(20 * MILLIS);
    permit.overloaded();
    assert_eq!((shedder.limit(), shedder.in_flight().total()), (5, 0));
    shedder.configure(ShedConfig::adaptive()).unwrap();
    assert_eq!(shedder.limit(), 20);
}

proptest! {
    #[test]
    fn the_limit_stays_within_its_bounds_for_any_samples(
        min in 1u32..50, span in 0u32..100, seed in 0u32..100,
        samples in prop::collection::vec((0u64..10_000_000, 0u32..300, any::<bool>(), 0u64..400), 0..300)
    ) {
        let (max, start) = (min + span, Clock::manual(Duration::ZERO).now());
        let config = AdaptiveLimitConfig::default().min(min).max(max).initial(min + seed % (span + 1)).min_samples(1);
        let (mut gradient, mut now) = (Gradient::new(config, start), start);
        for (micros, in_flight, overloaded, step) in samples {
            now += Duration::from_millis(step);
            let duration = Duration::from_micros(micros);
            gradient.add(now, Sample { duration, in_flight, overloaded });
            prop_assert!((min..=max).contains(&gradient.limit()), "{}", gradient.limit());
        }
    }
}
