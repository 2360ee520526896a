//! How a session joins a topic, with what its client has missed.
//!
//! The session must get each message after its position once, although messages arrive while the history is read. A join
//! reads the history page by page, and looks after each page whether it has reached the last message that the shards
//! have; under the lock of the feed, so that no message comes between. The feed keeps the messages from the reading of a page
//! on, so that a busy topic does not run away from the session.
//!
//! With a window, the join is not over when the session takes part in the topic: when the window is full, the flusher leaves
//! the session to the join, which waits for an acknowledgement and goes on from the position reached (`session/window.rs`).

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use bytes::Bytes;
use comms_core::Error;

use super::membership::{Membership, joined};
use crate::{
    backplane::{Position, Retention},
    connection::{Item, Member},
    cursor::Places,
    feed::{Feed, KeepRecent},
    hub::state::HubState,
    message::Message,
    protocol::{JoinedTopic, ServerFrame},
    shard::{Subscriber, Window},
};

/// The wait before the queue of a slow client is looked at again.
pub(super) const QUEUE_WAIT: Duration = Duration::from_millis(20);

/// Where a session begins in a topic.
#[derive(Debug, Clone, Copy)]
pub(super) enum Start {
    /// With the next message.
    Now,
    /// After this position of its client. `None`: the client named a position that cannot be read.
    After(Option<Position>),
}

impl Start {
    /// Returns where a session with the cursor `places` begins in `topic`.
    pub(super) fn of(places: &Places, topic: &str) -> Self {
        places.position(topic).map_or(Self::Now, Self::After)
    }
}

/// A session on its way into a topic.
pub(super) struct Join {
    pub(super) hub: Arc<HubState>,
    pub(super) member: Arc<Member>,
    pub(super) membership: Weak<Membership>,
    pub(super) feed: Arc<Feed>,
    /// The position up to which the session has the messages. `None` in a topic without history.
    pub(super) reached: Option<Position>,
    /// Messages after `reached` that were read at the beginning.
    page: Vec<(u64, Bytes)>,
    /// Messages that were read at the beginning were not kept or not sent: they are read again.
    is_behind: bool,
    recovered: Option<bool>,
    pub(super) recent: Option<KeepRecent>,
    pub(super) window: Option<Arc<Window>>,
}

impl Join {
    /// Waits until the backplane delivers the topic, and finds out whether the client can resume at `start`. Reads at most
    /// `page` bytes, or one message, for that, and keeps at most `page` bytes.
    pub(super) async fn begin(
        hub: Arc<HubState>,
        membership: &Arc<Membership>,
        start: Start,
        page: usize,
    ) -> Option<Self> {
        let mut join = Self::of(hub, membership);
        membership.member.unless_left(join.enter(start, page)).await??;
        Some(join)
    }

    /// Waits until the backplane delivers the topic, and finds the position at which the session begins. Returns `None` if
    /// the session has left the topic.
    async fn enter(&mut self, start: Start, page: usize) -> Option<()> {
        self.activate().await?;
        if let Some(retention) = self.feed.topic.options.history {
            self.recent = Some(KeepRecent::new(&self.feed));
            self.reached = self.feed.lock().last;
            self.resume(retention, start, page).await?;
        } else if matches!(start, Start::After(_)) {
            self.recovered = Some(false);
        }
        if let Some(window) = &self.window {
            window.begin(self.reached);
        }
        Some(())
    }

    /// Creates a join that has done nothing.
    fn of(hub: Arc<HubState>, membership: &Arc<Membership>) -> Self {
        Self {
            hub,
            member: membership.member.clone(),
            membership: Arc::downgrade(membership),
            feed: membership.feed.clone(),
            reached: None,
            page: Vec::new(),
            is_behind: false,
            recovered: None,
            recent: None,
            window: membership.window().cloned(),
        }
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
            let read = self.repeat(|| self.read(retention, since, page)).await?;
            let Some(messages) = read.messages else {
                self.reached = self.feed.lock().last;
                return Some(());
            };
            // One message may be larger than the page.
            self.is_behind = messages.iter().map(|(_, body)| body.len()).sum::<usize>() > page;
            if !self.is_behind {
                self.page = messages;
            }
        }
        (self.reached, self.recovered) = (Some(since), Some(true));
        Some(())
    }

    /// Returns what the client learns about the join before its first message.
    pub(super) fn joined(&self) -> JoinedTopic {
        let has_filter = self.membership.upgrade().is_some_and(|membership| membership.filter().is_some());
        JoinedTopic {
            recovered: self.recovered,
            window: self.window.as_ref().map(|window| window.size()),
            ..joined(&self.hub, &self.feed.topic, self.reached, has_filter)
        }
    }

    /// Confirms the subscription to the client.
    pub(super) fn send_subscribed(&self) {
        let joined = self.joined();
        self.member.send(Item::with_cursors(&ServerFrame::Subscribed(&joined), [&joined]));
    }

    /// Sends what the client has missed, and then lets the session take part in the topic. With a window, ends with the
    /// membership. Ends at once when the session leaves the topic.
    pub(super) async fn finish(self) {
        let member = self.member.clone();
        member.unless_left(self.run()).await;
    }

    async fn run(mut self) {
        let page = std::mem::take(&mut self.page);
        self.is_behind |= !self.send_now(page);
        self.catch_up().await;
        while self.has_left_live().await {
            self.catch_up().await;
        }
    }

    /// Sends the messages after the position reached, until the session takes part in the topic or has left it.
    async fn catch_up(&mut self) {
        while self.is_wanted() {
            self.wait_for_window().await;
            if !std::mem::take(&mut self.is_behind) && self.try_go_live() {
                return;
            }
            let (Some(retention), Some(reached)) = (self.feed.topic.options.history, self.reached) else {
                return;
            };
            let Some((read, permit)) = self.read_page(retention, reached).await else { return };
            match read.messages {
                // The feed is about to change its epoch.
                Some(messages) if messages.is_empty() => {
                    drop(permit);
                    self.hub.env.clock.sleep(QUEUE_WAIT).await;
                }
                Some(messages) => self.send_page(messages).await,
                // The next reading has the messages of the new epoch.
                None if read.top.epoch != reached.epoch => {
                    self.skip_to(Position { offset: 0, ..read.top }, "epoch");
                }
                None => self.skip_to(read.top, "history"),
            }
        }
    }

    /// Returns whether the session is open and has not left the topic.
    pub(super) fn is_wanted(&self) -> bool {
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
                let filter = membership.filter();
                recent.retain(|message| message.passes(filter.as_deref()));
                // The task of the session alone sends now, so the window has no less room when it counts them.
                if self.window.as_ref().is_some_and(|window| window.room() < recent.len()) {
                    return false;
                }
                self.send(recent);
                self.reach(last);
            }
        }
        if let Some(window) = &self.window {
            window.go_live();
        }
        let (filter, window) = (membership.filter(), self.window.clone());
        let subscriber = Subscriber::new(self.member.clone(), self.reached, filter, window);
        if let Some(shard) = self.hub.fanout.shard_of(self.member.connection.id) {
            shard.subscribe(&self.feed.topic, subscriber);
        }
        membership.set_live();
        true
    }

    /// Repeats an access to the backplane until it succeeds. Returns `None` if the session has left the topic.
    pub(super) async fn repeat<T, F: Future<Output = Result<T, Error>>>(
        &self,
        access: impl Fn() -> F,
    ) -> Option<T> {
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
