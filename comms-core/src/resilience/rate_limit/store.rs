//! The state of the keys used last, in bounded memory.

use governor::{nanos::Nanos, state::StateStore};
use hashbrown::HashTable;
use std::{
    collections::hash_map::RandomState,
    hash::BuildHasher,
    sync::{Mutex, PoisonError},
};

use super::RateLimitKey;

/// Shards, so that keys on different cores seldom meet at a lock.
const SHARDS: usize = 16;

pub(super) struct Recent<K> {
    shards: Vec<Mutex<Shard<K>>>,
    hasher: RandomState,
}

/// Two generations. When the young one is full it becomes the old one, and the old one is forgotten: the bound costs
/// a call nothing, and what is forgotten has not been used since as many other keys were.
struct Shard<K> {
    young: HashTable<(K, Nanos)>,
    old: HashTable<(K, Nanos)>,
    generation: usize,
}

impl<K> Recent<K> {
    pub(super) fn new(max_keys: usize) -> Self {
        // A shard of few keys would forget too soon.
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
        // Hashed once, for the shard and for both tables.
        let hash = self.hasher.hash_one(key);
        let shard = (hash >> 32) as usize % self.shards.len();
        let mut shard = self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, arrival)) = shard.young.find_mut(hash, |(known, _)| known == key) {
            let (answer, next) = decide(Some(*arrival))?;
            *arrival = next;
            return Ok(answer);
        }
        let found = shard.old.find_entry(hash, |(known, _)| known == key).ok();
        let arrival = found.map(|entry| entry.remove().0.1);
        let decision = decide(arrival);
        // A refused key stays known, or asking again would forgive it.
        let next = decision.as_ref().map_or(arrival, |(_, next)| Some(*next));
        if let Some(next) = next {
            if shard.young.len() >= shard.generation {
                shard.old = std::mem::take(&mut shard.young);
            }
            shard.young.insert_unique(hash, (key.clone(), next), |(known, _)| self.hasher.hash_one(known));
        }
        decision.map(|(answer, _)| answer)
    }
}
