//! Time that moves when told, and randomness that repeats.

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
    pub(super) ordinal: AtomicU64,
    state: Mutex<State>,
}

struct State {
    generator: Xoshiro256PlusPlus,
    /// Who sleeps, and until when. A sleeper that is gone is woken once for nothing.
    sleepers: Vec<(Instant, Waker)>,
}

impl Manual {
    #[expect(clippy::disallowed_methods, reason = "an Instant can only be had from the system clock")]
    pub(super) fn new(unix_start: Duration, seed: u64) -> Self {
        Self {
            start: Instant::now(),
            unix_start,
            elapsed_nanos: AtomicU64::new(0),
            ordinal: AtomicU64::new(0),
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
        // Under the lock: an advance in between would wake nobody.
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
