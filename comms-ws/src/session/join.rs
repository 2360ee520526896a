//! How a session joins a topic, with what its client has missed.
//!
//! The session must get each message after its position once, although messages arrive while the history is read. A join
//! reads the history page by page, and looks after each page whether it has reached the last message that the shards
//! have; under the lock of the feed, so that no message comes between. The feed keeps its last messages while sessions
//! join, so that a busy topic does not run away from them.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use bytes::Bytes;
use comms_core::Error;

use super::membership::{Membership, joined};
use crate::{
    backplane::{History, Position, Retention},
    connection::{Item, Member},
    feed::{Feed, PAGE_BYTES},
    hub::state::HubState,
    message::{Batch, Message},
    protocol::{JoinedTopic, ServerFrame},
    shard::Subscriber,
    topic::Filter,
};

/// The wait before the queue of a slow client is looked at again.
const QUEUE_WAIT: Duration = Duration::from_millis(20);

/// Where a session begins in a topic.
#[derive(Debug, Clone, Copy)]
pub(super) enum Start {
    /// With the next message.
    Now,
    /// After this position of its client. `None`: the client named a position that cannot be read.
    After(Option<Position>),
}

/// A session on its way into a topic.
pub(super) struct Join {
    hub: Arc<HubState>,
    member: Arc<Member>,
    membership: Weak<Membership>,
    feed: Arc<Feed>,
    filter: Option<Arc<Filter>>,
    /// The position up to which the session has the messages. `None` in a topic without history.
    reached: Option<Position>,
    /// Messages after `reached` that were read at the beginning.
    page: Vec<(u64, Bytes)>,
    recovered: Option<bool>,
    _recent: Option<KeepRecent>,
}

impl Join {
    /// Waits until the backplane delivers the topic, and finds out whether the client can resume at `start`. Reads at most
    /// `page` bytes, or one message, for that.
    pub(super) async fn begin(
        hub: Arc<HubState>,
        membership: &Arc<Membership>,
        filter: Filter,
        start: Start,
        page: usize,
    ) -> Option<Self> {
        let feed = membership.feed.clone();
        let mut join = Self {
            filter: (!filter.is_empty()).then(|| Arc::new(filter)),
            membership: Arc::downgrade(membership),
            reached: None,
            page: Vec::new(),
            recovered: None,
            _recent: None,
            hub,
            member: membership.member.clone(),
            feed,
        };
        join.activate().await?;
        if let Some(retention) = join.feed.topic.options.history {
            join._recent = Some(KeepRecent::new(&join.feed));
            join.reached = join.feed.lock().last;
            join.resume(retention, start, page).await?;
        } else if matches!(start, Start::After(_)) {
            join.recovered = Some(false);
        }
        Some(join)
    }

    /// Waits until the backplane delivers the topic. Returns `None` if the session has left it.
    async fn activate(&self) -> Option<()> {
        let active = self.feed.active.get_or_try_init(|| async {
            let position = self.repeat(|| self.hub.fanout.subscribe(&self.feed.topic)).await;
            position.map(|position| self.feed.lock().start_at(position)).ok_or(())
        });
        active.await.ok().copied()
    }

    /// Finds out whether the client can resume. Returns `None` if the session has left the topic.
    async fn resume(&mut self, retention: Retention, start: Start, page: usize) -> Option<()> {
        let since = match start {
            Start::Now => return Some(()),
            Start::After(since) => since,
        };
        self.recovered = Some(false);
        let since = match since {
            Some(since) => since,
            None => return Some(()),
        };
        if self.reached != Some(since) {
            let read = self.read(retention, since, page).await?;
            let Some(messages) = read.messages else {
                self.reached = self.feed.lock().last;
                return Some(());
            };
            self.page = messages;
        }
        (self.reached, self.recovered) = (Some(since), Some(true));
        Some(())
    }

    /// Returns what the client learns about the join before its first message.
    pub(super) fn joined(&self) -> JoinedTopic {
        let has_filter = self.filter.is_some();
        JoinedTopic {
            recovered: self.recovered,
            ..joined(&self.hub, &self.feed.topic, self.reached, has_filter)
        }
    }

    /// Confirms the subscription to the client.
    pub(super) fn send_subscribed(&self) {
        let joined = self.joined();
        self.member.send(Item::with_cursors(&ServerFrame::Subscribed(&joined), [&joined]));
    }

    /// Sends what the client has missed, and then lets the session take part in the topic.
    pub(super) async fn finish(mut self) {
        let page = std::mem::take(&mut self.page);
        self.send_page(page).await;
        while self.is_wanted() && !self.try_go_live() {
            let (Some(retention), Some(reached)) = (self.feed.topic.options.history, self.reached) else {
                return;
            };
            self.wait_for_room(0, 0).await;
            let Some(read) = self.read(retention, reached, PAGE_BYTES).await else { return };
            match read.messages {
                // The feed is about to change its epoch.
                Some(messages) if messages.is_empty() => self.hub.env.clock.sleep(QUEUE_WAIT).await,
                Some(messages) => self.send_page(messages).await,
                None => self.skip_to(read.top, "history"),
            }
        }
    }

    /// Returns whether the session is open and has not left the topic.
    fn is_wanted(&self) -> bool {
        self.member.connection.is_open() && !self.member.has_left()
    }

