//! The keys with unfinished deliveries, and the deliveries that wait behind them.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use super::config::Ordering;
use crate::{Delivery, Message};

/// The place of a busy or blocked key in [`Keys`].
pub(super) type KeyId = u32;

/// A delivery that waits in the worker.
#[derive(Debug)]
pub(super) struct Queued {
    pub(super) delivery: Delivery,
    pub(super) place: Place,
}

/// What a worker keeps of each delivery that it holds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) tag: u64,
    /// The size of the message, which counts towards the budget.
    pub(super) bytes: u64,
    /// `None` if no other delivery waits for this one.
    pub(super) key: Option<KeyId>,
}

/// The state of a key.
pub(super) enum State {
    /// A delivery of the key runs or waits to run.
    Busy,
    /// A delivery of the key was refused or held, for this reason.
    Blocked(Arc<str>),
}

#[derive(Debug)]
struct Slot {
    key: Arc<[u8]>,
    queue: VecDeque<Queued>,
    blocked: Option<Arc<str>>,
}

/// The busy and the blocked keys.
#[derive(Debug, Default)]
pub(super) struct Keys {
    ordering: Ordering,
    ids: HashMap<Arc<[u8]>, KeyId>,
    slots: Vec<Slot>,
    free: Vec<KeyId>,
    queued: usize,
    /// The encoded key of the last look-up.
    encoded: Vec<u8>,
}

impl Keys {
    pub(super) fn new(ordering: Ordering) -> Self {
        Self { ordering, ..Self::default() }
    }

    /// Returns the number of deliveries that wait behind a busy key.
    pub(super) const fn queued(&self) -> usize {
        self.queued
    }

    /// Returns the key of `message` if it is busy or blocked.
    #[inline]
    pub(super) fn find(&mut self, message: &Message) -> Option<KeyId> {
        if self.ids.is_empty() || !self.encode(message.topic_bytes(), message.key()) {
            return None;
        }
        self.ids.get(self.encoded.as_slice()).copied()
    }

    /// Marks the key of `message` as busy. Returns `None` if the message has no order. The key must be free.
    pub(super) fn occupy(&mut self, message: &Message) -> Option<KeyId> {
        if !self.encode(message.topic_bytes(), message.key()) {
            return None;
        }
        let key: Arc<[u8]> = self.encoded.as_slice().into();
        let slot = Slot { key: key.clone(), queue: VecDeque::new(), blocked: None };
        let id = match self.free.pop().and_then(|id| Some((id, self.slots.get_mut(id as usize)?))) {
            Some((id, free)) => {
                *free = slot;
                id
            }
            None => {
                self.slots.push(slot);
                // The budget bounds the busy keys far below 2^32.
                (self.slots.len() - 1) as KeyId
            }
        };
        self.ids.insert(key, id);
        Some(id)
    }

    /// Returns the state of a key that [`find`](Self::find) returned.
    pub(super) fn state(&self, id: KeyId) -> State {
        let blocked = self.slots.get(id as usize).and_then(|slot| slot.blocked.clone());
        blocked.map_or(State::Busy, State::Blocked)
    }

    /// Adds a delivery behind a busy key.
    pub(super) fn queue(&mut self, id: KeyId, queued: Queued) {
        if let Some(slot) = self.slots.get_mut(id as usize) {
            slot.queue.push_back(queued);
            self.queued += 1;
        }
    }

    /// Returns the next delivery of a key whose delivery has a result. The key is free if there is none.
    pub(super) fn next(&mut self, id: KeyId) -> Option<Queued> {
        let next = self.slots.get_mut(id as usize)?.queue.pop_front();
        match next {
            Some(_) => self.queued -= 1,
            None => self.remove(id),
        }
        next
    }

    /// Blocks a key, and returns the deliveries that wait behind it.
    pub(super) fn block(&mut self, id: KeyId, reason: Arc<str>) -> VecDeque<Queued> {
        let Some(slot) = self.slots.get_mut(id as usize) else { return VecDeque::new() };
        slot.blocked = Some(reason);
        self.queued -= slot.queue.len();
        std::mem::take(&mut slot.queue)
    }

    /// Makes a blocked key free.
    pub(super) fn release(&mut self, topic: &str, key: Option<&[u8]>) {
        if !self.encode(topic.as_bytes(), key) {
            return;
        }
        if let Some(&id) = self.ids.get(self.encoded.as_slice())
            && matches!(self.state(id), State::Blocked(_))
        {
            self.remove(id);
        }
    }

    /// Takes every delivery that waits behind a busy key.
    pub(super) fn take_queued(&mut self) -> impl Iterator<Item = Queued> {
        self.queued = 0;
        self.slots.iter_mut().flat_map(|slot| std::mem::take(&mut slot.queue))
    }

    fn remove(&mut self, id: KeyId) {
        if let Some(slot) = self.slots.get_mut(id as usize) {
            self.ids.remove(&slot.key);
            slot.blocked = None;
            self.free.push(id);
        }
    }

    /// Writes the unit of order into `encoded`. Returns `false` if the message has no order.
    fn encode(&mut self, topic: &[u8], key: Option<&[u8]>) -> bool {
        self.encoded.clear();
        match (self.ordering, key) {
            (Ordering::None, _) | (Ordering::Key, None) => return false,
            (Ordering::Partition, _) => {}
            (Ordering::Key, Some(key)) => {
                // The length separates the topic from the key: no other topic and key have the same bytes.
                self.encoded.extend_from_slice(&topic.len().to_le_bytes());
                self.encoded.extend_from_slice(topic);
                self.encoded.extend_from_slice(key);
            }
        }
        true
    }
}
