//! Model checks of the lock-free parts with loom: all interleavings with up to three preemptions.
//!
//! This program compiles the files of the library again, with a `crate::sync` of loom's primitives. It is a program
//! without libtest, because the tests in those files must not run on loom's primitives.
#![allow(clippy::unwrap_used, clippy::expect_used, dead_code, unused_imports, unreachable_pub, missing_docs)]

mod sync {
    pub(crate) use loom::sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence},
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
    #[path = "bulkhead/semaphore.rs"]
    pub(crate) mod semaphore;
}

#[path = "../../src/transport/budget/room.rs"]
mod room;
#[path = "../../src/transport/worker/wakeups.rs"]
mod wakeups;

use std::{
    collections::VecDeque,
    future::poll_fn,
    task::{Context, Poll, Wake},
    time::Duration,
};

use loom::{future::block_on, thread};
use resilience::{
    breaker::{Breaker, BreakerConfig, BreakerState},
    budget::{RetryBudget, RetryBudgetConfig},
    semaphore::{Counts, Semaphore},
};
use room::{Room, Share, Usage};
use sync::Arc;
use wakeups::{Wakeup, Wakeups};

fn main() {
    let models: [(&str, fn()); 15] = [
        ("breaker: failures on two threads are both counted", concurrent_failures),
        ("breaker: a late success does not close what a failure opened", late_success),
        ("breaker: a late failure does not end a probe of a later generation", late_failure),
        ("breaker: one of two callers is admitted as the probe", one_probe),
        ("breaker: a dropped probe frees its slot", dropped_probe),
        ("breaker: a result does not change a forced state", forced),
        ("budget: a token is withdrawn once", one_token),
        ("budget: a concurrent withdrawal does not lose a deposit", deposit),
        ("bulkhead: a released permit wakes the waiter", release_wakes),
        ("bulkhead: a cancelled waiter leaks no permit", cancel),
        ("bulkhead: the limit holds while it is raised", resize),
        ("room: a record that leaves wakes the worker that was refused", leaving_record_wakes),
        ("room: a worker that is dropped wakes the others, and returns its room", dropped_worker_wakes),
        (
            "wake-ups: the task of a set is woken for each wake-up that it did not take",
            wake_up_wakes_the_task,
        ),
        ("wake-ups: a wake-up during a poll is not lost", wake_up_during_a_poll),
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

/// Runs both functions concurrently.
fn both(one: impl FnOnce() + 'static, other: impl FnOnce()) {
    let thread = thread::spawn(one);
    other();
    thread.join().unwrap();
}

fn concurrent_failures() {
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
    let open_and_probe = move || {
        other.acquire().into_iter().for_each(|permit| permit.failure());
        clock.advance(Duration::from_secs(60));
        std::mem::forget(other.acquire());
    };
    // Before the opening, the late failure counts and may open the breaker. After it, the failure is ignored.
    both(open_and_probe, || late.failure());
    assert_eq!(breaker.state(), BreakerState::HalfOpen);
}

fn one_probe() {
    let (breaker, clock) = breaker(|c| (c.failure_threshold, c.success_threshold) = (1, 1));
    breaker.acquire().unwrap().failure();
    clock.advance(Duration::from_secs(60));
    let admitted = Arc::new(sync::AtomicU32::new(0));
    let (other, count) = (breaker.clone(), admitted.clone());
    // The permit is forgotten, not dropped: the probe stays in flight.
    let acquire = |breaker: &Breaker, admitted: &sync::AtomicU32| {
        if let Ok(permit) = breaker.acquire() {
            admitted.fetch_add(1, sync::Ordering::Relaxed);
            std::mem::forget(permit);
        }
    };
    both(move || acquire(&other, &count), || acquire(&breaker, &admitted));
    assert_eq!(admitted.load(sync::Ordering::Relaxed), 1);
    assert!(breaker.acquire().is_err());
}

fn dropped_probe() {
    let (breaker, clock) = breaker(|c| (c.failure_threshold, c.success_threshold) = (1, 1));
    breaker.acquire().unwrap().failure();
    clock.advance(Duration::from_secs(60));
    let (probe, other) = (breaker.acquire().unwrap(), breaker.clone());
    both(move || drop(other.acquire()), || drop(probe));
    assert_eq!(breaker.state(), BreakerState::HalfOpen);
    breaker.acquire().expect("the slot of the dropped probe is free").success();
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
    // Two deposits of a half are one token: withdrawn after the second deposit, or still in the budget.
    let left = u32::from(budget.try_withdraw());
    assert_eq!(taken.load(sync::Ordering::Relaxed) + left, 1);
    assert!(!budget.try_withdraw());
}

async fn acquire(semaphore: &Semaphore) {
    let mut waiter = None;
    poll_fn(|cx| match &waiter {
        Some(waiter) => semaphore.poll(waiter, cx),
        None => {
            waiter = semaphore.enqueue(cx).unwrap();
            if waiter.is_none() { Poll::Ready(()) } else { Poll::Pending }
        }
    })
    .await;
}

fn release_wakes() {
    let semaphore = Arc::new(Semaphore::new(1, 10));
    assert!(semaphore.try_acquire());
    let other = semaphore.clone();
    // Without its wake-up the other thread would sleep for ever, which loom reports.
    let acquire_and_release = move || {
        block_on(acquire(&other));
        other.release();
    };
    both(acquire_and_release, || semaphore.release());
    assert_eq!(semaphore.counts(), Counts { in_use: 0, queued: 0, max_permits: 1 });
}

fn cancel() {
    let semaphore = Arc::new(Semaphore::new(1, 10));
    assert!(semaphore.try_acquire());
    let other = semaphore.clone();
    let enqueue_and_cancel = move || {
        let waker = futures_util::task::noop_waker();
        let cx = Context::from_waker(&waker);
        match other.enqueue(&cx).unwrap() {
            Some(waiter) => other.cancel(&waiter),
            None => other.release(),
        }
    };
    both(enqueue_and_cancel, || semaphore.release());
    assert_eq!(semaphore.counts(), Counts { in_use: 0, queued: 0, max_permits: 1 });
    assert!(semaphore.try_acquire());
}

fn resize() {
    let semaphore = Arc::new(Semaphore::new(1, 10));
    assert!(semaphore.try_acquire());
    let other = semaphore.clone();
    both(move || block_on(acquire(&other)), || semaphore.resize(2, 10));
    assert_eq!(semaphore.counts(), Counts { in_use: 2, queued: 0, max_permits: 2 });
    assert!(!semaphore.try_acquire());
}

/// Returns the shares of two workers that hold a record each, which is all of the room.
fn full_workers() -> (Arc<Room>, Share, Share) {
    let room = Room::new(Usage { records: 2, bytes: 100 });
    let (mut one, mut other) = (Share::new(room.clone()), Share::new(room.clone()));
    one.add(1);
    other.add(1);
    (room, one, other)
}

/// A lost wake-up is a deadlock, which loom reports.
fn wait_for_room(share: &mut Share) {
    block_on(poll_fn(|cx| match share.room_or_wake(cx.waker()) {
        true => Poll::Ready(()),
        false => Poll::Pending,
    }));
}

fn leaving_record_wakes() {
    let (room, mut one, mut other) = full_workers();
    both(
        move || {
            one.remove(1);
            drop(one);
        },
        || wait_for_room(&mut other),
    );
    assert_eq!(room.used(), Usage { records: 1, bytes: 1 });
}

fn dropped_worker_wakes() {
    let (room, one, mut other) = full_workers();
    both(move || drop(one), || wait_for_room(&mut other));
    drop(other);
    assert_eq!(room.used(), Usage::default());
}

/// Takes the futures that were woken until `ends` returns `true` for one.
fn take_until(wakeups: &Wakeups, mut ends: impl FnMut(u32) -> bool) {
    let mut taken = VecDeque::new();
    block_on(poll_fn(|cx| {
        wakeups.take(&mut taken);
        while let Some(number) = taken.pop_front() {
            if ends(number) {
                return Poll::Ready(());
            }
        }
        if wakeups.woken_or_wake(cx.waker()) {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }));
}

fn wake_up_wakes_the_task() {
    let wakeups = Arc::new(Wakeups::default());
    let [one, other] = [1, 2].map(|number| std::sync::Arc::new(Wakeup::new(number, wakeups.clone())));
    let mut numbers = Vec::new();
    let take = || {
        take_until(&wakeups, |number| {
            numbers.push(number);
            numbers.len() == 2
        });
    };
    both(move || [one, other].into_iter().for_each(Wake::wake), take);
    assert_eq!(numbers, [1, 2]);
}

fn wake_up_during_a_poll() {
    let (wakeups, state) = (Arc::new(Wakeups::default()), Arc::new(sync::AtomicU32::new(0)));
    let wakeup = std::sync::Arc::new(Wakeup::new(1, wakeups.clone()));
    let (other, changed) = (wakeup.clone(), state.clone());
    let wake_twice = move || {
        for value in 1..=2 {
            changed.store(value, sync::Ordering::Relaxed);
            other.wake_by_ref();
        }
    };
    // The second wake-up may find the future in the queue. The poll after it must see the second value.
    let poll = || {
        take_until(&wakeups, |_| {
            wakeup.reset();
            state.load(sync::Ordering::Relaxed) == 2
        });
    };
    both(wake_twice, poll);
}
