//! Deliveries that are being held: what waits for a cause outside the message.
//!
//! The problem: a peer that is away, a guard that refuses, or a deployment fault fails every message. Attempts that are
//! counted would turn good messages into dead letters, and waiting in silence would hide the fault.
//!
//! A [`Processor`](crate::transport::Processor) **holds** a delivery whose error has the disposition
//! [`Hold`](crate::transport::Disposition::Hold): it retries with backoff, counts no attempt, and registers the delivery in its
//! [`Holds`]. The hold ends when an attempt succeeds or fails in another way, or when
//! [`AttemptConfig::hold_limit`](crate::transport::AttemptConfig::hold_limit) has passed.
//!
//! A hold is visible in four ways: [`Holds::list`], the gauge
//! [`comms_consumer_held_keys`](crate::telemetry::CONSUMER_HELD), [`Holds::state`] for readiness, and a log line at the
//! beginning and once a minute.
//!
//! ```
//! use comms_core::{clock::Clock, health::{Health, Status}, transport::Holds};
//! let holds = Holds::new(Clock::system());
//! let health = Health::new();
//! let seen = holds.clone();
//! health.check("held orders", move || seen.state());
//! assert_eq!(health.readiness().status, Status::Ready);
//! ```

mod entry;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use bytes::Bytes;

use crate::{Delivery, Error, ErrorKind, clock::Clock, health::State, telemetry};
pub use entry::HoldGuard;
use entry::{Entry, Identity};

/// A hold that lasts longer degrades readiness, whatever its kind.
const LONG: Duration = Duration::from_secs(60);
/// The most holds on one list. A delivery beyond it is held all the same, and enters the list when there is room.
const KEPT: usize = 4096;

/// One delivery that is being held.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Hold {
    /// The consumer group.
    pub group: Arc<str>,
    /// The topic, exchange or queue.
    pub topic: Arc<str>,
    /// The key of the message, whose later messages wait behind it.
    pub key: Option<Bytes>,
    /// When the hold began.
    pub since: SystemTime,
    /// The kind of the last error that shows the cause. A refusal by a guard of this process, such as a breaker that opened
    /// meanwhile, replaces no earlier one.
    pub kind: ErrorKind,
    /// That error with its causes.
    pub reason: String,
    /// How many attempts have ended in this hold. None of them counts.
    pub attempts: u32,
}

/// The deliveries that are being held by one or several processors. Clones share the list. The list is bounded to 4096
/// entries; a delivery beyond it is held all the same.
#[derive(Clone)]
pub struct Holds(Arc<Shared>);

struct Shared {
    clock: Clock,
    entries: Mutex<BTreeMap<Identity, Entry>>,
    /// The number of entries, read without the lock: most deliveries are never held.
    listed: AtomicUsize,
}

impl Holds {
    /// An empty list, timed by `clock`.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self(Arc::new(Shared { clock, entries: Mutex::default(), listed: AtomicUsize::new(0) }))
    }

    /// The holds, oldest first.
    #[must_use]
    pub fn list(&self) -> Vec<Hold> {
        let mut holds: Vec<Hold> = self.lock().values().map(|entry| entry.hold.clone()).collect();
        holds.sort_by_key(|hold| hold.since);
        holds
    }

    /// The number of listed holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.listed.load(Ordering::Relaxed)
    }

    /// Whether nothing is being held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The readiness of the consumers: degraded with the reason of the oldest `Misconfigured` hold, or else of the oldest
    /// hold that has lasted for more than a minute; ready without such a hold.
    #[must_use]
    pub fn state(&self) -> State {
        let now = self.0.clock.now();
        let entries = self.lock();
        let misconfigured = |entry: &Entry| entry.hold.kind == ErrorKind::Misconfigured;
        let age = |entry: &Entry| now.saturating_duration_since(entry.began);
        let alarming = entries.values().filter(|entry| misconfigured(entry) || age(entry) > LONG);
        match alarming.min_by_key(|entry| (!misconfigured(entry), entry.began)) {
            None => State::ready(),
            Some(entry) => {
                let Hold { group, topic, key, reason, .. } = &entry.hold;
                let (held, seconds) = (entries.len(), age(entry).as_secs());
                let key = key.as_deref().map(String::from_utf8_lossy);
                let key = key.map(|key| format!(", key {key:?},")).unwrap_or_default();
                State::degraded(format!(
                    "{held} held; group {group} on {topic}{key} for {seconds} s: {reason}"
                ))
            }
        }
    }

    /// Removes the hold of `delivery`. For a runtime that gives up a delivery which it got back as
    /// [`Verdict::Held`](crate::transport::Verdict::Held), because its partition was revoked; until then the hold stays on the list.
    pub fn release(&self, delivery: &Delivery) {
        self.remove(&Identity::of(delivery));
    }

    /// Registers an attempt of `delivery` that ended in `error`; `held` is its hold, if it is being held already. A runtime
    /// calls this for its own work on a delivery, such as a dead letter that cannot be written; a
    /// [`Processor`](crate::transport::Processor) does it for attempts.
    #[must_use]
    pub fn register(&self, delivery: &Delivery, error: &Error, held: Option<HoldGuard>) -> HoldGuard {
        let now = self.0.clock.now();
        let mut held = held.unwrap_or_else(|| HoldGuard::begin(self.clone(), Identity::of(delivery), now));
        held.attempts = held.attempts.saturating_add(1);
        let mut entries = self.lock();
        if entries.len() < KEPT && !entries.contains_key(&held.identity) {
            let since = SystemTime::UNIX_EPOCH + self.0.clock.unix();
            entries.insert(held.identity.clone(), Entry::new(delivery, since, held.began));
            self.0.listed.store(entries.len(), Ordering::Relaxed);
            gauge(&held.identity).increment(1.0);
        }
        if let Some(entry) = entries.get_mut(&held.identity)
            && entry.renew(error, held.attempts, now)
        {
            entry.log(&delivery.origin, now);
        }
        held
    }

    /// The hold of a delivery that comes again after a [`Verdict::Held`](crate::transport::Verdict::Held).
    pub(crate) fn resume(&self, delivery: &Delivery) -> Option<HoldGuard> {
        if self.is_empty() {
            return None;
        }
        let identity = Identity::of(delivery);
        let entries = self.lock();
        entries
            .get(&identity)
            .map(|entry| HoldGuard::again(self.clone(), identity.clone(), entry, self.0.clock.now()))
    }

    fn remove(&self, identity: &Identity) {
        let mut entries = self.lock();
        if entries.remove(identity).is_some() {
            self.0.listed.store(entries.len(), Ordering::Relaxed);
            gauge(identity).decrement(1.0);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Identity, Entry>> {
        self.0.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn gauge(identity: &Identity) -> metrics::Gauge {
    metrics::gauge!(
        telemetry::CONSUMER_HELD,
        telemetry::MESSAGING_DESTINATION_NAME => identity.topic.to_string(),
        telemetry::MESSAGING_CONSUMER_GROUP_NAME => identity.group.to_string(),
    )
}

impl fmt::Debug for Holds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Holds").field("held", &self.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
