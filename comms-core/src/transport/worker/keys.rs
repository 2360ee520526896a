//! The keys with unfinished deliveries, and the deliveries that wait behind them.
//!
//! A key is identified by a keyed 64-bit hash of its topic and bytes, so that no copy of it is kept, and it is hashed
//! once. Two keys with the same hash would run in one order, which is harmless.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    hash::{BuildHasher, BuildHasherDefault, Hasher},
    sync::Arc,
};

use bytes::BytesMut;
use foldhash::quality::RandomState;

use super::ordering::Ordering;
use crate::{Delivery, Message};

/// The place of a busy or blocked key in [`Keys`].
pub(super) type KeyId = u32;

/// The number of deliveries in a queue of the worker from which on further ones are compacted.
///
/// A message keeps the buffer alive that it shares with others, which may be a hundred times its size. The budget counts
/// the messages only. If one message of each buffer waits, and the others do not, the memory would be far above the
/// budget. A short queue is not worth the copies: it is a chunk of the owner, whose messages share their buffers.
pub(super) const LONG_QUEUE: usize = 256;
/// The number of deliveries for which a free place keeps memory.
const SHORT_QUEUE: usize = 4;
/// The most memory that the messages of a long queue share, bytes: a few of them, so that an allocation serves several,
/// and one that waits for longer than the others keeps little memory alive. A larger message has memory of its own.
const BUFFER: usize = 2 * 1024;

/// A delivery that waits in the worker.
#[derive(Debug)]
pub(super) struct Queued {
    pub(super) delivery: Delivery,
    pub(super) place: Place,
}

impl Queued {
    pub(super) fn compact(&mut self) {
        self.delivery.message = self.delivery.message.compact();
    }

    /// Moves the message to `buffer`, which is replaced if it is full.
    fn compact_into(&mut self, buffer: &mut BytesMut) {
        let message = &mut self.delivery.message;
        if buffer.capacity() < message.memory() {
            *buffer = BytesMut::with_capacity(message.memory().max(BUFFER));
        }
        *message = message.compact_into(buffer);
    }
}

/// What a worker keeps of each delivery that it holds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) tag: u64,
    /// The size of the message, which counts towards the budget.
    pub(super) bytes: u64,
    /// `None` if no other delivery waits for this one.
    pub(super) key: Option<KeyId>,
    /// The delivery is counted as received.
    pub(super) is_counted: bool,
    /// The delivery was in a batch that failed, and is attempted alone.
    pub(super) is_alone: bool,
}

impl Place {
    /// Returns the place of a delivery with `message` for which no other one waits.
    pub(super) fn new(tag: u64, message: &Message) -> Self {
        Self { tag, bytes: message.memory() as u64, key: None, is_counted: false, is_alone: false }
    }
}

/// The state of a key.
pub(super) enum State {
    /// A delivery of the key runs or waits to run.
    Busy,
    /// A delivery of the key was refused or held, for this reason.
    Blocked(Arc<str>),
}

#[derive(Debug, Default)]
struct Slot {
    hash: u64,
    queue: VecDeque<Queued>,
    /// The delivery of the key has failed, so the others may wait for long.
    waits_long: bool,
    blocked: Option<Arc<str>>,
}

/// The busy and the blocked keys.
#[derive(Debug, Default)]
pub(super) struct Keys {
    ordering: Ordering,
    ids: HashMap<u64, KeyId, BuildHasherDefault<Hashed>>,
    slots: Vec<Slot>,
    free: Vec<KeyId>,
    queued: usize,
    /// Memory for the messages of a long queue.
    buffer: BytesMut,
    hasher: RandomState,
    /// The hash of the last message that was looked up, unless it was not needed.
    looked_up: Option<u64>,
}

/// The hasher of numbers that are hashes already.
#[derive(Debug, Default)]
pub(super) struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }
    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// Units of order: keys, or a whole source.
