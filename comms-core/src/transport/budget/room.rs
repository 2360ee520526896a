//! The room of a budget: records and bytes in all workers together, shared fairly.
//!
//! The threshold of a worker is dynamic (as in the buffers of network switches): a worker may hold at most twice the
//! free room. One busy worker gets two thirds of the room, and N busy workers get 2/(2N + 1) of it each, without a
//! worker knowing of the others.

use std::task::Waker;

use crate::sync::{Arc, AtomicU64, Mutex, MutexGuard, Ordering, PoisonError, fence};

/// The room that the workers of one budget share.
#[derive(Debug)]
pub(crate) struct Room {
    limit: Usage,
    records: AtomicU64,
    bytes: AtomicU64,
    shares: AtomicU64,
    /// The number of entries in `waiters`, read without the lock because usually no worker waits.
    waiting: AtomicU64,
    waiters: Mutex<Vec<Waiter>>,
}

/// A number of records and of their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) records: u64,
    pub(crate) bytes: u64,
}

#[derive(Debug)]
struct Waiter {
    share: u64,
    used: Usage,
    waker: Waker,
}

impl Room {
    pub(crate) fn new(limit: Usage) -> Arc<Self> {
        Arc::new(Self {
            limit,
            records: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            shares: AtomicU64::new(0),
            waiting: AtomicU64::new(0),
            waiters: Mutex::new(Vec::new()),
        })
    }

    /// Returns what all workers hold together.
    pub(crate) fn used(&self) -> Usage {
        Usage { records: self.records.load(Ordering::Relaxed), bytes: self.bytes.load(Ordering::Relaxed) }
    }

    /// Returns whether a worker that holds `own` may hold more.
    fn has_room(&self, own: Usage) -> bool {
        own.records == 0 || self.admits(own, self.used(), 8)
    }

    /// Returns whether `own` is less than twice `eighths` eighths of the free room.
    const fn admits(&self, own: Usage, all: Usage, eighths: u64) -> bool {
        let records = self.limit.records.saturating_sub(all.records);
        let bytes = self.limit.bytes.saturating_sub(all.bytes);
        own.records.saturating_mul(4) < records.saturating_mul(eighths)
            && own.bytes.saturating_mul(4) < bytes.saturating_mul(eighths)
    }

    /// Wakes the workers that have room again. A woken worker gets room for some records, not for one: otherwise all
    /// full workers would be woken at each record.
    fn wake(&self) {
        // With the fence in `register`: either the release sees the registration, or the worker that registers sees the
        // room that was released.
        fence(Ordering::SeqCst);
        if self.waiting.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut woken = Vec::new();
        {
            let mut waiters = self.lock();
            let all = self.used();
            let mut index = 0;
            while let Some(waiter) = waiters.get(index) {
                let alone = all.records <= waiter.used.records;
                match self.admits(waiter.used, all, if alone { 8 } else { 7 }) {
                    true => woken.push(waiters.swap_remove(index).waker),
                    false => index += 1,
                }
            }
            self.waiting.store(waiters.len() as u64, Ordering::Relaxed);
        }
        woken.into_iter().for_each(Waker::wake);
    }

    fn register(&self, share: u64, used: Usage, waker: &Waker) {
        let mut waiters = self.lock();
        waiters.retain(|waiter| waiter.share != share);
        waiters.push(Waiter { share, used, waker: waker.clone() });
        self.waiting.store(waiters.len() as u64, Ordering::Relaxed);
        drop(waiters);
        fence(Ordering::SeqCst);
    }

    fn deregister(&self, share: u64) {
        let mut waiters = self.lock();
        waiters.retain(|waiter| waiter.share != share);
        self.waiting.store(waiters.len() as u64, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Waiter>> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The part of the room that one worker uses. Dropping it returns the part.
#[derive(Debug)]
pub(crate) struct Share {
    room: Arc<Room>,
    id: u64,
    used: Usage,
    registered: bool,
}

impl Share {
    pub(crate) fn new(room: Arc<Room>) -> Self {
        let id = room.shares.fetch_add(1, Ordering::Relaxed);
        Self { room, id, used: Usage::default(), registered: false }
    }

    /// Returns what the worker holds.
    #[cfg(test)]
    pub(crate) const fn used(&self) -> Usage {
        self.used
    }

    /// Returns whether the worker may take another record. An empty worker may always: a record that is larger than the
    /// whole room must pass too.
    pub(crate) fn has_room(&self) -> bool {
        self.room.has_room(self.used)
    }

    /// Records that the worker holds another record of `bytes`.
    pub(crate) fn add(&mut self, bytes: u64) {
        self.used = Usage { records: self.used.records + 1, bytes: self.used.bytes + bytes };
        self.room.records.fetch_add(1, Ordering::Relaxed);
        self.room.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Records that a record of `bytes` has left the worker.
    pub(crate) fn remove(&mut self, bytes: u64) {
        self.give_back(Usage { records: 1, bytes });
    }

    /// Returns whether the worker has room. If it has none, `waker` is woken when it has room again.
    pub(crate) fn room_or_wake(&mut self, waker: &Waker) -> bool {
        if self.has_room() {
            return true;
        }
        self.room.register(self.id, self.used, waker);
        self.registered = true;
        // The room may have appeared before the registration.
        self.has_room()
    }

    fn give_back(&mut self, part: Usage) {
        self.used.records -= part.records;
        self.used.bytes -= part.bytes;
        self.room.records.fetch_sub(part.records, Ordering::Relaxed);
        self.room.bytes.fetch_sub(part.bytes, Ordering::Relaxed);
        self.room.wake();
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if self.registered {
            self.room.deregister(self.id);
        }
        if self.used != Usage::default() {
            self.give_back(self.used);
        }
    }
}
