//! The breaker without a policy: closed, open, and shared by threads.

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
    let mut config = BreakerConfig::default().open_duration(HOUR);
    if window.is_some() {
        config = config.failure_threshold(0).window(window);
    }
    Breaker::new("b", config, Clock::system()).unwrap()
}

fn window_of(kind: WindowKind) -> Option<WindowConfig> {
    Some(WindowConfig::default().kind(kind))
}

fn recloser() -> Recloser {
    Recloser::custom().error_rate(0.5).closed_len(100).half_open_len(10).open_wait(HOUR).build()
}

fn failsafe() -> impl failsafe::CircuitBreaker + Clone + Send + Sync + 'static {
    let policy = failure_policy::consecutive_failures(5, backoff::constant(HOUR));
    failsafe::Config::new().failure_policy(policy).build()
}

fn succeed(breaker: &Breaker) {
    let permit = breaker.acquire().unwrap();
    let result = black_box(Ok::<_, Error>(1));
    permit.result(&result);
}

pub(crate) fn closed() -> Group {
    let (recloser, failsafe) = (recloser(), failsafe());
    let policy = Policy::new("p", PolicyConfig::none().breaker(BreakerConfig::default())).unwrap();
    let peer = CircuitBreakerLayer::builder().name("c").consecutive_failures(5).build().unwrap();
    let peer = ServiceBuilder::new()
        .layer(peer)
        .service(service_fn(|n: u64| std::future::ready(Ok::<_, String>(n))));
    let echo = service_fn(|n: u64| std::future::ready(Ok::<_, Error>(n)));
    let (consecutive, calls) = (ours(None), ours(window_of(WindowKind::Calls(100))));
    let time = ours(window_of(WindowKind::Time(Duration::from_secs(10))));
    Group::new("breaker without a policy, closed: a successful call")
        .add("recloser, 100 calls", move || drop(recloser.call(|| black_box(Ok::<_, ()>(1)))))
        .add("failsafe, consecutive", move || drop(failsafe.call(|| black_box(Ok::<_, ()>(1)))))
        .add("comms, consecutive", move || succeed(&consecutive))
        .add("comms, 100 calls", move || succeed(&calls))
        .add("comms, 10 s", move || succeed(&time))
        .add_timed("tower-resilience as a layer, consecutive", drive(peer))
        .add_timed("comms as a layer, consecutive", drive(policy.layer().layer(echo)))
}

/// The cost of a call must not grow with the number of calls in the window.
pub(crate) fn window() -> Group {
    let full = ours(window_of(WindowKind::Time(HOUR)));
    (0..100_000).for_each(|_| succeed(&full));
    let calls = ours(window_of(WindowKind::Calls(100_000)));
    (0..100_000).for_each(|_| succeed(&calls));
    Group::new("breaker with a window, by the number of calls in the window")
        .add_timed("comms, time window, empty before each turn", |times| {
            let empty = ours(window_of(WindowKind::Time(HOUR)));
            let started = Instant::now();
            (0..times.min(5_000)).for_each(|_| succeed(&empty));
            started.elapsed().mul_f64(times as f64 / times.min(5_000) as f64)
        })
        .add("comms, time window, 100,000 calls before", move || succeed(&full))
        .add("comms, count window of 100,000, full", move || succeed(&calls))
}

pub(crate) fn open() -> Group {
    let (recloser, failsafe, breaker) = (recloser(), failsafe(), ours(None));
    (0..200).for_each(|_| drop(recloser.call(|| Err::<(), _>(()))));
    (0..5).for_each(|_| drop(failsafe.call(|| Err::<(), _>(()))));
    (0..5).for_each(|_| breaker.acquire().unwrap().failure());
    assert!(matches!(recloser.call(|| Ok::<_, ()>(())), Err(recloser::Error::Rejected)));
    Group::new("breaker without a policy, open: a rejection")
        .add("recloser", move || drop(black_box(recloser.call(|| Ok::<_, ()>(1)))))
        .add("failsafe", move || drop(black_box(failsafe.call(|| Ok::<_, ()>(1)))))
        .add("comms", move || drop(black_box(breaker.acquire())))
}

/// Runs the operation on `threads` threads at once, the given number of times on each, and returns the elapsed time.
fn on_threads(threads: usize, operation: impl Fn() + Send + Sync + 'static) -> impl FnMut(u64) -> Duration {
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
        let started = Instant::now();
        workers.into_iter().for_each(|worker| worker.join().unwrap());
        started.elapsed()
    }
}

pub(crate) fn threads(threads: usize) -> Group {
    let (recloser, failsafe) = (recloser(), failsafe());
    let (consecutive, calls) = (ours(None), ours(window_of(WindowKind::Calls(100))));
    let time = ours(window_of(WindowKind::Time(Duration::from_secs(10))));
    let title = format!("breaker shared by {threads} threads, closed (time per call of each thread)");
    Group::new(title)
        .long_turns()
        .add_timed(
            "recloser, 100 calls",
            on_threads(threads, move || drop(recloser.call(|| black_box(Ok::<_, ()>(1))))),
        )
        .add_timed(
            "failsafe, consecutive",
            on_threads(threads, move || drop(failsafe.call(|| black_box(Ok::<_, ()>(1))))),
        )
        .add_timed("comms, consecutive", on_threads(threads, move || succeed(&consecutive)))
        .add_timed("comms, 100 calls", on_threads(threads, move || succeed(&calls)))
        .add_timed("comms, 10 s", on_threads(threads, move || succeed(&time)))
}
