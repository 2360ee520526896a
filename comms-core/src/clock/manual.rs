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
    pub(super) last_ordinal: AtomicU64,
    state: Mutex<State>,
}

struct State {
    generator: Xoshiro256PlusPlus,
    /// The deadlines and wakers of pending sleeps. An entry of a dropped or reset sleep stays until its deadline and
    /// then causes one spurious wake-up.
    sleepers: Vec<(Instant, Waker)>,
}

impl Manual {
    #[expect(clippy::disallowed_methods, reason = "an Instant can be obtained only from the system clock")]
    pub(super) fn new(unix_start: Duration, seed: u64) -> Self {
        Self {
            start: Instant::now(),
            unix_start,
            elapsed_nanos: AtomicU64::new(0),
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
            state.sleepers.extract_if(.., |(until, _)| *until <= now).map(|(_, waker)| waker).collect()
        };
        due.into_iter().for_each(Waker::wake);
    }

    pub(super) fn poll_sleep(&self, until: Instant, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        // Read the time under the lock: an `advance` between the check and the registration would wake no sleep.
        if until <= self.now() {
            return Poll::Ready(());
        }
        if !state.sleepers.iter().any(|(at, waker)| *at == until && waker.will_wake(cx.waker())) {
            state.sleepers.push((until, cx.waker().clone()));
        }
        Poll::Pending
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
