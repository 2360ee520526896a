//! The interleavings of the lock-free parts, up to three preemptions, by loom. The files are those of the library, compiled here once more
//! with loom's atomics in place of the standard ones: `crate::sync` is the door. A program and not a test of libtest,
//! so that the tests in those files, which know nothing of loom, do not run here.
#![allow(clippy::unwrap_used, clippy::expect_used, dead_code, unused_imports, unreachable_pub, missing_docs)]

mod sync {
    pub(crate) use loom::sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU32, AtomicU64, Ordering},
    };
    pub(crate) use std::sync::PoisonError;
}

pub(crate) use comms_core::{
    Error, ErrorKind,
    clock::{self, Clock},
    telemetry,
};

#[path = "../../src/resilience"]
mod resilience {
    pub(crate) use rejection::{Guard, Rejection};

    pub(crate) mod breaker;
    pub(crate) mod budget;
    mod config;
    mod name;
    #[path = "../../src/error/rejection.rs"]
    mod rejection;
    #[path = "bulkhead/seats.rs"]
    pub(crate) mod seats;
}

use std::{
    future::poll_fn,
    task::{Context, Poll},
    time::Duration,
};

use loom::{future::block_on, thread};
use resilience::{
    breaker::{Breaker, BreakerConfig, BreakerState},
    budget::{RetryBudget, RetryBudgetConfig},
    seats::Seats,
};
use sync::Arc;

fn main() {
    let models: [(&str, fn()); 11] = [
        ("breaker: failures on two threads are both counted", failures_are_counted),
        ("breaker: a late success does not close what a failure opened", late_success),
        ("breaker: a late failure does not end a probe that it knows nothing of", late_failure),
        ("breaker: one probe of two callers", one_probe),
        ("breaker: a probe that is dropped is free again", dropped_probe),
        ("breaker: a forced state is not undone by a result", forced),
        ("budget: one token is taken once", one_token),
        ("budget: a deposit is not lost in a withdrawal", deposit),
        ("bulkhead: a seat that comes free wakes who waits", wakes),
        ("bulkhead: who gives up leaves nothing behind", gives_up),
        ("bulkhead: never more than the limit, also while it grows", grows),
    ];
    for (name, model) in models {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(3);
        builder.check(model);
        println!("loom: {name} ... ok");
    }
}

fn breaker(change: impl FnOnce(&mut BreakerConfig)) -> (Breaker, Clock) {
    let clock = Clock::manual(Duration::ZERO);
    let mut config = BreakerConfig { jitter: 0.0, ..BreakerConfig::default() };
    change(&mut config);
    (Breaker::new("b", config, clock.clone()).unwrap(), clock)
}

/// Runs both at once.
fn both(one: impl FnOnce() + 'static, other: impl FnOnce()) {
    let thread = thread::spawn(one);
    other();
    thread.join().unwrap();
}

fn failures_are_counted() {
    let (breaker, _) = breaker(|c| c.failure_threshold = 2);
    let other = breaker.clone();
    both(move || other.acquire().unwrap().failure(), || breaker.acquire().unwrap().failure());
    assert_eq!(breaker.state(), BreakerState::Open);
    assert!(breaker.acquire().is_err());
}

fn late_success() {
    let (breaker, _) = breaker(|c| c.failure_threshold = 1);
    let (late, other) = (breaker.acquire().unwrap(), breaker.clone());
    both(move || other.acquire().unwrap().failure(), || late.success());
    assert_eq!(breaker.state(), BreakerState::Open);
    assert!(breaker.acquire().is_err());
}

fn late_failure() {
    let (breaker, clock) = breaker(|c| c.failure_threshold = 2);
    breaker.acquire().unwrap().failure();
    let (late, other) = (breaker.acquire().unwrap(), breaker.clone());
    let opens_and_probes = move || {
        other.acquire().into_iter().for_each(|permit| permit.failure());
        clock.advance(Duration::from_secs(60));
        std::mem::forget(other.acquire());
    };
    // Before the opening it opens, or counts; after it, nothing.
    both(opens_and_probes, || late.failure());
    assert_eq!(breaker.state(), BreakerState::HalfOpen);
}

