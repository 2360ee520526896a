//! The topics whose permission the server could not look up in time: the client keeps them, and subscribes again later.

use super::State;
use crate::client::subscription::Subscription;

impl State {
    /// Keeps the topic and its place, for [`resubscribe`](Self::resubscribe).
    pub(super) fn postpone(&mut self, topic: String) {
        if let Some(place) = self.dropped.remove(&topic) {
            self.places.insert(topic.clone(), place);
        }
        if self.places.contains_key(&topic) && !self.wanted.contains_key(&topic) {
            // A topic of the cursor alone. From now on the client asks for it by name.
            self.wanted.insert(topic.clone(), Subscription::new(topic.clone()));
        }
        if self.wanted.contains_key(&topic) {
            self.unavailable.insert(topic);
        }
    }

    /// Returns whether [`resubscribe`](Self::resubscribe) has topics.
    pub(in crate::client) fn has_unavailable(&self) -> bool {
        !self.unavailable.is_empty()
    }

    /// Returns the frames that subscribe again to the postponed topics.
    pub(in crate::client) fn resubscribe(&mut self) -> Vec<String> {
        let topics = std::mem::take(&mut self.unavailable);
        let wanted = topics.iter().filter_map(|topic| self.wanted.get(topic));
        wanted.map(|wanted| self.subscribe_frame(wanted)).collect()
    }
}
