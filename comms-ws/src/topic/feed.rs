//! The messages of a topic on this node, put in order.
//!
//! The backplane delivers messages in the order of their offsets where it can. After an interruption some are missing,
//! or come twice. The feed hands each offset to the shards once and in order: it discards duplicates, and holds
//! what comes after a gap until a task has read the missing messages from the history. Where the history does not have them
//! any more, all subscribers get a frame `missed`.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use tokio::sync::OnceCell;

use super::{Topic, recent::Recent};
use crate::{
    backplane::{History, Position, Retention},
    hub::state::HubState,
    message::Message,
};

/// The size of one reading of the history, in bytes.
pub(crate) const PAGE_BYTES: usize = 256 * 1024;
/// The wait before a history that could not be read is read again.
const RETRY: Duration = Duration::from_millis(200);

/// The feed of one topic.
#[derive(Default)]
pub(crate) struct Feed {
    /// Set when the backplane delivers the topic.
    pub(crate) active: OnceCell<()>,
    state: Mutex<State>,
}

#[derive(Default)]
pub(crate) struct State {
    /// The position of the last message that the shards have. `None` in a topic without history.
    pub(crate) last: Option<Position>,
    /// The position of the last message that arrived, also if messages before it are missing.
    arrived: Option<Position>,
    /// A task reads missing messages.
    repairing: bool,
    held: Recent<(Position, Bytes)>,
    /// The last messages, kept while sessions join.
    pub(crate) recent: Recent<Arc<Message>>,
    /// The number of sessions that read the history to join.
    joining: usize,
    /// A message without a position was discarded because a shard is overfull.
    notified: bool,
}

impl Feed {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Feed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feed").field("last", &self.lock().last).finish_non_exhaustive()
    }
}

/// Takes a message of `topic` from the backplane.
pub(crate) fn receive(hub: &Arc<HubState>, topic: &Arc<Topic>, position: Option<Position>, body: Bytes) {
    let mut feed = topic.feed.lock();
    let Some(at) = position else { return feed.pass_without_position(hub, topic, &body) };
    if feed.arrived.is_none_or(|arrived| arrived.epoch != at.epoch || arrived.offset < at.offset) {
        feed.arrived = Some(at);
    }
    let is_next = match feed.last {
        None => true,
        Some(last) if at.epoch == last.epoch && at.offset <= last.offset => return,
        // A message of another epoch may as well be a late one of an older epoch: the history has the current one.
        Some(last) => at.epoch == last.epoch && at.offset == last.offset + 1,
    };
    if is_next && !feed.repairing && !hub.is_overfull() {
        feed.pass(hub, topic, at, &body);
    } else {
        let size = body.len();
        feed.held.push((at, body), size);
        feed.repair(hub, topic);
    }
}

/// Checks a topic after an interruption of the backplane.
pub(crate) fn check(hub: &Arc<HubState>, topic: &Arc<Topic>) {
    let mut feed = topic.feed.lock();
    if topic.options.history.is_some() {
        feed.repair(hub, topic);
    } else {
        feed.notify_missed(hub, topic, None, "interrupted");
    }
}

impl State {
    /// Hands the message at `at` to the shards.
    fn pass(&mut self, hub: &Arc<HubState>, topic: &Arc<Topic>, at: Position, body: &Bytes) {
        self.last = Some(at);
        match Message::event(topic.clone(), Some(at), body, &hub.meters) {
            Ok(message) => self.fan_out(hub, Arc::new(message)),
            Err(error) => {
                tracing::error!(topic = %topic.name, ?at, %error, "a message is not a push of JSON, and is not delivered");
                self.notify_missed(hub, topic, Some(at), "unreadable");
            }
        }
    }

    fn pass_without_position(&mut self, hub: &Arc<HubState>, topic: &Arc<Topic>, body: &Bytes) {
        if hub.is_overfull() {
            if !std::mem::replace(&mut self.notified, true) {
                self.notify_missed(hub, topic, None, "overload");
            }
            return;
        }
        self.notified = false;
        match Message::event(topic.clone(), None, body, &hub.meters) {
            Ok(message) => self.fan_out(hub, Arc::new(message)),
            Err(error) => {
                tracing::error!(topic = %topic.name, %error, "a message is not a push of JSON, and is not delivered");
            }
        }
    }

