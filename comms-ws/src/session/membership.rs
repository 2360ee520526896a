//! The membership of a session in a topic.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use crate::{
    backplane::Position,
    connection::{Connection, Member},
    cursor,
    feed::Feed,
    hub::state::HubState,
    message::Message,
    protocol::{JoinedTopic, ServerFrame},
    shard::Window,
    topic::{Filter, Topic},
};

/// The membership of a session in a topic. Dropping it leaves the topic.
pub(super) struct Membership {
    hub: Arc<HubState>,
    pub(super) feed: Arc<Feed>,
    pub(super) member: Arc<Member>,
    /// The session gets the messages of the topic. With a window, it may wait for its client now.
    live: AtomicBool,
    window: Option<Arc<Window>>,
}

impl Membership {
    /// Enters a topic. `window`: the number of events that the session may be sent before its client acknowledges.
    pub(super) fn enter(
        hub: &Arc<HubState>,
        connection: &Arc<Connection>,
        topic: &str,
        window: Option<usize>,
    ) -> Arc<Self> {
        let feed = hub.feeds.enter(topic, || hub.env.config.topics.of(topic));
        hub.env.meters.join_begins();
        let (member, live) = (Member::new(connection), AtomicBool::new(false));
        Arc::new(Self { hub: hub.clone(), feed, member, live, window: window.map(Window::new) })
    }

    /// Leaves the topic. No message of it is sent to the session afterwards.
    pub(super) fn leave(&self) {
        {
            // Under the lock of the feed, so that a join does not add the session afterwards.
            let _feed = self.feed.lock();
            if !self.member.leave() {
                return;
            }
            if !self.is_live() {
                self.hub.env.meters.join_ends();
            } else if let Some(principal) = self.present() {
                self.hub.presence.leave(self.name(), principal);
            }
            let connection = self.member.connection.id;
            if let Some(shard) = self.hub.fanout.shard_of(connection) {
                shard.unsubscribe(self.name(), connection);
            }
        }
        self.hub.feeds.leave(self.name(), &*self.hub.fanout.backplane);
    }

    /// Returns the name of the topic.
    pub(super) fn name(&self) -> &Arc<str> {
        &self.feed.topic.name
    }

    /// Notes that the session gets the messages of the topic. Called under the lock of the feed.
    pub(super) fn set_live(&self) {
        if self.live.swap(true, Relaxed) {
            return;
        }
        self.hub.env.meters.join_ends();
        if let Some(principal) = self.present() {
            self.hub.presence.join(self.name(), principal);
        }
    }

    /// Returns the principal of the session if the topic lists who is present.
    fn present(&self) -> Option<Arc<str>> {
        if !self.feed.topic.options.presence {
            return None;
        }
        self.member.connection.peer.principal()
    }

    pub(super) fn is_live(&self) -> bool {
        self.live.load(Relaxed)
    }

    /// Returns the window of the subscription, if it has one.
    pub(super) fn window(&self) -> Option<&Arc<Window>> {
        self.window.as_ref()
    }

    /// Gives a session that takes part in the topic another filter, and confirms it to the client.
    pub(super) fn change_filter(&self, filter: Filter) {
        let (hub, topic) = (&self.hub, &self.feed.topic);
        // Under the lock of the feed, so that the cursor of the confirmation is that of the last message. The confirmation
        // takes its place in the turn of the topic, after the messages for which the filter before is in force.
        let feed = self.feed.lock();
        let joined = joined(hub, topic, feed.last, !filter.is_empty());
        let text = ServerFrame::Subscribed(&joined).encode();
        let confirmation = Message::control(topic.clone(), feed.last, text, &hub.env.meters);
        let filter = (!filter.is_empty()).then(|| Arc::new(filter));
        if let Some(shard) = hub.fanout.shard_of(self.member.connection.id) {
            shard.change_filter(&topic.name, self.member.connection.id, filter, Arc::new(confirmation));
        }
    }
}

/// Returns what a client learns about a topic that it has joined at `position`, without a position of its own.
pub(super) fn joined(
    hub: &HubState,
    topic: &Topic,
    position: Option<Position>,
    has_filter: bool,
) -> JoinedTopic {
    let cursor = position.map(|position| cursor::token(&hub.env.cursor_keys, &topic.name, position));
    let sparse = topic.options.is_sparse(has_filter);
    JoinedTopic { topic: topic.name.as_ref().to_owned(), cursor, recovered: None, sparse, window: None }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.leave();
    }
}
