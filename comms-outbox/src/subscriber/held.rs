//! Deliveries that were returned to the relay as held. They stay on the list of holds until they are delivered again, or
//! until another process delivers them.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use comms_core::{Delivery, Message, MessageParts, transport::Holds};

/// The most deliveries. A list of holds has no more entries.
const LIMIT: usize = 4_096;

/// The topic, source and id of a message.
type Identity = (Box<str>, Box<str>, Box<str>);

/// The deliveries that are parked as held, each with the number of its next attempt.
#[derive(Default)]
pub(super) struct HeldDeliveries {
    deliveries: Mutex<HashMap<Identity, Delivery>>,
    /// Whether there is any, read without the lock because most messages are never held.
    any: AtomicBool,
}

impl HeldDeliveries {
    /// Records that `message` of `group` was returned as held, before its attempt number `attempt`. Returns the attempt
    /// before which it was returned as held the last time.
    pub(super) fn insert(&self, message: &Message, group: &Arc<str>, attempt: u32) -> Option<u32> {
        let mut held = self.lock();
        let before = held.remove(&identity(message));
        if held.len() < LIMIT {
            // The list identifies a delivery without these parts.
            let parts = MessageParts {
                source: message.source(),
                id: message.id(),
                topic: message.topic(),
                ..Default::default()
            };
            let delivery = Delivery::new(Message::new(parts), group.clone());
            held.insert(identity(message), Delivery { attempt, ..delivery });
            self.any.store(true, Ordering::Relaxed);
        }
        before.map(|before| before.attempt)
    }

    /// Records that `message` has another result. Returns the attempt before which it was returned as held.
    pub(super) fn remove(&self, message: &Message) -> Option<u32> {
        let mut held = self.lock();
        let before = held.remove(&identity(message));
        self.any.store(!held.is_empty(), Ordering::Relaxed);
        before.map(|before| before.attempt)
    }

    /// Returns the number of the next attempt of `message`: 1 if it was not returned as held.
    pub(super) fn next_attempt(&self, message: &Message) -> u32 {
        match self.is_empty() {
            true => 1,
            false => self.lock().get(&identity(message)).map_or(1, |delivery| delivery.attempt),
        }
    }

    /// Returns whether no delivery is parked as held.
    pub(super) fn is_empty(&self) -> bool {
        !self.any.load(Ordering::Relaxed)
    }

    /// Removes all deliveries from `holds`.
    pub(super) fn release(&self, holds: &Holds) {
        let mut held = self.lock();
        held.drain().for_each(|(_, delivery)| holds.release(&delivery));
        self.any.store(false, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Identity, Delivery>> {
        self.deliveries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn identity(message: &Message) -> Identity {
    (message.topic().into(), message.source().into(), message.id().into())
}
