//! The membership of a session in a topic.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use super::grant::Session;
use crate::{
    backplane::Position,
    connection::{Connection, Item, Member},
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
    /// The filter of the messages that are sent from now on. Changed under the lock of the feed.
    filter: Mutex<Option<Arc<Filter>>>,
    window: Option<Arc<Window>>,
}

impl Membership {
    /// Enters a topic. `window`: the number of events that the session may be sent before its client acknowledges.
    pub(super) fn enter(
        hub: &Arc<HubState>,
        connection: &Arc<Connection>,
        topic: &str,
        filter: Filter,
        window: Option<usize>,
    ) -> Arc<Self> {
        let feed = hub.feeds.enter(topic, || hub.env.config.topics.of(topic));
        hub.env.meters.join_begins();
        let (member, live) = (Member::new(connection), AtomicBool::new(false));
        let (filter, window) = (Mutex::new(shared(filter)), window.map(Window::new));
        Arc::new(Self { hub: hub.clone(), feed, member, live, filter, window })
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

    /// Returns the principal of the session if the topic has presence (`TopicOptions::presence`).
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

    /// Returns the filter of the subscription. `None`: every message passes.
    pub(super) fn filter(&self) -> Option<Arc<Filter>> {
        self.filter.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Applies the filter with which a new session of the client grants the topic, in place of that of the session before.
    pub(super) fn narrow(&self, session: &Session) {
        let before = self.filter().map(|filter| (*filter).clone()).unwrap_or_default();
        let filter = session.narrow(self.name(), before.clone().without_grant());
        if filter != before {
            self.change_filter(filter);
        }
    }

    /// Gives the subscription another filter. Confirms it to the client if the session takes part in the topic; a join in
    /// progress goes on with it.
    pub(super) fn change_filter(&self, filter: Filter) {
        let (hub, topic) = (&self.hub, &self.feed.topic);
        // Under the lock of the feed, so that the cursor of the confirmation is that of the last message. The confirmation
        // takes its place in the turn of the topic, after the messages for which the filter before is in force.
        let feed = self.feed.lock();
        let filter = shared(filter);
        *self.filter.lock().unwrap_or_else(PoisonError::into_inner) = filter.clone();
        let Some(shard) = hub.fanout.shard_of(self.member.connection.id).filter(|_| self.is_live()) else {
            return;
        };
        let mut joined = joined(hub, topic, feed.last, filter.is_some());
        // With a window the client stays where it is: it has not been sent all messages up to the last one.
        if let Some(window) = &self.window {
            (joined.recovered, joined.window) = (Some(true), Some(window.size()));
            shard.change_filter(&topic.name, self.member.connection.id, filter, None);
            return self.member.send(Item::control(&ServerFrame::Subscribed(&joined)));
        }
        let text = ServerFrame::Subscribed(&joined).encode();
        let confirmation = Arc::new(Message::control(topic.clone(), feed.last, text, &hub.env.meters));
        shard.change_filter(&topic.name, self.member.connection.id, filter, Some(confirmation));
    }
}

/// Returns a filter as messages are matched with it. `None`: every message passes.
fn shared(filter: Filter) -> Option<Arc<Filter>> {
    (!filter.is_empty()).then(|| Arc::new(filter))
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
