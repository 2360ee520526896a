//! The guards allocate nothing, neither when they permit a call nor when they refuse one. A worker allocates once for a
//! record whose handler ends at once, and a few times for a batch of any size.
//!
//! A program without libtest (`harness = false`), because the counter counts the allocations of the whole process, and
//! libtest's main thread allocates while a test runs.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::{alloc::System, time::Duration};

use comms_core::{
    Delivery, Error, Message, MessageParts, Outcome, batch_fn,
    clock::Clock,
    context::{Context, Deadline, Priority},
    handler_fn,
    resilience::{
        Breaker, BreakerConfig, BulkheadConfig, ByKind, Guard, Hedge, HedgeConfig, OutlierConfig,
        OutlierDetector, Policy, PolicyConfig, RateLimitConfig, RateLimiter, RetryBudget, RetryBudgetConfig,
        ShedConfig, Shedder, WindowConfig, WindowKind,
    },
    transport::{AttemptConfig, BoxBatchHandler, BoxHandler, Frontier, Processor, Worker, WorkerConfig},
};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tower::{Layer, Service, ServiceExt, service_fn};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const TIMES: u64 = 1_000;

fn main() {
    a_policy_allocates_nothing();
    a_rate_limiter_allocates_nothing();
    a_window_allocates_nothing();
    a_shedder_allocates_nothing();
    an_outlier_detector_allocates_nothing_for_a_call();
    the_first_attempt_of_a_hedged_call_allocates_nothing();
    a_record_in_a_worker_is_one_allocation();
    a_batch_in_a_worker_is_a_few_allocations();
    let counted = allocations(|| drop(std::hint::black_box(Box::new(1))));
    assert_eq!(counted, TIMES as usize, "the allocator counts every allocation");
    println!("allocations: ok");
}

/// Returns the allocations and reallocations of `TIMES` runs of `work`.
fn allocations(mut work: impl FnMut()) -> usize {
    work(); // metric handles and thread locals are created at their first use
    let region = Region::new(ALLOCATOR);
    for _ in 0..TIMES {
        work();
    }
    let change = region.change();
    change.allocations + change.reallocations
}

fn a_policy_allocates_nothing() {
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
        "the policy as a layer"
    );
    assert_eq!(
        allocations(|| assert_eq!(runtime.block_on(policy.run(|| async { Ok(7) })).unwrap(), 7)),
        0,
        "the policy around a function"
    );

    let mut full = PolicyConfig::none();
    full.bulkhead = Some(BulkheadConfig::new(1));
    let full = Policy::new("full", full).unwrap();
    let bulkhead = full.bulkhead().unwrap();
    let _permit = bulkhead.try_acquire().unwrap();
    let refused = || runtime.block_on(full.run(|| async { Ok(()) })).unwrap_err();
    assert_eq!(allocations(|| assert!(refused().rejection().is_some())), 0, "a full bulkhead");

    policy.breaker().unwrap().force_open();
    let refused = || runtime.block_on(policy.run(|| async { Ok(()) })).unwrap_err();
    assert_eq!(allocations(|| assert!(refused().rejection().is_some())), 0, "a breaker that was forced open");

    let breaker = policy.breaker().unwrap();
    breaker.reset();
    (0..5).for_each(|_| breaker.acquire().unwrap().failure());
    assert_eq!(allocations(|| assert!(refused().retry_after.is_some())), 0, "a breaker that failures opened");

    let late = Context::default().with_deadline(Deadline::after(Duration::ZERO, &Clock::system()));
    let refused = || {
        runtime.block_on(late.clone().scope(full.run(|| async { Ok(()) }))).unwrap_err().rejection().copied()
    };
    assert_eq!(allocations(|| assert_eq!(refused().unwrap().guard, Guard::Deadline)), 0, "a passed deadline");
}

fn a_rate_limiter_allocates_nothing() {
    let rate = RateLimitConfig::new(1, Duration::from_secs(3_600));
    let limiter = RateLimiter::new("l", &rate, Clock::system()).unwrap();
    limiter.check().unwrap();
    assert_eq!(allocations(|| assert!(limiter.check().is_err())), 0, "an exhausted rate limit");
}

fn a_shedder_allocates_nothing() {
    for config in [ShedConfig::fixed(10), ShedConfig::adaptive()] {
        let shedder = Shedder::new("s", config, Clock::system()).unwrap();
        let admit = || shedder.try_acquire(Priority::Standard).unwrap().success();
        assert_eq!(allocations(admit), 0, "an admitted request");
        let _held: Vec<_> = (0..6).map(|_| shedder.try_acquire(Priority::Critical).unwrap()).collect();
        let _rest: Vec<_> = std::iter::from_fn(|| shedder.try_acquire(Priority::Batch).ok()).collect();
        let shed = || assert!(shedder.try_acquire(Priority::Batch).unwrap_err().retry_after.is_some());
        assert_eq!(allocations(shed), 0, "a shed request");
    }
}

