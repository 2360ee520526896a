//! The state of the most recently used keys, in bounded memory.

use governor::{nanos::Nanos, state::StateStore};
use hashbrown::HashTable;
use std::{
    collections::hash_map::RandomState,
    hash::{BuildHasher, Hash},
    sync::{Mutex, PoisonError},
};

/// A type that identifies the callers of a keyed rate limit. Implemented for every type that satisfies the bounds.
pub trait RateLimitKey: Hash + Eq + Clone {}

impl<K: Hash + Eq + Clone> RateLimitKey for K {}

/// The number of locks, so that keys on different cores seldom contend for one.
const SHARDS: usize = 16;

pub(super) struct Recent<K> {
    shards: Vec<Mutex<Shard<K>>>,
    hasher: RandomState,
}

/// Two generations of keys. When the young generation is full, it replaces the old one, whose keys are evicted.
/// Eviction needs no order of use per call, and evicts only keys that were not used while a whole generation of other
/// keys was.
struct Shard<K> {
    young: HashTable<(K, Nanos)>,
    old: HashTable<(K, Nanos)>,
    generation: usize,
}

impl<K> Recent<K> {
    pub(super) fn new(max_keys: usize) -> Self {
        // A shard for only a few keys would evict keys too soon.
        let shards = SHARDS.min(max_keys / 64).max(1);
        let generation = (max_keys / shards / 2).max(1);
        let shard = || Mutex::new(Shard { young: HashTable::new(), old: HashTable::new(), generation });
        Self { shards: std::iter::repeat_with(shard).take(shards).collect(), hasher: RandomState::new() }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        let size = |shard: &Mutex<Shard<K>>| {
            let shard = shard.lock().unwrap();
            shard.young.len() + shard.old.len()
        };
        self.shards.iter().map(size).sum()
    }
}

impl<K: RateLimitKey> StateStore for Recent<K> {
    type Key = K;

    fn measure_and_replace<T, F, E>(&self, key: &K, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        // One hash for the choice of the shard and for both tables.
        let hash = self.hasher.hash_one(key);
        let shard = (hash >> 32) as usize % self.shards.len();
        let mut shard = self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, arrival)) = shard.young.find_mut(hash, |(stored, _)| stored == key) {
            let (answer, next) = decide(Some(*arrival))?;
            *arrival = next;
            return Ok(answer);
        }
        let found = shard.old.find_entry(hash, |(stored, _)| stored == key).ok();
        let arrival = found.map(|entry| entry.remove().0.1);
        let decision = decide(arrival);
        // A rejected key is stored again: it was removed from the old generation above, and without its state the next
        // call would find a full burst.
        let next = decision.as_ref().map_or(arrival, |(_, next)| Some(*next));
        if let Some(next) = next {
            if shard.young.len() >= shard.generation {
                shard.old = std::mem::take(&mut shard.young);
            }
            shard.young.insert_unique(hash, (key.clone(), next), |(stored, _)| self.hasher.hash_one(stored));
        }
        decision.map(|(answer, _)| answer)
    }
}
