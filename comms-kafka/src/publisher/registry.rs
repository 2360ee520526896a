//! The topics of a publisher, and whether the look-up of their limits is running.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use super::topic::Topic;

#[derive(Debug, Default)]
pub(super) struct TopicRegistry {
    topics: Mutex<HashMap<Arc<str>, Arc<Topic>>>,
    lookup_running: Mutex<bool>,
}

impl TopicRegistry {
    /// Returns the topic `name`. Creates the entry for the first message to it.
    pub(super) fn topic(&self, name: &str) -> Arc<Topic> {
        let mut topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(topic) = topics.get(name) {
            return topic.clone();
        }
        let name: Arc<str> = name.into();
        topics.entry(name.clone()).or_insert_with(|| Arc::new(Topic::new(name))).clone()
    }

    pub(super) fn all(&self) -> Vec<Arc<Topic>> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Marks the look-up as running. Returns whether the caller must start it.
    pub(super) fn begin_lookup(&self) -> bool {
        let mut running = self.lookup_running.lock().unwrap_or_else(PoisonError::into_inner);
        !std::mem::replace(&mut *running, true)
    }

    /// Returns the topics whose messages wait for the limit. If there are none, the look-up counts as ended.
    pub(super) fn without_limit(&self) -> Vec<Arc<Topic>> {
        // Locked for the whole check: a topic that needs its limit after it starts another look-up.
        let mut running = self.lookup_running.lock().unwrap_or_else(PoisonError::into_inner);
        let mut topics = self.all();
        topics.retain(|topic| topic.needs_limit());
        *running = !topics.is_empty();
        topics
    }
}