pub(super) type Units = HashSet<u64, BuildHasherDefault<Hashed>>;

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
        self.looked_up = None;
        if self.ids.is_empty() {
            return None;
        }
        self.looked_up = self.hash(message.topic_bytes(), message.key());
        self.ids.get(&self.looked_up?).copied()
    }

    /// Marks the key of `message` as busy. Returns `None` if the message has no order. The message must be that of the
    /// last call of [`find`](Self::find), which found nothing.
    pub(super) fn occupy(&mut self, message: &Message) -> Option<KeyId> {
        let hash = self.looked_up.take().or_else(|| self.hash(message.topic_bytes(), message.key()))?;
        let id = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            // The budget bounds the busy keys far below 2^32.
            (self.slots.len() - 1) as KeyId
        });
        self.slots[id as usize].hash = hash;
        self.ids.insert(hash, id);
        Some(id)
    }

    /// Returns the state of a key that [`find`](Self::find) returned.
    pub(super) fn state(&self, id: KeyId) -> State {
        let blocked = self.slots.get(id as usize).and_then(|slot| slot.blocked.clone());
        blocked.map_or(State::Busy, State::Blocked)
    }

    /// Adds a delivery behind a busy key.
    #[inline]
    pub(super) fn queue(&mut self, id: KeyId, mut queued: Queued) {
        if let Some(slot) = self.slots.get_mut(id as usize) {
            if slot.waits_long {
                queued.compact();
            } else if self.queued >= LONG_QUEUE {
                queued.compact_into(&mut self.buffer);
            }
            slot.queue.push_back(queued);
            self.queued += 1;
        }
    }

    /// Prepares the deliveries behind a busy key for a long wait: their messages keep no other memory alive.
    pub(super) fn wait_long(&mut self, id: KeyId) {
        if let Some(slot) = self.slots.get_mut(id as usize)
            && !std::mem::replace(&mut slot.waits_long, true)
        {
            slot.queue.iter_mut().for_each(Queued::compact);
        }
    }

    /// Returns the next delivery of a key whose delivery has a result. The key is free if there is none.
    pub(super) fn next(&mut self, id: KeyId) -> Option<Queued> {
        let slot = self.slots.get_mut(id as usize)?;
        // The others were prepared for a long wait, and are not prepared again if the next one fails too.
        let next = slot.queue.pop_front();
        match next {
            Some(_) => self.queued -= 1,
            None => self.remove(id),
        }
        next
    }

    /// Returns the next delivery of a key if it is to be attempted alone. The key stays busy then.
    pub(super) fn next_alone(&mut self, id: KeyId) -> Option<Queued> {
        let slot = self.slots.get_mut(id as usize)?;
        let next = slot.queue.pop_front_if(|queued| queued.place.is_alone)?;
        self.queued -= 1;
        Some(next)
    }

    /// Makes a busy key free, and returns the deliveries that wait behind it.
    pub(super) fn free(&mut self, id: KeyId) -> VecDeque<Queued> {
        let Some(slot) = self.slots.get_mut(id as usize) else { return VecDeque::new() };
        let queue = std::mem::take(&mut slot.queue);
        self.queued -= queue.len();
        self.remove(id);
        queue
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
        if let Some(hash) = self.hash(topic.as_bytes(), key)
            && let Some(&id) = self.ids.get(&hash)
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
            self.ids.remove(&slot.hash);
            (slot.waits_long, slot.blocked) = (false, None);
            slot.queue.shrink_to(SHORT_QUEUE);
            self.free.push(id);
        }
    }

    /// Returns the unit of order of a delivery, or `None` if it has no order.
    pub(super) fn unit(&self, queued: &Queued) -> Option<u64> {
        let message = &queued.delivery.message;
        self.hash(message.topic_bytes(), message.key())
    }

    /// Returns the units of order of some deliveries.
    pub(super) fn units<'a>(&self, queued: impl Iterator<Item = &'a Queued>) -> Units {
        queued.filter_map(|queued| self.unit(queued)).collect()
    }

    /// Returns the hash of the unit of order, or `None` if the message has no order.
    fn hash(&self, topic: &[u8], key: Option<&[u8]>) -> Option<u64> {
        match (self.ordering, key) {
            (Ordering::None, _) | (Ordering::Key, None) => None,
            (Ordering::Partition, _) => Some(0),
            // The lengths are hashed too: no other topic and key have the same bytes.
            (Ordering::Key, Some(key)) => Some(self.hasher.hash_one((topic, key))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MessageParts;

    #[test]
    fn the_messages_of_a_long_queue_keep_their_order_and_content() {
        let message = |number: usize| {
            let (id, payload) = (number.to_string(), vec![b'x'; number * 7 % (BUFFER + 500)]);
            let parts = MessageParts { source: "s", topic: "t", key: Some(b"a"), ..MessageParts::default() };
            Message::new(MessageParts { id: &id, payload: Some(&payload), ..parts })
        };
        let (mut keys, count) = (Keys::new(Ordering::Key), LONG_QUEUE + 1_000);
        let id = keys.occupy(&message(0)).unwrap();
        for number in 0..count {
            let message = message(number);
            let place = Place::new(number as u64, &message);
            keys.queue(id, Queued { delivery: Delivery::new(message, "g"), place });
        }
        for number in 0..count {
            assert!(keys.next(id).unwrap().delivery.message == message(number), "{number}");
        }
        assert!(keys.next(id).is_none() && keys.find(&message(0)).is_none());
    }
}
