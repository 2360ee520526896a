//! The breaker alone: closed, open, and shared by threads.

use std::{
    hint::black_box,
    sync::{Arc, Barrier},
    time::{Duration, Instant},
};

use comms_core::{
    Error,
    clock::Clock,
    resilience::{Breaker, BreakerConfig, Policy, PolicyConfig, WindowConfig, WindowKind},
};
use failsafe::{CircuitBreaker as _, backoff, failure_policy};
use recloser::Recloser;
use tower::{Layer, ServiceBuilder, service_fn};
use tower_resilience::circuitbreaker::CircuitBreakerLayer;

use crate::{group::Group, stack::drive};

const HOUR: Duration = Duration::from_secs(3_600);

fn ours(window: Option<WindowConfig>) -> Breaker {
    let mut config = BreakerConfig::default();
    config.open_duration = HOUR;
    if window.is_some() {
        (config.failure_threshold, config.window) = (0, window);
    }
    Breaker::new("b", config, Clock::system()).unwrap()
}

fn over(over: WindowKind) -> Option<WindowConfig> {
    let mut config = WindowConfig::default();
    config.kind = over;
    Some(config)
}

fn recloser() -> Recloser {
    Recloser::custom().error_rate(0.5).closed_len(100).half_open_len(10).open_wait(HOUR).build()
}

fn failsafe() -> impl failsafe::CircuitBreaker + Clone + Send + Sync + 'static {
    let policy = failure_policy::consecutive_failures(5, backoff::constant(HOUR));
    failsafe::Config::new().failure_policy(policy).build()
}

fn pass(breaker: &Breaker) {
    let permit = breaker.acquire().unwrap();
    let answer = black_box(Ok::<_, Error>(1));
    permit.result(&answer);
}

pub(crate) fn closed() -> Group {
    let (recloser, failsafe) = (recloser(), failsafe());
    let mut alone = PolicyConfig::none();
    alone.breaker = Some(BreakerConfig::default());
    let policy = Policy::new("p", alone).unwrap();
    let peer = CircuitBreakerLayer::builder().name("c").consecutive_failures(5).build().unwrap();
    let peer = ServiceBuilder::new()
        .layer(peer)
        .service(service_fn(|n: u64| std::future::ready(Ok::<_, String>(n))));
    let echo = service_fn(|n: u64| std::future::ready(Ok::<_, Error>(n)));
    let (consecutive, calls) = (ours(None), ours(over(WindowKind::Calls(100))));
    let time = ours(over(WindowKind::Time(Duration::from_secs(10))));
    Group::new("breaker alone, closed, a call that succeeds")
        .add("recloser, 100 calls", move || drop(recloser.call(|| black_box(Ok::<_, ()>(1)))))
        .add("failsafe, consecutive", move || drop(failsafe.call(|| black_box(Ok::<_, ()>(1)))))
        .add("comms, consecutive", move || pass(&consecutive))
        .add("comms, 100 calls", move || pass(&calls))
        .add("comms, 10 s", move || pass(&time))
        .add_timed("tower-resilience as a layer, consecutive", drive(peer))
        .add_timed("comms as a layer, consecutive", drive(policy.layer().layer(echo)))
}

/// A peer's cost grew from 572 ns to 61 us.
pub(crate) fn window() -> Group {
    let full = ours(over(WindowKind::Time(HOUR)));
    (0..100_000).for_each(|_| pass(&full));
    let calls = ours(over(WindowKind::Calls(100_000)));
    (0..100_000).for_each(|_| pass(&calls));
    Group::new("breaker with a window, by the calls in it")
        .add_timed("comms, time window, none before each turn", |times| {
            let empty = ours(over(WindowKind::Time(HOUR)));
            let begun = Instant::now();
            (0..times.min(5_000)).for_each(|_| pass(&empty));
            begun.elapsed().mul_f64(times as f64 / times.min(5_000) as f64)
        })
        .add("comms, time window, 100,000 calls before", move || pass(&full))
        .add("comms, count window of 100,000, full", move || pass(&calls))
}

pub(crate) fn open() -> Group {
    let (recloser, failsafe, breaker) = (recloser(), failsafe(), ours(None));
    (0..200).for_each(|_| drop(recloser.call(|| Err::<(), _>(()))));
    (0..5).for_each(|_| drop(failsafe.call(|| Err::<(), _>(()))));
    (0..5).for_each(|_| breaker.acquire().unwrap().failure());
    assert!(matches!(recloser.call(|| Ok::<_, ()>(())), Err(recloser::Error::Rejected)));
    Group::new("breaker alone, open: a rejection")
        .add("recloser", move || drop(black_box(recloser.call(|| Ok::<_, ()>(1)))))
        .add("failsafe", move || drop(black_box(failsafe.call(|| Ok::<_, ()>(1)))))
        .add("comms", move || drop(black_box(breaker.acquire())))
}

/// The operation on so many threads at once, each so many times: the time of one call as a thread sees it.
fn together(threads: usize, operation: impl Fn() + Send + Sync + 'static) -> impl FnMut(u64) -> Duration {
    let operation = Arc::new(operation);
    move |times| {
        let barrier = Arc::new(Barrier::new(threads + 1));
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                let (operation, barrier) = (operation.clone(), barrier.clone());
                std::thread::spawn(move || {
                    barrier.wait();
                    (0..times).for_each(|_| operation());
                })
            })
            .collect();
        barrier.wait();
        let begun = Instant::now();
        workers.into_iter().for_each(|worker| worker.join().unwrap());
        begun.elapsed()
    }
}

pub(crate) fn threads(threads: usize) -> Group {
    let (recloser, failsafe) = (recloser(), failsafe());
    let (consecutive, calls) = (ours(None), ours(over(WindowKind::Calls(100))));
    let time = ours(over(WindowKind::Time(Duration::from_secs(10))));
    let title =
        format!("breaker shared by {threads} threads, closed (the time that all need for one call each)");
    Group::new(title)
        .long_turns()
        .add_timed(
            "recloser, 100 calls",
            together(threads, move || drop(recloser.call(|| black_box(Ok::<_, ()>(1))))),
        )
        .add_timed(
            "failsafe, consecutive",
            together(threads, move || drop(failsafe.call(|| black_box(Ok::<_, ()>(1))))),
        )
        .add_timed("comms, consecutive", together(threads, move || pass(&consecutive)))
        .add_timed("comms, 100 calls", together(threads, move || pass(&calls)))
        .add_timed("comms, 10 s", together(threads, move || pass(&time)))
}