    /// Notifies the subscribers that messages up to `position` are lost, and continues after it.
    fn continue_after(
        &mut self,
        hub: &Arc<HubState>,
        topic: &Arc<Topic>,
        position: Position,
        reason: &'static str,
    ) {
        self.last = Some(position);
        self.notify_missed(hub, topic, Some(position), reason);
    }

    fn notify_missed(
        &mut self,
        hub: &Arc<HubState>,
        topic: &Arc<Topic>,
        position: Option<Position>,
        reason: &'static str,
    ) {
        let notice = Message::missed(topic.clone(), position, reason, &hub.cursor_keys, &hub.meters);
        self.fan_out(hub, Arc::new(notice));
    }

    fn fan_out(&mut self, hub: &HubState, message: Arc<Message>) {
        // The flushers of a hub that has ended do not take messages any more.
        if !hub.stop.is_cancelled() {
            hub.shards().iter().for_each(|shard| shard.append(&message));
        }
        if self.joining > 0 {
            let size = message.size();
            self.recent.push_last(message, size);
        }
    }

    /// Starts a task that reads the missing messages, if none runs.
    pub(crate) fn repair(&mut self, hub: &Arc<HubState>, topic: &Arc<Topic>) {
        if let Some(history) = topic.options.history
            && !std::mem::replace(&mut self.repairing, true)
        {
            hub.spawn(repair(hub.clone(), topic.clone(), history));
        }
    }

    /// Takes the messages of a reading of the history. Returns whether the topic is complete.
    fn mend(&mut self, hub: &Arc<HubState>, topic: &Arc<Topic>, read: History) -> bool {
        match (self.last, read.messages) {
            (Some(last), Some(messages)) if last.epoch == read.top.epoch => {
                for (offset, body) in messages {
                    self.pass_if_next(hub, topic, Position { offset, ..last }, &body);
                }
            }
            (Some(last), _) if last.epoch == read.top.epoch => {
                self.continue_after(hub, topic, read.top, "history");
            }
            // The next reading has the messages of the new epoch.
            (Some(_), _) => self.continue_after(hub, topic, Position { offset: 0, ..read.top }, "epoch"),
            (None, _) => self.last = Some(read.top),
        }
        for (at, body) in self.held.take() {
            self.pass_if_next(hub, topic, at, &body);
        }
        let is_after_last =
            |at: Position| self.last.is_some_and(|last| last.epoch == at.epoch && last.offset < at.offset);
        self.repairing = is_after_last(read.top) || self.arrived.is_some_and(is_after_last);
        !self.repairing
    }

    fn pass_if_next(&mut self, hub: &Arc<HubState>, topic: &Arc<Topic>, at: Position, body: &Bytes) {
        if self.last.is_some_and(|last| at.epoch == last.epoch && at.offset == last.offset + 1) {
            self.pass(hub, topic, at, body);
        }
    }

    /// Sets the position at which the delivery of the backplane started, unless a later message has arrived.
    pub(crate) fn start_at(&mut self, position: Option<Position>) {
        match (self.last, position) {
            (Some(last), Some(at)) if last.epoch == at.epoch && last.offset >= at.offset => {}
            (_, Some(at)) => self.last = Some(at),
            (_, None) => {}
        }
    }

    /// Keeps the messages from now on, until [`end_join`](Self::end_join).
    pub(crate) fn begin_join(&mut self) {
        self.joining += 1;
    }

    pub(crate) fn end_join(&mut self) {
        self.joining -= 1;
        if self.joining == 0 {
            self.recent.clear();
        }
    }
}

/// Reads the messages that are missing after the last one, until the topic is complete.
async fn repair(hub: Arc<HubState>, topic: Arc<Topic>, retention: Retention) {
    loop {
        hub.room().await;
        let since = topic.feed.lock().last.unwrap_or(Position { epoch: 0, offset: 0 });
        match hub.access(hub.backplane.history(&topic.name, retention, since, PAGE_BYTES)).await {
            Ok(read) => {
                if topic.feed.lock().mend(&hub, &topic, read) {
                    return;
                }
            }
            Err(error) => {
                tracing::debug!(topic = %topic.name, %error, "the history cannot be read now");
                hub.clock.sleep(RETRY).await;
            }
        }
        // Nobody waits for a topic that all sessions have left.
        if hub.topics.get(&topic.name).is_none_or(|current| !Arc::ptr_eq(&current, &topic)) {
            return;
        }
    }
}
