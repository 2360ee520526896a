//! Rate limits, bulkheads, and reading the clock.

use std::{hint::black_box, num::NonZeroU32, time::Duration};

use comms_core::{
    Error,
    clock::Clock,
    resilience::{
        Bulkhead, BulkheadConfig, KeyedRateLimiter, Policy, PolicyConfig, RateLimitConfig, RateLimiter,
    },
};
use governor::Quota;
use tower::{Layer, limit::ConcurrencyLimitLayer, service_fn, timeout::TimeoutLayer};

use crate::{group::Group, stack::drive};

const KEYS: u64 = 1_000;
/// One call per nanosecond: no call is rejected.
const LIMIT: u32 = 1_000_000_000;

pub(crate) fn clock() -> Group {
    let clock = Clock::system();
    Group::new("the clock")
        .add("std Instant::now", || _ = black_box(std::time::Instant::now()))
        .add("comms Clock::now", move || _ = black_box(clock.now()))
}

pub(crate) fn rate() -> Group {
    let quota = Quota::per_second(NonZeroU32::new(LIMIT).unwrap());
    let peer = governor::RateLimiter::direct(quota);
    let config = RateLimitConfig::new(LIMIT, Duration::from_secs(1));
    let ours = RateLimiter::new("l", &config, Clock::system()).unwrap();
    Group::new("rate limit for all calls")
        .add("governor", move || drop(black_box(peer.check())))
        .add("comms", move || _ = black_box(ours.check()))
}

pub(crate) fn keyed() -> Group {
    let quota = Quota::per_second(NonZeroU32::new(LIMIT).unwrap());
    let peer = governor::RateLimiter::keyed(quota);
    let config = RateLimitConfig::new(LIMIT, Duration::from_secs(1));
    let ours = KeyedRateLimiter::new("l", &config, 100_000, Clock::system()).unwrap();
    let (mut peer_key, mut key) = (0, 0);
    Group::new("rate limit by key, 1,000 keys")
        .add("governor (unbounded map)", move || {
            peer_key = (peer_key + 1) % KEYS;
            drop(black_box(peer.check_key(&peer_key)));
        })
        .add("comms (bounded)", move || {
            key = (key + 1) % KEYS;
            let _ = black_box(ours.check(&key));
        })
}

pub(crate) fn bulkhead() -> Group {
    let semaphore = tokio::sync::Semaphore::new(30);
    let bulkhead = Bulkhead::new("b", &BulkheadConfig::new(30)).unwrap();
    let echo = || service_fn(|n: u64| std::future::ready(Ok::<_, Error>(n)));
    let alone = PolicyConfig::none().bulkhead(BulkheadConfig::new(30));
    let bulkhead_policy = Policy::new("s", alone).unwrap();
    let alone = PolicyConfig::none().timeout(Duration::from_secs(10));
    let timeout_policy = Policy::new("t", alone).unwrap();
    Group::new("a permit, and a deadline")
        .add("tokio semaphore: acquire and release", move || drop(black_box(semaphore.try_acquire())))
        .add("comms bulkhead: acquire and release", move || drop(black_box(bulkhead.try_acquire())))
        .add_timed("tower ConcurrencyLimit as a layer", drive(ConcurrencyLimitLayer::new(30).layer(echo())))
        .add_timed("comms bulkhead as a layer", drive(bulkhead_policy.layer().layer(echo())))
        .add_timed(
            "tower Timeout as a layer",
            drive(TimeoutLayer::new(Duration::from_secs(10)).layer(echo())),
        )
        .add_timed("comms deadline as a layer", drive(timeout_policy.layer().layer(echo())))
}
