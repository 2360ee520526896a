//! The idempotency store in the memory of one process.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use async_trait::async_trait;

use super::{Admission, CallKey, IdempotencyStore, LeaseOptions, LeaseToken, REPLY_LIMIT, StoredReply};
use crate::{Error, clock::Clock};

/// The size in bytes of an entry without its texts and its reply, rounded up.
const OVERHEAD: usize = 256;
/// The longest `retry_after` of a request that is in flight.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The limits of a [`MemoryStore`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryLimits {
    /// The largest number of stored requests. Default 100,000.
    pub entries: usize,
    /// The largest size of all stored requests in bytes. A request in flight counts with `reply_bytes`, so that its reply
    /// always fits. Default 64 MiB.
    pub bytes: usize,
    /// The largest size of one reply in bytes, headers and body together. Default 16 KiB.
    pub reply_bytes: usize,
}

impl Default for MemoryLimits {
    fn default() -> Self {
        Self { entries: 100_000, bytes: 64 * 1024 * 1024, reply_bytes: 16 * 1024 }
    }
}

/// Setters: each takes the configuration and returns it with one setting changed.
impl MemoryLimits {
    /// Sets the largest number of stored requests.
    #[must_use]
    pub fn entries(self, entries: usize) -> Self {
        Self { entries, ..self }
    }

    /// Sets the largest size of all stored requests in bytes.
    #[must_use]
    pub fn bytes(self, bytes: usize) -> Self {
        Self { bytes, ..self }
    }

    /// Sets the largest size of one reply in bytes.
    #[must_use]
    pub fn reply_bytes(self, reply_bytes: usize) -> Self {
        Self { reply_bytes, ..self }
    }
}

/// An [`IdempotencyStore`] in the memory of one process.
///
/// A restart loses its entries, and a second process does not see them: both need a store outside the process.
///
/// At its limits the store removes expired entries, and then refuses new keys with `Rejected` and a `retry_after` until the next
/// expiry. It never removes an entry before its time. A call costs O(log n) in the number of entries.
pub struct MemoryStore {
    clock: Clock,
    limits: MemoryLimits,
    memory: Mutex<Memory>,
}

type Name = (Arc<str>, Arc<str>);

#[derive(Default)]
struct Memory {
    entries: HashMap<Name, Entry>,
    /// The entries by the time of their expiry. The fencing token distinguishes entries that expire at the same instant.
    expiries: BTreeMap<(Instant, u64), Name>,
    bytes: usize,
    fence: u64,
}

struct Entry {
    fence: u64,
    fingerprint: [u8; 32],
    expires: Instant,
    retention: Duration,
    /// `None` while the request runs.
    reply: Option<StoredReply>,
    bytes: usize,
}

impl MemoryStore {
    /// Makes a store with the default [`MemoryLimits`].
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self { clock, limits: MemoryLimits::default(), memory: Mutex::default() }
    }

    /// Makes a store with `limits`.
    ///
    /// # Errors
    /// Returns [`Invalid`](crate::ErrorKind::Invalid) if a limit is zero, `bytes` is too small for one reply, or `reply_bytes` is
    /// above [`REPLY_LIMIT`].
    pub fn with_limits(limits: MemoryLimits, clock: Clock) -> Result<Self, Error> {
        let MemoryLimits { entries, bytes, reply_bytes } = limits;
        if entries == 0 || reply_bytes == 0 || reply_bytes > REPLY_LIMIT || bytes < reply_bytes + 2 * OVERHEAD
        {
            return Err(Error::invalid(format!(
                "limits of an idempotency store: entries at least 1, reply_bytes 1 to {REPLY_LIMIT}, bytes at \
                 least reply_bytes and {}",
                2 * OVERHEAD
            )));
        }
        Ok(Self { limits, ..Self::new(clock) })
    }

    /// Returns the number of stored requests. Expired ones count until the next call of the store.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().entries.len()
    }

    /// Returns whether no request is stored.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory {
    /// Removes expired entries. Each entry is removed once, so the cost per request is constant.
    fn remove_expired(&mut self, now: Instant) {
        while let Some(first) = self.expiries.first_entry().filter(|first| first.key().0 <= now) {
            let name = first.remove();
            if let Some(entry) = self.entries.remove(&name) {
                self.bytes -= entry.bytes;
            }
        }
    }

    fn remove(&mut self, name: &Name) {
        if let Some(entry) = self.entries.remove(name) {
            self.expiries.remove(&(entry.expires, entry.fence));
            self.bytes -= entry.bytes;
        }
    }

    /// Refuses an entry of `bytes` that would exceed `limits`.
    fn room(&self, bytes: usize, limits: &MemoryLimits, now: Instant) -> Result<(), Error> {
        if self.entries.len() < limits.entries && self.bytes + bytes <= limits.bytes {
            return Ok(());
        }
        let next = self.expiries.first_key_value().map(|((at, _), _)| at.saturating_duration_since(now));
        let reason = "the idempotency store is full: raise its limits, or keep replies for a shorter time";
        Err(Error::rejected(reason, next))
    }
}

