//! A manual clock and a seeded random source, for tests.

use rand_xoshiro::{
    Xoshiro256PlusPlus,
    rand_core::{Rng, SeedableRng},
};
use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

pub(super) struct Manual {
    start: Instant,
    unix_start: Duration,
    elapsed_nanos: AtomicU64,
    /// The number of sleeps that were created.
    sleeps: AtomicU64,
    pub(super) last_ordinal: AtomicU64,
    state: Mutex<State>,
}

struct State {
    generator: Xoshiro256PlusPlus,
    sleepers: Vec<Sleeper>,
}

/// A pending sleep that was polled.
struct Sleeper {
    id: u64,
    until: Instant,
    waker: Waker,
}

impl Manual {
    #[expect(clippy::disallowed_methods, reason = "an Instant can be obtained only from the system clock")]
    pub(super) fn new(unix_start: Duration, seed: u64) -> Self {
        Self {
            start: Instant::now(),
            unix_start,
            elapsed_nanos: AtomicU64::new(0),
            sleeps: AtomicU64::new(0),
            last_ordinal: AtomicU64::new(0),
            state: Mutex::new(State {
                generator: Xoshiro256PlusPlus::seed_from_u64(seed),
                sleepers: Vec::new(),
            }),
        }
    }

    fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.elapsed_nanos.load(Ordering::SeqCst))
    }

    pub(super) fn now(&self) -> Instant {
        self.start + self.elapsed()
    }

    pub(super) fn unix(&self) -> Duration {
        self.unix_start + self.elapsed()
    }

    pub(super) fn fill(&self, bytes: &mut [u8]) {
        self.lock().generator.fill_bytes(bytes);
    }

    /// Moves the clock forward and wakes the sleeps whose deadline has passed.
    pub(super) fn advance(&self, by: Duration) {
        let nanos = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        let due: Vec<Waker> = {
            let mut state = self.lock();
            let elapsed = self.elapsed_nanos.load(Ordering::SeqCst).saturating_add(nanos);
            self.elapsed_nanos.store(elapsed, Ordering::SeqCst);
            let now = self.now();
            state.sleepers.extract_if(.., |one| one.until <= now).map(|one| one.waker).collect()
        };
        due.into_iter().for_each(Waker::wake);
    }

    /// Returns the id of a new sleep.
    pub(super) fn new_sleep(&self) -> u64 {
        self.sleeps.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn poll_sleep(&self, id: u64, until: Instant, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        // Read the time under the lock: an `advance` between the check and the registration would wake no sleep.
        if until <= self.now() {
            return Poll::Ready(());
        }
        match state.sleepers.iter_mut().find(|one| one.id == id) {
            Some(one) => {
                one.until = until;
                one.waker.clone_from(cx.waker());
            }
            None => state.sleepers.push(Sleeper { id, until, waker: cx.waker().clone() }),
        }
        Poll::Pending
    }

    /// Removes a sleep that was dropped.
    pub(super) fn end_sleep(&self, id: u64) {
        let removed = {
            let mut state = self.lock();
            let index = state.sleepers.iter().position(|one| one.id == id);
            index.map(|index| state.sleepers.swap_remove(index))
        };
        // Without the lock: the drop of a waker may drop a task, and a sleep of this clock with it.
        drop(removed);
    }

    /// Returns the number of sleeps that end at `at`.
    #[cfg(any(test, feature = "testing"))]
    pub(super) fn sleeps_until(&self, at: Instant) -> usize {
        self.lock().sleepers.iter().filter(|one| one.until == at).count()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