fn one_probe() {
    let (breaker, clock) = breaker(|c| (c.failure_threshold, c.success_threshold) = (1, 1));
    breaker.acquire().unwrap().failure();
    clock.advance(Duration::from_secs(60));
    let passed = Arc::new(sync::AtomicU32::new(0));
    let (other, count) = (breaker.clone(), passed.clone());
    // Forgotten, not dropped: a probe that is under way when the other comes.
    let pass = |breaker: &Breaker, passed: &sync::AtomicU32| {
        if let Ok(permit) = breaker.acquire() {
            passed.fetch_add(1, sync::Ordering::Relaxed);
            std::mem::forget(permit);
        }
    };
    both(move || pass(&other, &count), || pass(&breaker, &passed));
    assert_eq!(passed.load(sync::Ordering::Relaxed), 1, "both from open to half-open, and one probe");
    assert!(breaker.acquire().is_err());
}

fn dropped_probe() {
    let (breaker, clock) = breaker(|c| (c.failure_threshold, c.success_threshold) = (1, 1));
    breaker.acquire().unwrap().failure();
    clock.advance(Duration::from_secs(60));
    let (probe, other) = (breaker.acquire().unwrap(), breaker.clone());
    both(move || drop(other.acquire()), || drop(probe));
    assert_eq!(breaker.state(), BreakerState::HalfOpen);
    breaker.acquire().expect("a probe that was dropped is free again").success();
    assert_eq!(breaker.state(), BreakerState::Closed);
    breaker.acquire().unwrap().success();
}

fn forced() {
    let (breaker, _) = breaker(|c| c.failure_threshold = 1);
    let (late, other) = (breaker.acquire().unwrap(), breaker.clone());
    both(move || other.force_closed(), || late.failure());
    assert_eq!(breaker.state(), BreakerState::ForcedClosed);
    assert!(breaker.acquire().is_ok());
}

fn budget() -> RetryBudget {
    let config = RetryBudgetConfig { ratio: 0.5, min_per_second: 0, ..RetryBudgetConfig::default() };
    RetryBudget::new(&config, Clock::manual(Duration::ZERO)).unwrap()
}

fn one_token() {
    let (budget, taken) = (budget(), Arc::new(sync::AtomicU32::new(0)));
    let (other, count) = (budget.clone(), taken.clone());
    let take = |budget: &RetryBudget, taken: &sync::AtomicU32| {
        taken.fetch_add(u32::from(budget.try_withdraw()), sync::Ordering::Relaxed);
    };
    both(move || take(&other, &count), || take(&budget, &taken));
    assert_eq!(taken.load(sync::Ordering::Relaxed), 1);
}

fn deposit() {
    let budget = budget();
    assert!(budget.try_withdraw());
    budget.deposit();
    let (other, taken) = (budget.clone(), Arc::new(sync::AtomicU32::new(0)));
    let count = taken.clone();
    let take = move || _ = count.fetch_add(u32::from(other.try_withdraw()), sync::Ordering::Relaxed);
    both(take, || budget.deposit());
    // Two halves are one: taken by the withdrawal that came after, or still there.
    let left = u32::from(budget.try_withdraw());
    assert_eq!(taken.load(sync::Ordering::Relaxed) + left, 1);
    assert!(!budget.try_withdraw());
}

async fn sit(seats: &Seats) {
    let mut ticket = None;
    poll_fn(|cx| match &ticket {
        Some(ticket) => seats.poll(ticket, cx),
        None => {
            ticket = seats.queue_up(cx).unwrap();
            if ticket.is_none() { Poll::Ready(()) } else { Poll::Pending }
        }
    })
    .await;
}

fn wakes() {
    let seats = Arc::new(Seats::new(1, 10));
    assert!(seats.try_take());
    let other = seats.clone();
    // Without its wake-up the other thread would sleep for ever, which loom reports.
    let waits = move || {
        block_on(sit(&other));
        other.leave();
    };
    both(waits, || seats.leave());
    assert_eq!(seats.counts(), (0, 0, 1));
}

fn gives_up() {
    let seats = Arc::new(Seats::new(1, 10));
    assert!(seats.try_take());
    let other = seats.clone();
    let impatient = move || {
        let waker = futures_util::task::noop_waker();
        let cx = Context::from_waker(&waker);
        match other.queue_up(&cx).unwrap() {
            Some(ticket) => other.give_up(&ticket),
            None => other.leave(),
        }
    };
    both(impatient, || seats.leave());
    assert_eq!(seats.counts(), (0, 0, 1));
    assert!(seats.try_take());
}

fn grows() {
    let seats = Arc::new(Seats::new(1, 10));
    assert!(seats.try_take());
    let other = seats.clone();
    both(move || block_on(sit(&other)), || seats.resize(2, 10));
    assert_eq!(seats.counts(), (2, 0, 2));
    assert!(!seats.try_take());
}
