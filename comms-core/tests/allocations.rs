//! What the guards allocate: nothing, on the happy path and when they refuse a call. One test, because the counter is
//! that of the whole process.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::{alloc::System, time::Duration};

use comms_core::{
    Error,
    clock::Clock,
    context::{Context, Deadline},
    resilience::{
        Breaker, BreakerConfig, BulkheadConfig, Guard, Policy, PolicyConfig, RateLimitConfig, RateLimiter,
        WindowConfig, WindowKind,
    },
};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tower::{Layer, Service, ServiceExt, service_fn};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const TIMES: u64 = 1_000;

fn allocations(mut work: impl FnMut()) -> usize {
    work(); // what is made once: handles, thread locals
    let region = Region::new(ALLOCATOR);
    for _ in 0..TIMES {
        work();
    }
    let change = region.change();
    change.allocations + change.reallocations
}

#[test]
fn guards_allocate_nothing() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let mut config = PolicyConfig::background();
    config.timeout = Some(Duration::from_secs(10));
    let policy = Policy::new("p", config).unwrap();
    let mut service = policy.layer().layer(service_fn(|n: u64| std::future::ready(Ok::<_, Error>(n))));
    assert_eq!(
        allocations(|| assert_eq!(
            runtime.block_on(async { service.ready().await?.call(7).await }).unwrap(),
            7
        )),
        0,
        "the whole stack as a layer"
    );
    assert_eq!(
        allocations(|| assert_eq!(runtime.block_on(policy.run(|| async { Ok(7) })).unwrap(), 7)),
        0,
        "around a function"
    );

    let mut full = PolicyConfig::none();
    full.bulkhead = Some(BulkheadConfig::new(1));
    let full = Policy::new("full", full).unwrap();
    let bulkhead = full.bulkhead().unwrap();
    let _seat = bulkhead.try_acquire().unwrap();
    let refused = || runtime.block_on(full.run(|| async { Ok(()) })).unwrap_err();
    assert_eq!(allocations(|| assert!(refused().rejection().is_some())), 0, "a full bulkhead");

    policy.breaker().unwrap().force_open();
    let refused = || runtime.block_on(policy.run(|| async { Ok(()) })).unwrap_err();
    assert_eq!(allocations(|| assert!(refused().rejection().is_some())), 0, "an open breaker");

    let breaker = policy.breaker().unwrap();
    breaker.reset();
    (0..5).for_each(|_| breaker.acquire().unwrap().failure());
    assert_eq!(allocations(|| assert!(refused().retry_after.is_some())), 0, "one that opened by itself");

    let late = Context::default().with_deadline(Deadline::after(Duration::ZERO, &Clock::system()));
    let refused = || {
        runtime.block_on(late.clone().scope(full.run(|| async { Ok(()) }))).unwrap_err().rejection().copied()
    };
    assert_eq!(allocations(|| assert_eq!(refused().unwrap().guard, Guard::Deadline)), 0, "a passed deadline");

    let rate = RateLimitConfig::new(1, Duration::from_secs(3_600));
    let limiter = RateLimiter::new("l", &rate, Clock::system()).unwrap();
    limiter.check().unwrap();
    assert_eq!(allocations(|| assert!(limiter.check().is_err())), 0, "a rate that is used up");

    for over in [WindowKind::Calls(100), WindowKind::Time(Duration::from_secs(3_600))] {
        let mut window = WindowConfig::default();
        window.kind = over;
        let mut config = BreakerConfig::default();
        config.window = Some(window);
        let breaker = Breaker::new("b", config, Clock::system()).unwrap();
        (0..200).for_each(|_| breaker.acquire().unwrap().success());
        // A log of calls that is scanned or trimmed would have to grow.
        let pass = || (0..100).for_each(|_| breaker.acquire().unwrap().success());
        assert_eq!(allocations(pass), 0, "a window of {over:?} that slides over 100,000 calls");
    }

    let counted = allocations(|| drop(std::hint::black_box(Box::new(1))));
    assert_eq!(counted, TIMES as usize, "the counter counts");
}
