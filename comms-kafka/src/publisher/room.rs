//! The publisher's bound: how much may wait for an acknowledgement, and the callers that wait for room.

use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Records and bytes that may be on their way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bound {
    pub(super) records: usize,
    pub(super) bytes: usize,
}

impl Bound {
    const fn admits(self, used: Self) -> bool {
        used.records < self.records && used.bytes < self.bytes
    }
}

#[derive(Debug)]
pub(super) struct Room {
    bound: Bound,
    used: Mutex<Bound>,
    changed: Notify,
}

impl Room {
    pub(super) fn new(bound: Bound) -> Self {
        Self { bound, used: Mutex::new(Bound { records: 0, bytes: 0 }), changed: Notify::new() }
    }

    /// Takes room for one message. The last one may exceed the bound in bytes, so that this succeeds exactly when
    /// [`Room::has_room`] is true; otherwise a caller would spin between the two.
    pub(super) fn take(&self, size: usize) -> bool {
        let mut used = self.lock();
        if !self.bound.admits(*used) {
            return false;
        }
        *used = Bound { records: used.records + 1, bytes: used.bytes + size };
        true
    }

    /// Gives it back.
    pub(super) fn give(&self, size: usize) {
        let mut used = self.lock();
        *used = Bound { records: used.records - 1, bytes: used.bytes - size };
        drop(used);
        self.changed.notify_waiters();
    }

    /// Wakes all waiters, so that they check again.
    pub(super) fn wake(&self) {
        self.changed.notify_waiters();
    }

    /// Whether a message may be taken.
    pub(super) fn has_room(&self) -> bool {
        self.bound.admits(*self.lock())
    }

    /// Whether nothing is on its way.
    pub(super) fn is_empty(&self) -> bool {
        self.lock().records == 0
    }

    /// Resolves when `condition` holds. Checked after each change.
    pub(super) async fn until<T>(&self, mut condition: impl FnMut(&Self) -> Option<T>) -> T {
        loop {
            // Registered before the look, so that a change in between is not missed.
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if let Some(value) = condition(self) {
                return value;
            }
            changed.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Bound> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[tokio::test]
    async fn bounds_records_and_bytes_and_wakes_waiters() {
        let room = Arc::new(Room::new(Bound { records: 2, bytes: 10 }));
        assert!(room.take(100), "one may go over");
        assert!(!room.take(1) && !room.has_room(), "bytes are full");
        room.give(100);
        assert!(room.take(4) && room.take(4) && !room.take(1), "records are full");
        let waiting = tokio::spawn({
            let room = room.clone();
            async move { room.until(|room| room.has_room().then_some(())).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        room.give(4);
        waiting.await.unwrap();
    }
}
