//! The bounded list of holds, with its gauge.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Instant, SystemTime},
};

use super::{entry::Entry, hold::DeliveryId};
use crate::{Delivery, Error, clock::Clock, telemetry};

/// The capacity of a list. A delivery beyond it is held without an entry, and enters the list when there is room.
pub(super) const CAPACITY: usize = 4096;

pub(super) struct HoldList {
    pub(super) clock: Clock,
    entries: Mutex<BTreeMap<DeliveryId, Entry>>,
    /// The number of entries, read without the lock because most deliveries are never held.
    len: AtomicUsize,
}

impl HoldList {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, entries: Mutex::default(), len: AtomicUsize::new(0) }
    }

    pub(super) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// Records a failed attempt, and logs it if a log line is due. Adds the entry if it is missing and there is room.
    pub(super) fn record(
        &self,
        id: &DeliveryId,
        delivery: &Delivery,
        error: &Error,
        started: Instant,
        attempts: u32,
        now: Instant,
    ) {
        let mut entries = self.lock();
        if entries.len() < CAPACITY && !entries.contains_key(id) {
            let since = SystemTime::UNIX_EPOCH + self.clock.unix();
            entries.insert(id.clone(), Entry::new(delivery, since, started));
            self.len.store(entries.len(), Ordering::Relaxed);
            gauge(id).increment(1.0);
        }
        if let Some(entry) = entries.get_mut(id)
            && entry.record(error, attempts, now)
        {
            entry.log(&delivery.origin(), now);
        }
    }

    pub(super) fn remove(&self, id: &DeliveryId) {
        let mut entries = self.lock();
        if entries.remove(id).is_some() {
            self.len.store(entries.len(), Ordering::Relaxed);
            gauge(id).decrement(1.0);
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, BTreeMap<DeliveryId, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn gauge(id: &DeliveryId) -> metrics::Gauge {
    metrics::gauge!(
        telemetry::CONSUMER_HELD,
        telemetry::MESSAGING_DESTINATION_NAME => id.topic.to_string(),
        telemetry::MESSAGING_CONSUMER_GROUP_NAME => id.group.to_string(),
    )
}