fn an_outlier_detector_allocates_nothing_for_a_call() {
    let config = OutlierConfig::default().consecutive_failures(5);
    let detector = OutlierDetector::new("d", config, Clock::system()).unwrap();
    let (failing, _other) = (detector.add("a"), detector.add("b"));
    let call = || {
        failing.record(false);
        failing.record(true);
        assert!(!failing.is_ejected());
    };
    assert_eq!(allocations(call), 0);
}

fn the_first_attempt_of_a_hedged_call_allocates_nothing() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let budget = RetryBudget::new(&RetryBudgetConfig::default(), Clock::system()).unwrap();
    let hedge = Hedge::new("h", HedgeConfig::default(), budget, Clock::system()).unwrap();
    let answer = service_fn(|n: u64| std::future::ready(Ok::<_, Error>(n)));
    let mut service = hedge.layer(ByKind::idempotent()).layer(answer);
    let mut call = || {
        assert_eq!(runtime.block_on(async { service.ready().await?.call(7).await }).unwrap(), 7);
    };
    // The timer of a call exists once the percentile has enough samples.
    (0..200).for_each(|_| call());
    assert!(hedge.snapshot().delay_micros.is_some());
    assert_eq!(allocations(call), 0);
}

/// A window that stored calls without a bound would have to grow.
fn a_window_allocates_nothing() {
    for kind in [WindowKind::Calls(100), WindowKind::Time(Duration::from_secs(3_600))] {
        let config = BreakerConfig::default().window(WindowConfig::default().kind(kind));
        let breaker = Breaker::new("b", config, Clock::system()).unwrap();
        (0..200).for_each(|_| breaker.acquire().unwrap().success());
        let succeed = || (0..100).for_each(|_| breaker.acquire().unwrap().success());
        assert_eq!(allocations(succeed), 0, "a window of {kind:?} over 100,000 calls");
    }
}

/// The allocation is that of the attempt: the service, the future and the delivery in one box.
fn a_record_in_a_worker_is_one_allocation() {
    let handler = handler_fn(|delivery: Delivery| async move {
        std::hint::black_box(&delivery);
        Ok(Outcome::Done)
    });
    let clock = Clock::manual(Duration::ZERO);
    let processor = Processor::new(BoxHandler::new(handler), AttemptConfig::default(), clock, "test");
    let (mut worker, mut frontier) = (Worker::new(processor, WorkerConfig::default()), Frontier::default());
    let parts =
        MessageParts { topic: "orders", key: Some(b"order-7"), payload: Some(b"{}"), ..Default::default() };
    let delivery = Delivery::new(Message::new(parts), "billing");
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    let mut push = || {
        let ticket = frontier.deliver(7);
        let settled = worker.push(delivery.clone(), ticket, &mut cx).expect("the handler ends at once");
        frontier.complete(settled.tag);
    };
    // The buffers of the metrics grow to the size of a chunk.
    (0..2 * TIMES).for_each(|_| push());
    let counted = allocations(push);
    assert_eq!(counted, TIMES as usize, "one allocation per record");
    worker.flush();
}

/// The allocations are those of the attempt, of the batch, of the deliveries for the handler, and of its results.
fn a_batch_in_a_worker_is_a_few_allocations() {
    let handler = batch_fn(|batch: Vec<Delivery>| async move {
        Ok(std::hint::black_box(&batch).iter().map(|_| Ok(Outcome::Done)).collect())
    });
    let clock = Clock::manual(Duration::ZERO);
    let processor = Processor::new(BoxBatchHandler::new(handler), AttemptConfig::default(), clock, "test");
    let mut worker = Worker::new(processor, WorkerConfig::default());
    let parts = MessageParts { topic: "orders", key: Some(b"order-7"), ..Default::default() };
    let delivery = Delivery::new(Message::new(parts), "billing");
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    let mut chunk = || {
        (0..500).for_each(|tag| assert!(worker.push(delivery.clone(), tag, &mut cx).is_none()));
        let mut settled = 0;
        while worker.poll_settled(&mut cx).map(|settled| settled.is_some()) == std::task::Poll::Ready(true) {
            settled += 1;
        }
        worker.flush();
        assert_eq!(settled, 500);
    };
    assert_eq!(allocations(&mut chunk), 4 * TIMES as usize, "per batch of 500 records");
}
