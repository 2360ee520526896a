//! The capacity of a publisher: how many messages and bytes may be in flight, and the callers that wait for capacity.

use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// A number of records and of bytes in flight: the bound, or the part of it in use.
#[derive(Debug, Clone, Copy)]
pub(super) struct InFlight {
    pub(super) records: usize,
    pub(super) bytes: usize,
}

/// The bound on messages without an acknowledgement, and the part of it in use.
#[derive(Debug)]
pub(super) struct Capacity {
    bound: InFlight,
    used: Mutex<InFlight>,
    changed: Notify,
}

impl Capacity {
    pub(super) fn new(bound: InFlight) -> Self {
        Self { bound, used: Mutex::new(InFlight { records: 0, bytes: 0 }), changed: Notify::new() }
    }

    /// Reserves capacity for one message of `size` bytes, and returns whether there was any. The last message may
    /// exceed the bound in bytes, so that this succeeds exactly if [`Capacity::is_available`] returns true. With a
    /// stricter check here a caller would spin between the two functions.
    pub(super) fn try_acquire(&self, size: usize) -> bool {
        let mut used = self.lock();
        if !self.admits(*used) {
            return false;
        }
        *used = InFlight { records: used.records + 1, bytes: used.bytes + size };
        true
    }

    /// Releases the capacity of one message of `size` bytes.
    pub(super) fn release(&self, size: usize) {
        let mut used = self.lock();
        *used = InFlight { records: used.records - 1, bytes: used.bytes - size };
        drop(used);
        self.changed.notify_waiters();
    }

    /// Wakes all waiters, so that they check their condition again.
    pub(super) fn wake_waiters(&self) {
        self.changed.notify_waiters();
    }

    /// Returns whether a message can be taken.
    pub(super) fn is_available(&self) -> bool {
        self.admits(*self.lock())
    }

    /// Returns whether no message is in flight.
    pub(super) fn is_unused(&self) -> bool {
        self.lock().records == 0
    }

    /// Resolves when `condition` returns a value. The condition is checked after each change.
    pub(super) async fn wait_for<T>(&self, mut condition: impl FnMut(&Self) -> Option<T>) -> T {
        loop {
            // Registered before the check, so that a change in between is not missed.
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if let Some(value) = condition(self) {
                return value;
            }
            changed.await;
        }
    }

    const fn admits(&self, used: InFlight) -> bool {
        used.records < self.bound.records && used.bytes < self.bound.bytes
    }

    fn lock(&self) -> MutexGuard<'_, InFlight> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[tokio::test]
    async fn bounds_records_and_bytes_and_wakes_waiters() {
        let capacity = Arc::new(Capacity::new(InFlight { records: 2, bytes: 10 }));
        assert!(capacity.try_acquire(100), "one message may exceed the bound in bytes");
        assert!(!capacity.try_acquire(1) && !capacity.is_available(), "bytes are used up");
        capacity.release(100);
        let taken = [4, 4, 1].map(|size| capacity.try_acquire(size));
        assert_eq!(taken, [true, true, false], "records are used up");
        let waiting = tokio::spawn({
            let capacity = capacity.clone();
            async move { capacity.wait_for(|capacity| capacity.is_available().then_some(())).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        capacity.release(4);
        waiting.await.unwrap();
    }
}
