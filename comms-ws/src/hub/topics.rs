//! The subscriptions of this process: sessions by topic.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::extract::ws::Utf8Bytes;

use super::outbound::Outbound;

/// The number of locks. Topics with the same remainder share a lock. A delivery holds it while it fills queues, about
/// 100 ns per session.
const SHARDS: usize = 16;

type Subscribers = HashMap<u64, Arc<Outbound>>;
type Shard = HashMap<Box<str>, Subscribers>;

/// Sessions by topic. The lock of a topic is held while a frame is queued, so that all its sessions get its frames in
/// the same order.
#[derive(Default)]
pub(crate) struct Topics {
    shards: [Mutex<Shard>; SHARDS],
    hasher: RandomState,
}

impl Topics {
    /// Subscribes `session`, and queues `confirmation` before any push of the topic.
    pub(crate) fn subscribe(
        &self,
        topic: &str,
        session: u64,
        queue: &Arc<Outbound>,
        confirmation: Option<&Utf8Bytes>,
    ) {
        let mut shard = self.shard(topic);
        if let Some(confirmation) = confirmation {
            queue.push(confirmation);
        }
        match shard.get_mut(topic) {
            Some(subscribers) => drop(subscribers.insert(session, queue.clone())),
            None => drop(shard.insert(topic.into(), HashMap::from([(session, queue.clone())]))),
        }
    }

    pub(crate) fn unsubscribe(&self, topic: &str, session: u64) {
        let mut shard = self.shard(topic);
        let Some(subscribers) = shard.get_mut(topic) else { return };
        subscribers.remove(&session);
        if subscribers.is_empty() {
            shard.remove(topic);
        }
    }

    /// Queues `frame` for every session of `topic` in this process.
    pub(crate) fn deliver(&self, topic: &str, frame: &Utf8Bytes) {
        if let Some(subscribers) = self.shard(topic).get(topic) {
            subscribers.values().for_each(|queue| queue.push(frame));
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).len()).sum()
    }

    fn shard(&self, topic: &str) -> MutexGuard<'_, Shard> {
        // The remainder fits into usize on any platform.
        lock(&self.shards[(self.hasher.hash_one(topic) % SHARDS as u64) as usize])
    }
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}
