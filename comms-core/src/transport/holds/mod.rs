//! The list of deliveries that consumers hold because the cause of their failure lies outside the message.

mod entry;
mod guard;
mod hold;
mod list;

use std::{fmt, sync::Arc, time::Duration};

use crate::{Delivery, Error, ErrorKind, clock::Clock, health::State};
use entry::Entry;
pub use guard::HoldGuard;
use hold::DeliveryId;
pub use hold::Hold;
use list::HoldList;

/// A hold that lasts longer than this degrades readiness, whatever its kind of error.
const LONG_HOLD: Duration = Duration::from_secs(60);

/// A list of the deliveries that one or several processors hold.
///
/// A peer that is unavailable, a guard that refuses, or a deployment fault fails every message. If such attempts
/// counted, good messages would become dead letters. If the consumer only waited, no operator would see the fault.
/// Therefore a [`Processor`](crate::transport::Processor) *holds* a delivery whose error has the disposition
/// [`Hold`](crate::transport::Disposition::Hold): the processor retries with backoff, counts no attempt, and registers
/// the delivery in this list. The hold ends when an attempt succeeds, when an attempt fails with another disposition,
/// or when [`AttemptConfig::hold_limit`](crate::transport::AttemptConfig::hold_limit) has passed.
///
/// A hold is visible in four ways: [`list`](Self::list), the gauge
/// [`comms_consumer_held_keys`](crate::telemetry::CONSUMER_HELD), [`state`](Self::state) for readiness, and a log line
/// at the beginning and once a minute.
///
/// Clones share the list. The list has at most 4096 entries. A delivery beyond that is held without an entry, and
/// enters the list when there is room.
///
/// ```
/// use comms_core::{clock::Clock, health::{Health, Status}, transport::Holds};
/// let holds = Holds::new(Clock::system());
/// let health = Health::new();
/// let orders = holds.clone();
/// health.check("held orders", move || orders.state());
/// assert_eq!(health.readiness().status, Status::Ready);
/// ```
#[derive(Clone)]
pub struct Holds(Arc<HoldList>);

impl Holds {
    /// Creates an empty list that measures holds by `clock`.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self(Arc::new(HoldList::new(clock)))
    }

    /// Returns the listed holds, oldest first.
    #[must_use]
    pub fn list(&self) -> Vec<Hold> {
        let mut holds: Vec<Hold> = self.0.lock().values().map(|entry| entry.hold.clone()).collect();
        holds.sort_by_key(|hold| hold.since);
        holds
    }

    /// Returns the number of listed holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns whether the list is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns a state for [`Health::check`](crate::health::Health::check).
    ///
    /// The state is degraded if a delivery is held because of a [`Misconfigured`](ErrorKind::Misconfigured) error, or
    /// has been held for more than a minute. The reason is that of the oldest `Misconfigured` hold, or else of the
    /// oldest hold of more than a minute. Otherwise the state is ready.
    #[must_use]
    pub fn state(&self) -> State {
        let now = self.0.clock.now();
        let entries = self.0.lock();
        let misconfigured = |entry: &Entry| entry.hold.kind == ErrorKind::Misconfigured;
        let age = |entry: &Entry| now.saturating_duration_since(entry.started);
        let alarming = entries.values().filter(|entry| misconfigured(entry) || age(entry) > LONG_HOLD);
        match alarming.min_by_key(|entry| (!misconfigured(entry), entry.started)) {
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

    /// Removes the hold of `delivery` from the list.
    ///
    /// A consumer calls this method for a delivery that a processor returned as
    /// [`Settlement::Held`](crate::transport::Settlement::Held) and that the consumer does not process again, for example
    /// because the partition was revoked. Without this call the hold stays on the list.
    pub fn release(&self, delivery: &Delivery) {
        self.0.remove(&DeliveryId::of(delivery));
    }

    /// Registers an attempt of `delivery` that failed with `error`. Pass the guard of the earlier call, if the delivery
    /// is held already.
    ///
    /// A [`Processor`](crate::transport::Processor) registers the attempts of its handler. A consumer calls this method
    /// for its own work on a delivery, such as a dead letter that cannot be written.
    #[must_use]
    pub fn register(&self, delivery: &Delivery, error: &Error, held: Option<HoldGuard>) -> HoldGuard {
        let now = self.0.clock.now();
        let mut held = held.unwrap_or_else(|| HoldGuard::new(self.0.clone(), DeliveryId::of(delivery), now));
        held.attempts = held.attempts.saturating_add(1);
        self.0.record(&held.id, delivery, error, held.started, held.attempts, now);
        held
    }

    /// Returns whether `delivery` is on the list.
    pub(crate) fn contains(&self, delivery: &Delivery) -> bool {
        !self.is_empty() && self.0.lock().contains_key(&DeliveryId::of(delivery))
    }

    /// Returns the guard of a delivery that is presented again after a
    /// [`Settlement::Held`](crate::transport::Settlement::Held).
    pub(crate) fn resume(&self, delivery: &Delivery) -> Option<HoldGuard> {
        if self.is_empty() {
            return None;
        }
        HoldGuard::resume(&self.0, DeliveryId::of(delivery), self.0.clock.now())
    }
}

impl fmt::Debug for Holds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Holds").field("held", &self.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
