//! The adaptive limit: against a model of a server, and with arbitrary samples.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::resilience::shed::gradient::Outcome;

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
fn a_few_overloads_among_many_requests_do_not_shrink_the_limit() {
    let (shedder, clock) = adaptive(|c| c.initial(100).min_samples(30));
    let window = |overloads: usize| {
        for n in 0..30 {
            let permit = shedder.try_acquire(Priority::Critical).unwrap();
            clock.advance(MILLIS);
            if n < overloads { permit.overloaded() } else { permit.success() }
        }
        shedder.limit()
    };
    assert_eq!([window(1), window(2), window(3)], [100, 100, 90]);
}

/// Batch requests may use two of ten permits, and would never have half of all permits in flight.
#[test]
fn the_limit_grows_under_the_load_of_any_priority() {
    let clock = Clock::manual(Duration::ZERO);
    let adaptive = AdaptiveLimitConfig::default().initial(10).window(10 * MILLIS).min_samples(1);
    let config =
        ShedConfig::default().limit(ShedLimit::Adaptive(adaptive)).batch_share(0.2).standard_share(0.4);
    for priority in [Batch, Standard, Critical] {
        let shedder = Shedder::new("s", config.clone(), clock.clone()).unwrap();
        for _ in 0..100 {
            let held = fill(&shedder, priority);
            clock.advance(10 * MILLIS);
            held.into_iter().for_each(ShedPermit::success);
        }
        assert!(shedder.limit() > 50, "{priority:?}: {}", shedder.limit());
    }
}

#[test]
fn errors_other_than_an_overload_of_this_process_do_not_shrink_the_limit() {
    let (shedder, clock) = adaptive(|c| c.initial(100).min_samples(1));
    let end = |finish: &dyn Fn(ShedPermit)| {
        let permit = shedder.try_acquire(Priority::Standard).unwrap();
        clock.advance(20 * MILLIS);
        finish(permit);
        (shedder.limit(), shedder.snapshot().average_micros)
    };
    let rejected = |guard| Err(Error::from(Rejection::new("peer", guard, None)));
    assert_eq!(end(&|permit| drop(permit)), (100, None));
    for error in [Error::not_found("x"), Error::indeterminate("x"), Error::rejected("a quota", None)] {
        let failure: Result<(), _> = Err(error);
        assert_eq!(end(&|permit| permit.result(&failure)), (100, None), "{failure:?}");
    }
    for guard in [Guard::RateLimit, Guard::Breaker, Guard::Unready, Guard::Deadline, Guard::Timeout] {
        assert_eq!(end(&|permit| permit.result::<()>(&rejected(guard))), (100, None), "{guard:?}");
    }
    assert_eq!(end(&|permit| permit.result::<()>(&rejected(Guard::Bulkhead))), (90, None));
    assert_eq!(end(&|permit| permit.result::<()>(&rejected(Guard::Shed))), (81, None));
    assert_eq!(end(&|permit| permit.result(&Ok(()))), (81, Some(20_000)));
}

/// A caller cannot shrink the limit by short deadlines, and a handler that hangs shrinks it.
#[test]
fn a_time_limit_counts_only_above_the_usual_duration() {
    let (shedder, clock) = adaptive(|c| c.initial(100).min_samples(1));
    let end = |permits: usize, finish: &dyn Fn(ShedPermit)| {
        for _ in 0..20 {
            let held: Vec<_> =
                (0..permits).map_while(|_| shedder.try_acquire(Priority::Critical).ok()).collect();
            clock.advance(10 * MILLIS);
            held.into_iter().for_each(finish);
        }
        shedder.limit()
    };
    let usual = end(90, &|permit| permit.success());
    assert!(usual > 100, "{usual}");
    for short in [Duration::ZERO, MILLIS, 10 * MILLIS] {
        assert_eq!(end(90, &|permit| permit.timed_out_in(short)), usual, "{short:?}");
    }
    let average = shedder.snapshot().average_micros;
    assert!(end(90, &|permit| permit.timed_out_in(30_000 * MILLIS)) < usual / 2);
    assert_eq!(shedder.snapshot().average_micros, average, "a handler that hangs is not the usual case");
}

/// No request succeeds from the start, so there is no average to compare with.
#[test]
fn an_overload_at_the_start_shrinks_the_limit_before_the_first_success() {
    let (shedder, clock) = adaptive(|c| c.initial(100).min_samples(10));
    let time_out = |permits: usize, windows: usize, limit: Duration| {
        for _ in 0..windows {
            let held: Vec<_> =
                (0..permits).map_while(|_| shedder.try_acquire(Priority::Critical).ok()).collect();
            clock.advance(30 * MILLIS);
            held.into_iter().for_each(|permit| permit.timed_out_in(limit));
        }
        shedder.limit()
    };
    assert_eq!(time_out(90, 20, 10 * MILLIS), 100, "callers in haste");
    assert_eq!(time_out(20, 20, 30 * MILLIS), 100, "few requests that hang");
    assert_eq!(time_out(90, 1, 30 * MILLIS), 90);
    assert_eq!(time_out(90, 40, 30 * MILLIS), 10);
    assert_eq!(shedder.snapshot().average_micros, None, "a request that hangs is not the usual case");
    serve(&shedder, &clock, 100, 10 * MILLIS, 1_000, 100);
    assert!(shedder.limit() > 50, "{}", shedder.limit());
}

#[test]
fn a_success_at_the_start_is_the_average_and_not_the_requests_that_hang() {
    let (shedder, clock) = adaptive(|c| c.initial(10).min_samples(10));
    let held = fill(&shedder, Critical);
    clock.advance(500 * MILLIS);
    for (n, permit) in held.into_iter().enumerate() {
        if n == 0 { permit.success_in(20 * MILLIS) } else { permit.timed_out_in(500 * MILLIS) }
    }
    assert_eq!((shedder.limit(), shedder.snapshot().average_micros), (10, Some(20_000)));
}

#[test]
fn a_duration_without_the_time_of_the_peer_is_the_sample() {
    let (shedder, clock) = adaptive(|c| c.min_samples(1));
    let permit = shedder.try_acquire(Priority::Standard).unwrap();
    clock.advance(500 * MILLIS);
    permit.success_in(20 * MILLIS);
    assert_eq!(shedder.snapshot().average_micros, Some(20_000));
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
        samples in prop::collection::vec((0u64..10_000_000, any::<bool>(), 0usize..3, 0u64..400), 0..300)
    ) {
        let (max, start) = (min + span, Clock::manual(Duration::ZERO).now());
        let config = AdaptiveLimitConfig::default().min(min).max(max).initial(min + seed % (span + 1)).min_samples(1);
        let (mut gradient, mut now) = (Gradient::new(config, start), start);
        for (micros, saturated, outcome, step) in samples {
            now += Duration::from_millis(step);
            let duration = Duration::from_micros(micros);
            let outcome = [Outcome::Served, Outcome::TimedOut, Outcome::Overloaded][outcome];
            gradient.add(now, Sample { duration, saturated, outcome });
            prop_assert!((min..=max).contains(&gradient.limit()), "{}", gradient.limit());
        }
    }
}
