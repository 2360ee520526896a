//! A fair counting semaphore. Without contention, acquire and release are one atomic operation each.
//!
//! One word holds the number of queued waiters above the number of permits in use. The waiters are in a queue under a
//! lock, and their number changes only under that lock. A release either sees that no waiter is queued and decrements
//! the permits in use in the same atomic operation, or takes the lock and grants its permit to the first waiter.

use std::{
    collections::VecDeque,
    task::{Context, Poll, Waker},
};

use crate::sync::{AtomicU32, AtomicU64, Mutex, MutexGuard, Ordering, PoisonError};

/// One queued waiter, in the upper half of the word.
const ONE_QUEUED: u64 = 1 << 32;

const fn in_use(word: u64) -> u32 {
    word as u32
}

const fn queued(word: u64) -> u32 {
    (word >> 32) as u32
}

#[derive(Debug)]
pub(crate) struct Semaphore {
    word: AtomicU64,
    max_permits: AtomicU32,
    max_queued: AtomicU32,
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    /// Sorted by the waiter's number, which only grows. A waiter that is not in the queue holds a permit.
    waiters: VecDeque<(u64, Waker)>,
    next_waiter: u64,
}

/// A place in the queue. Pass it to [`Semaphore::poll`] until that is ready, or to [`Semaphore::cancel`].
#[derive(Debug)]
pub(crate) struct Waiter(u64);

/// The error of [`Semaphore::enqueue`]: the queue has no free place.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct QueueFull;

/// The permits in use, the queued waiters and the maximum of permits.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) in_use: u32,
    pub(crate) queued: u32,
    pub(crate) max_permits: u32,
}

impl Semaphore {
    pub(crate) fn new(max_permits: u32, max_queued: u32) -> Self {
        Self {
            word: AtomicU64::new(0),
            max_permits: AtomicU32::new(max_permits),
            max_queued: AtomicU32::new(max_queued),
            queue: Mutex::default(),
        }
    }

    /// Acquires a permit if one is free and no waiter is queued.
    #[inline]
    pub(crate) fn try_acquire(&self) -> bool {
        let max_permits = self.max_permits.load(Ordering::Relaxed);
        let mut word = self.word.load(Ordering::Relaxed);
        while queued(word) == 0 && in_use(word) < max_permits {
            match self.word.compare_exchange_weak(word, word + 1, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(newer) => word = newer,
            }
        }
        false
    }

    /// Acquires a permit (`None`), or joins the queue.
    pub(crate) fn enqueue(&self, cx: &Context<'_>) -> Result<Option<Waiter>, QueueFull> {
        let mut queue = self.lock();
        loop {
            // Check again under the lock: from here on no other thread changes the number of waiters.
            if self.try_acquire() {
                return Ok(None);
            }
            let word = self.word.load(Ordering::Relaxed);
            if queued(word) >= self.max_queued.load(Ordering::Relaxed) {
                return Err(QueueFull);
            }
            let free = queued(word) == 0 && in_use(word) < self.max_permits.load(Ordering::Relaxed);
            let joined = word + ONE_QUEUED;
            if !free && self.word.compare_exchange(word, joined, Ordering::Relaxed, Ordering::Relaxed).is_ok()
            {
                let waiter = queue.next_waiter;
                queue.next_waiter += 1;
                queue.waiters.push_back((waiter, cx.waker().clone()));
                return Ok(Some(Waiter(waiter)));
            }
        }
    }

    /// Resolves when the waiter holds a permit. The waiter must not be used afterwards.
    pub(crate) fn poll(&self, waiter: &Waiter, cx: &Context<'_>) -> Poll<()> {
        let mut queue = self.lock();
        match queue.position(waiter) {
            Some(position) => {
                queue.waiters[position].1.clone_from(cx.waker());
                Poll::Pending
            }
            None => Poll::Ready(()),
        }
    }

    /// Removes the waiter from the queue, or releases the permit that was granted to it in the meantime.
    pub(crate) fn cancel(&self, waiter: &Waiter) {
        let mut queue = self.lock();
        match queue.position(waiter) {
            Some(position) => {
                queue.waiters.remove(position);
                self.word.fetch_sub(ONE_QUEUED, Ordering::Relaxed);
            }
            None => {
                drop(queue);
                self.release();
            }
        }
    }

    /// Releases a permit, and grants it to the first waiter if one is queued.
    #[inline]
    pub(crate) fn release(&self) {
        let mut word = self.word.load(Ordering::Relaxed);
        while queued(word) == 0 {
            match self.word.compare_exchange_weak(word, word - 1, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(newer) => word = newer,
            }
        }
        let mut queue = self.lock();
        self.word.fetch_sub(1, Ordering::Release);
        let granted = self.grant_first(&mut queue);
        drop(queue);
        granted.into_iter().for_each(Waker::wake);
    }

    /// Grants a free permit to the first waiter and returns its waker, to be woken after the lock is released.
    fn grant_first(&self, queue: &mut Queue) -> Option<Waker> {
        let max_permits = self.max_permits.load(Ordering::Relaxed);
        let mut word = self.word.load(Ordering::Relaxed);
        while queued(word) > 0 && in_use(word) < max_permits {
            let next = word - ONE_QUEUED + 1;
            match self.word.compare_exchange_weak(word, next, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return queue.waiters.pop_front().map(|(_, waker)| waker),
                Err(newer) => word = newer,
            }
        }
        None
    }

    /// Changes the limits. Permits in use stay valid; waiters receive the permits that become free.
    pub(crate) fn resize(&self, max_permits: u32, max_queued: u32) {
        let mut queue = self.lock();
        self.max_permits.store(max_permits, Ordering::Relaxed);
        self.max_queued.store(max_queued, Ordering::Relaxed);
        let granted: Vec<Waker> = std::iter::from_fn(|| self.grant_first(&mut queue)).collect();
        drop(queue);
        granted.into_iter().for_each(Waker::wake);
    }

    pub(crate) fn counts(&self) -> Counts {
        let word = self.word.load(Ordering::Relaxed);
        let max_permits = self.max_permits.load(Ordering::Relaxed);
        Counts { in_use: in_use(word), queued: queued(word), max_permits }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn position(&self, waiter: &Waiter) -> Option<usize> {
        self.waiters.binary_search_by_key(&waiter.0, |(number, _)| *number).ok()
    }
}
