//! The membership of a session in a topic.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use crate::{
    connection::{Connection, Item},
    cursor,
    hub::state::HubState,
    protocol::{JoinedTopic, ServerFrame},
    shard::Subscriber,
    topic::{Filter, Topic},
};

/// The membership of a session in a topic. Dropping it leaves the topic.
pub(super) struct Membership {
    hub: Arc<HubState>,
    pub(super) topic: Arc<Topic>,
    connection: u64,
    left: AtomicBool,
    /// The session gets the messages of the topic.
    live: AtomicBool,
}

impl Membership {
    pub(super) fn enter(hub: &Arc<HubState>, connection: &Connection, topic: &str) -> Arc<Self> {
        let topic = hub.topics.enter(topic, || hub.config.topics.of(topic));
        let (left, live) = Default::default();
        Arc::new(Self { hub: hub.clone(), topic, connection: connection.id, left, live })
    }

    /// Leaves the topic. No message is sent to the session afterwards, besides those that a flusher writes now.
    pub(super) fn leave(&self) {
        {
            // Under the lock of the feed, so that a join does not add the session afterwards.
            let _feed = self.topic.feed.lock();
            if self.left.swap(true, Relaxed) {
                return;
            }
            if let Some(shard) = self.hub.shard_of(self.connection) {
                shard.unsubscribe(&self.topic.name, self.connection);
            }
        }
        self.hub.topics.leave(&self.topic.name, &*self.hub.backplane);
    }

    /// Returns whether the session has left. Under the lock of the feed the answer does not change.
    pub(super) fn has_left(&self) -> bool {
        self.left.load(Relaxed)
    }

    pub(super) fn set_live(&self) {
        self.live.store(true, Relaxed);
    }

    pub(super) fn is_live(&self) -> bool {
        self.live.load(Relaxed)
    }

    /// Gives a session that takes part in the topic another filter, and confirms it to the client.
    pub(super) fn change_filter(&self, connection: &Arc<Connection>, filter: Filter) {
        let (hub, topic) = (&self.hub, &self.topic);
        // Under the lock of the feed, so that the cursor of the confirmation is that of the last message.
        let feed = topic.feed.lock();
        let cursor = feed.last.map(|position| cursor::token(&hub.cursor_keys, &topic.name, position));
        let sparse = topic.options.is_sparse(!filter.is_empty());
        let joined = JoinedTopic { topic: topic.name.as_ref().to_owned(), cursor, recovered: None, sparse };
        connection.send(Item::with_cursors(&ServerFrame::Subscribed(&joined), [&joined]));
        let filter = (!filter.is_empty()).then(|| Arc::new(filter));
        if let Some(shard) = hub.shard_of(connection.id) {
            shard.subscribe(topic, Subscriber { connection: connection.clone(), since: None, filter });
        }
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.leave();
    }
}
