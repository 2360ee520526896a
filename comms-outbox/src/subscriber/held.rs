//! Deliveries that were returned to the relay as held. They stay on the list of holds until they are delivered again, or
//! until another process delivers them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use comms_core::{Delivery, Message, MessageParts, transport::Holds};

/// The most deliveries. A list of holds has no more entries.
const LIMIT: usize = 4_096;

/// The topic, source and id of a message.
type Identity = (Box<str>, Box<str>, Box<str>);

/// The deliveries that are parked as held.
#[derive(Default)]
pub(super) struct HeldDeliveries(Mutex<HashMap<Identity, Delivery>>);

impl HeldDeliveries {
    /// Records that `message` of `group` was returned as held.
    pub(super) fn insert(&self, message: &Message, group: &Arc<str>) {
        let mut held = self.lock();
        if held.len() < LIMIT {
            // The list identifies a delivery without these parts.
            let parts = MessageParts {
                source: message.source(),
                id: message.id(),
                topic: message.topic(),
                ..Default::default()
            };
            held.insert(identity(message), Delivery::new(Message::new(parts), group.clone()));
        }
    }

    /// Records that `message` has another result.
    pub(super) fn remove(&self, message: &Message) {
        let mut held = self.lock();
        if !held.is_empty() {
            held.remove(&identity(message));
        }
    }

    /// Removes all deliveries from `holds`.
    pub(super) fn release(&self, holds: &Holds) {
        for (_, delivery) in self.lock().drain() {
            holds.release(&delivery);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Identity, Delivery>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn identity(message: &Message) -> Identity {
    (message.topic().into(), message.source().into(), message.id().into())
}