#[cfg(test)]
impl MemoryStore {
    /// Returns the numbers of entries and expiries, and the bytes, after the removal of expired entries.
    pub(super) fn totals(&self) -> (usize, usize, usize) {
        let mut memory = self.lock();
        memory.remove_expired(self.clock.now());
        (memory.entries.len(), memory.expiries.len(), memory.bytes)
    }
}

#[async_trait]
impl IdempotencyStore for MemoryStore {
    async fn admit(&self, call: &CallKey, options: LeaseOptions) -> Result<Admission<LeaseToken>, Error> {
        let now = self.clock.now();
        let name = (call.scope.clone(), call.key.clone());
        let mut memory = self.lock();
        memory.remove_expired(now);
        if let Some(entry) = memory.entries.get(&name) {
            return Ok(entry.admission(call, now));
        }
        let bytes = OVERHEAD + call.scope.len() + call.key.len() + self.limits.reply_bytes;
        memory.room(bytes, &self.limits, now)?;
        memory.fence += 1;
        let (fence, expires) = (memory.fence, now + options.lease());
        let fingerprint = call.fingerprint;
        memory.expiries.insert((expires, fence), name.clone());
        memory.entries.insert(
            name,
            Entry { fence, fingerprint, expires, retention: options.retention(), reply: None, bytes },
        );
        memory.bytes += bytes;
        Ok(Admission::Run(LeaseToken::new(call, fence)))
    }

    async fn complete(&self, token: &LeaseToken, reply: &StoredReply) -> Result<(), Error> {
        reply.check_within(self.limits.reply_bytes)?;
        let now = self.clock.now();
        let name = (token.scope.clone(), token.key.clone());
        let mut memory = self.lock();
        memory.remove_expired(now);
        let Memory { entries, expiries, bytes, .. } = &mut *memory;
        let Some(entry) = entries.get_mut(&name).filter(|entry| entry.fence == token.fence) else {
            return Err(Error::conflict("the lease of this idempotency key ran out before its reply came"));
        };
        if entry.reply.is_some() {
            return Ok(());
        }
        expiries.remove(&(entry.expires, entry.fence));
        entry.expires = now + entry.retention;
        expiries.insert((entry.expires, entry.fence), name);
        // Frees the bytes that were reserved for the reply and are not needed.
        let spare = self.limits.reply_bytes - reply.size();
        entry.bytes -= spare;
        *bytes -= spare;
        entry.reply = Some(reply.compact());
        Ok(())
    }

    async fn abandon(&self, token: &LeaseToken) -> Result<(), Error> {
        let name = (token.scope.clone(), token.key.clone());
        let mut memory = self.lock();
        let runs = |entry: &Entry| entry.fence == token.fence && entry.reply.is_none();
        if memory.entries.get(&name).is_some_and(runs) {
            memory.remove(&name);
        }
        Ok(())
    }
}

impl Entry {
    fn admission(&self, call: &CallKey, now: Instant) -> Admission<LeaseToken> {
        if self.fingerprint != call.fingerprint {
            return Admission::Mismatch;
        }
        match &self.reply {
            Some(reply) => Admission::Replay(reply.clone()),
            None => {
                let left = self.expires.saturating_duration_since(now);
                Admission::InFlight { retry_after: left.min(RETRY_AFTER) }
            }
        }
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").field("entries", &self.len()).finish_non_exhaustive()
    }
}
