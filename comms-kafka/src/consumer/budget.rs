//! Bounds the records and bytes in the lanes. The poll thread waits here while the bound is reached.

use std::{
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// The records and bytes in the lanes of one consumer.
///
/// The budget is full at the bound, and has room again at 70% of it. Pausing a partition discards its prefetched
/// records, so a consumer at the bound must not pause and resume for every record.
#[derive(Debug)]
pub(super) struct Budget {
    records: usize,
    bytes: usize,
    used: Mutex<Used>,
    opened: Condvar,
}

#[derive(Debug, Default)]
struct Used {
    records: usize,
    bytes: usize,
    full: bool,
}

impl Budget {
    pub(super) fn new(records: usize, bytes: usize) -> Self {
        Self { records, bytes, used: Mutex::default(), opened: Condvar::new() }
    }

    /// Adds a record. It may exceed the bound, because a polled record cannot be returned to the client.
    pub(super) fn enter(&self, size: usize) {
        let mut used = self.lock();
        used.records += 1;
        used.bytes += size;
        used.full = used.full || used.records >= self.records || used.bytes >= self.bytes;
    }

    /// Removes a record.
    pub(super) fn leave(&self, size: usize) {
        let mut used = self.lock();
        used.records -= 1;
        used.bytes -= size;
        if used.full && used.records <= low(self.records) && used.bytes <= low(self.bytes) {
            used.full = false;
            self.opened.notify_one();
        }
    }

    /// Blocks until there is room, for at most `limit`. Returns whether there is room.
    pub(super) fn wait(&self, limit: Duration) -> bool {
        let waited = self.opened.wait_timeout_while(self.lock(), limit, |used| used.full);
        !waited.unwrap_or_else(PoisonError::into_inner).0.full
    }

    fn lock(&self) -> MutexGuard<'_, Used> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the level at which something that was full has room again: 70% of `bound`.
pub(super) const fn low(bound: usize) -> usize {
    bound / 10 * 7 + bound % 10 * 7 / 10
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closes_at_the_bound_and_opens_at_seventy_percent() {
        let budget = Budget::new(10, 1_000);
        (0..9).for_each(|_| budget.enter(1));
        assert!(budget.wait(Duration::ZERO));
        budget.enter(1);
        (0..2).for_each(|_| budget.leave(1));
        assert!(!budget.wait(Duration::ZERO), "8 of 10");
        budget.leave(1);
        assert!(budget.wait(Duration::ZERO), "7 of 10");
        budget.enter(5_000);
        assert!(!budget.wait(Duration::ZERO), "bytes");
        budget.leave(5_000);
        assert!(budget.wait(Duration::ZERO));
    }

    #[test]
    fn a_waiting_thread_is_woken() {
        let budget = Budget::new(1, 1_000);
        budget.enter(1);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| budget.wait(Duration::from_secs(30)));
            budget.leave(1);
            assert!(waiting.join().unwrap());
        });
    }
}
