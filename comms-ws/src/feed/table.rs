//! The feeds of the topics that have subscribers on this node.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::Feed;
use crate::{
    backplane::Backplane,
    topic::{Topic, TopicOptions},
};

/// The number of locks. Topics with the same remainder share a lock.
const LOCKS: usize = 16;

type Part = HashMap<Arc<str>, Member>;

struct Member {
    feed: Arc<Feed>,
    /// The number of sessions that have entered the topic.
    count: usize,
}

/// The feeds of the topics that sessions of this node have entered.
#[derive(Default)]
pub(crate) struct Feeds {
    parts: [Mutex<Part>; LOCKS],
    hasher: RandomState,
}

impl Feeds {
    /// Enters a topic, which is kept until as many [`leave`](Self::leave).
    pub(crate) fn enter(&self, name: &str, options: impl FnOnce() -> TopicOptions) -> Arc<Feed> {
        let mut part = self.part(name);
        if let Some(member) = part.get_mut(name) {
            member.count += 1;
            return member.feed.clone();
        }
        let feed = Arc::new(Feed::new(Topic { name: name.into(), options: options() }));
        part.insert(feed.topic.name.clone(), Member { feed: feed.clone(), count: 1 });
        feed
    }

    /// Leaves a topic. The last one ends the delivery of `backplane`, under the lock, so that a session that enters
    /// the topic next cannot lose its subscription to it.
    pub(crate) fn leave(&self, name: &str, backplane: &dyn Backplane) {
        let mut part = self.part(name);
        let Entry::Occupied(mut entry) = part.entry(name.into()) else { return };
        entry.get_mut().count -= 1;
        if entry.get().count == 0 {
            entry.remove().feed.close();
            backplane.unsubscribe(name);
        }
    }

    pub(crate) fn get(&self, name: &str) -> Option<Arc<Feed>> {
        self.part(name).get(name).map(|member| member.feed.clone())
    }

    pub(crate) fn len(&self) -> usize {
        self.parts.iter().map(|part| lock(part).len()).sum()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Feed>> {
        let feeds = |part: &Mutex<Part>| -> Vec<Arc<Feed>> {
            lock(part).values().map(|member| member.feed.clone()).collect()
        };
        self.parts.iter().flat_map(feeds).collect()
    }

    /// Returns the topics with the number of their sessions.
    pub(crate) fn counts(&self) -> Vec<(Arc<str>, usize)> {
        let counts = |part: &Mutex<Part>| -> Vec<(Arc<str>, usize)> {
            lock(part).iter().map(|(name, member)| (name.clone(), member.count)).collect()
        };
        self.parts.iter().flat_map(counts).collect()
    }

    fn part(&self, name: &str) -> MutexGuard<'_, Part> {
        // The remainder fits into usize on any platform.
        lock(&self.parts[(self.hasher.hash_one(name) % LOCKS as u64) as usize])
    }
}

fn lock(part: &Mutex<Part>) -> MutexGuard<'_, Part> {
    part.lock().unwrap_or_else(PoisonError::into_inner)
}
