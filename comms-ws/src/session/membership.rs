//! The membership of a session in a topic.

use std::sync::{
    Arc, OnceLock,
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
    shard::{Change, Window},
    topic::{Filter, Topic},
};

/// The membership of a session in a topic. Dropping it leaves the topic.
pub(super) struct Membership {
    hub: Arc<HubState>,
    pub(super) feed: Arc<Feed>,
    pub(super) member: Arc<Member>,
    /// The subscription is confirmed, or has no need to be, and can be changed in its place.
    is_joined: AtomicBool,
    /// Empty until a subscription of the session to the topic has a window.
    window: OnceLock<Arc<Window>>,
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
        let (member, is_joined) = (Member::new(connection), AtomicBool::new(false));
        let window = window.map_or_else(OnceLock::new, |size| Window::new(Some(size)).into());
        Arc::new(Self { hub: hub.clone(), feed, member, is_joined, window })
    }

    /// Leaves the topic. No message of it is sent to the session afterwards.
    pub(super) fn leave(&self) {
        {
            // Under the lock of the feed, so that a join does not add the session afterwards.
            let _feed = self.feed.lock();
            if !self.member.leave() {
                return;
            }
            let connection = self.member.connection.id;
            if let Some(shard) = self.hub.fanout.shard_of(connection) {
                shard.unsubscribe(self.name(), connection);
            }
        }
        // Its task ends.
        if let Some(window) = self.window.get() {
            window.close();
        }
        self.hub.feeds.leave(self.name(), &*self.hub.fanout.backplane);
    }

    /// Returns the name of the topic.
    pub(super) fn name(&self) -> &Arc<str> {
        &self.feed.topic.name
    }

    pub(super) fn set_joined(&self) {
        self.is_joined.store(true, Relaxed);
    }

    pub(super) fn is_joined(&self) -> bool {
        self.is_joined.load(Relaxed)
    }

    /// Returns the window of the subscription, if it has or had one.
    pub(super) fn window(&self) -> Option<&Arc<Window>> {
        self.window.get()
    }

    /// Replaces the subscription of a session that has joined the topic, and confirms the new one to the client. Returns
    /// `true` if the subscription gets its first window, for which the caller runs the task.
    pub(super) fn change(&self, filter: Filter, size: Option<usize>) -> bool {
        let is_first = self.window.get().is_none();
        if is_first && size.is_none() {
            self.change_filter(filter);
            return false;
        }
        let filter = (!filter.is_empty()).then(|| Arc::new(filter));
        let window = self.window.get_or_init(|| Window::new(None));
        window.request(Change { filter, size });
        // Under the lock of the feed, so that no message comes between and no join lets the session take part meanwhile.
        let feed = self.feed.lock();
        if is_first {
            window.begin(feed.last);
        }
        if let Some(shard) = self.hub.fanout.shard_of(self.member.connection.id) {
            shard.detach(self.name(), self.member.connection.id, window);
        }
        is_first
    }

    /// Gives a session that takes part in the topic another filter, and confirms it to the client.
    fn change_filter(&self, filter: Filter) {
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
