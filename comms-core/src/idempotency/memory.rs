//! The leased store of one process.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use async_trait::async_trait;

use super::{Admission, CallKey, IdempotencyStore, LeaseOptions, LeaseToken, REPLY_LIMIT, StoredReply};
use crate::{Error, clock::Clock};

/// What an entry costs beside its texts and its reply, in bytes, rounded up.
const OVERHEAD: usize = 256;
/// The longest advice when to ask again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The bounds of a [`MemoryStore`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryLimits {
    /// The most requests remembered at once. Default 100,000.
    pub entries: usize,
    /// The most bytes of all of them. A request in flight counts with [`reply_bytes`](Self::reply_bytes), so
    /// that there is always room for its reply. Default 64 MiB.
    pub bytes: usize,
    /// The most bytes of one reply, headers and body. Default 16 KiB.
    pub reply_bytes: usize,
}

impl Default for MemoryLimits {
    fn default() -> Self {
        Self { entries: 100_000, bytes: 64 * 1024 * 1024, reply_bytes: 16 * 1024 }
    }
}

/// Setters: each takes the configuration and returns it with one setting changed.
impl MemoryLimits {
    /// Sets `entries`.
    #[must_use]
    pub fn entries(self, entries: usize) -> Self {
        Self { entries, ..self }
    }

    /// Sets `bytes`.
    #[must_use]
    pub fn bytes(self, bytes: usize) -> Self {
        Self { bytes, ..self }
    }

    /// Sets `reply_bytes`.
    #[must_use]
    pub fn reply_bytes(self, reply_bytes: usize) -> Self {
        Self { reply_bytes, ..self }
    }
}

/// An [`IdempotencyStore`] in memory: for one process, until it ends.
///
/// At its bounds it first forgets what has expired, and then refuses new keys with `Rejected` (retry after the
/// next expiry): it never forgets a key it has promised to keep. Each call costs O(log n) of the entries.
///
/// What breaks it: a second process, or a restart: those need a store that outlives them.
pub struct MemoryStore {
    clock: Clock,
    limits: MemoryLimits,
    memory: Mutex<Memory>,
}

type Name = (Arc<str>, Arc<str>);

#[derive(Default)]
struct Memory {
    entries: HashMap<Name, Entry>,
    /// When each entry expires. The fence tells apart those of one instant.
    expiries: BTreeMap<(Instant, u64), Name>,
    bytes: usize,
    fence: u64,
}

struct Entry {
    fence: u64,
    fingerprint: [u8; 32],
    expires: Instant,
    retention: Duration,
    /// `None` while it runs.
    reply: Option<StoredReply>,
    bytes: usize,
}

impl MemoryStore {
    /// A store with the default [`MemoryLimits`].
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self { clock, limits: MemoryLimits::default(), memory: Mutex::default() }
    }

    /// A store within `limits`.
    ///
    /// # Errors
    /// `Invalid` where a limit is zero, not one reply fits into `bytes`, or `reply_bytes` is over
    /// [`REPLY_LIMIT`].
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

    /// How many requests are remembered; those that have expired count until the next call.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().entries.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory {
    /// Each entry is forgotten once: the cost is that of having remembered it.
    fn forget_expired(&mut self, now: Instant) {
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

    /// Refuses what would be over `limits`.
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
    /// Entries, expiries and bytes, after forgetting what has expired.
    pub(super) fn books(&self) -> (usize, usize, usize) {
        let mut memory = self.lock();
        memory.forget_expired(self.clock.now());
        (memory.entries.len(), memory.expiries.len(), memory.bytes)
    }
}

#[async_trait]
impl IdempotencyStore for MemoryStore {
    async fn admit(&self, call: &CallKey, options: LeaseOptions) -> Result<Admission<LeaseToken>, Error> {
        let now = self.clock.now();
        let name = (call.scope.clone(), call.key.clone());
        let mut memory = self.lock();
        memory.forget_expired(now);
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
        memory.forget_expired(now);
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
        // What was set aside and is not needed goes back.
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