    /// Adds the session to the topic if it has every message up to the last one. Returns `false` if it has not yet.
    fn try_go_live(&mut self) -> bool {
        let Some(membership) = self.membership.upgrade() else { return true };
        let feed = self.feed.clone();
        let mut state = feed.lock();
        if self.member.has_left() {
            return true;
        }
        if let (Some(reached), Some(last)) = (self.reached, state.last) {
            if reached.epoch != last.epoch {
                // One of both has not learned yet that the epoch has changed.
                feed.repair(&self.hub.fanout, &mut state);
                return false;
            }
            if reached.offset < last.offset {
                let missing = (last.offset - reached.offset) as usize;
                let mut recent: Vec<_> = state.recent.iter().rev().take(missing).cloned().collect();
                recent.reverse();
                let is_next = |first: &Arc<Message>| {
                    first.position.is_some_and(|at| at.epoch == last.epoch && at.offset == reached.offset + 1)
                };
                if recent.len() < missing || !recent.first().is_some_and(is_next) {
                    return false;
                }
                let bytes = recent.iter().map(|message| message.size()).sum();
                if !self.has_room(bytes, recent.len()) {
                    return false;
                }
                self.send(recent);
                self.reached = Some(last);
            }
        }
        let subscriber = Subscriber::new(self.member.clone(), self.reached, self.filter.clone());
        if let Some(shard) = self.hub.fanout.shard_of(self.member.connection.id) {
            shard.subscribe(&self.feed.topic, subscriber);
        }
        membership.set_live();
        true
    }

    /// Sends messages in parts of at most half the queue, each when the queue has room for it.
    async fn send_page(&mut self, mut page: Vec<(u64, Bytes)>) {
        let config = &self.hub.env.config;
        let (max_bytes, max_frames) = (config.queue_bytes / 2, (config.queue_frames / 2).max(1));
        while !page.is_empty() {
            let (mut count, mut bytes) = (0, 0);
            for (_, body) in page.iter().take(max_frames) {
                if count > 0 && bytes + body.len() > max_bytes {
                    break;
                }
                (count, bytes) = (count + 1, bytes + body.len());
            }
            self.wait_for_room(bytes, count).await;
            let rest = page.split_off(count);
            self.send_part(std::mem::replace(&mut page, rest));
        }
    }

    fn send_part(&mut self, part: Vec<(u64, Bytes)>) {
        let Some(reached) = self.reached else { return };
        let mut messages = Vec::with_capacity(part.len());
        for (offset, body) in part {
            let at = Position { offset, ..reached };
            self.reached = Some(at);
            // The feed has reported a message that cannot be read.
            messages.extend(
                Message::event(self.feed.topic.clone(), Some(at), &body, &self.hub.env.meters).map(Arc::new),
            );
        }
        self.send(messages);
    }

    fn send(&self, mut messages: Vec<Arc<Message>>) {
        messages.retain(|message| message.passes(self.filter.as_deref()));
        if !messages.is_empty() {
            self.hub.env.meters.delivered(self.member.deliver(&Batch::new(messages)));
        }
    }

    /// Notifies the client that the messages up to `position` are lost.
    fn skip_to(&mut self, position: Position, reason: &'static str) {
        let (keys, meters) = (&self.hub.env.cursor_keys, &self.hub.env.meters);
        let notice = Message::missed(self.feed.topic.clone(), Some(position), reason, keys, meters);
        self.member.send(Item::Message(Arc::new(notice)));
        self.reached = Some(position);
    }

    /// Waits while the client has not taken enough of what was sent before.
    async fn wait_for_room(&self, bytes: usize, frames: usize) {
        while self.is_wanted() && !self.has_room(bytes, frames) {
            self.hub.env.clock.sleep(QUEUE_WAIT).await;
        }
    }

    /// Returns whether the queue is empty, or takes `bytes` in `frames` and is at most three quarters full then.
    fn has_room(&self, bytes: usize, frames: usize) -> bool {
        let ((queued, items), config) = (self.member.connection.queued(), &self.hub.env.config);
        let fits =
            queued + bytes <= config.queue_bytes / 4 * 3 && items + frames <= config.queue_frames / 4 * 3;
        fits || (queued, items) == (0, 0)
    }

    async fn read(&self, retention: Retention, since: Position, page: usize) -> Option<History> {
        let page = page.min(self.hub.env.config.queue_bytes / 2);
        // Each attempt waits for its turn, so that a history that cannot be read does not hold others up.
        self.repeat(|| self.hub.fanout.history(&self.feed.topic, retention, since, page)).await
    }

    /// Repeats an access to the backplane until it succeeds. Returns `None` if the session has left the topic.
    async fn repeat<T, F: Future<Output = Result<T, Error>>>(&self, access: impl Fn() -> F) -> Option<T> {
        let (fanout, clock) = (&self.hub.fanout, &self.hub.env.clock);
        let mut attempt = 1;
        while self.is_wanted() {
            match access().await {
                Ok(result) => return Some(result),
                Err(error) => fanout.warn(&self.feed.topic.name, &error),
            }
            clock.sleep(fanout.backoff.delay(attempt, clock)).await;
            attempt = attempt.saturating_add(1);
        }
        None
    }
}

/// Keeps the recent messages of a topic while it lives.
struct KeepRecent(Arc<Feed>);

impl KeepRecent {
    fn new(feed: &Arc<Feed>) -> Self {
        feed.lock().begin_join();
        Self(feed.clone())
    }
}

impl Drop for KeepRecent {
    fn drop(&mut self) {
        self.0.lock().end_join();
    }
}
