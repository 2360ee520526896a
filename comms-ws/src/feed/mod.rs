//! The messages of a topic on this node, put in order.
//!
//! The backplane delivers messages in the order of their offsets where it can. After an interruption some are missing,
//! or come twice. The feed hands each offset to the shards once and in order: it discards duplicates, and holds
//! what comes after a gap until a task has read the missing messages from the history. Where the history does not have them
//! any more, all subscribers get a frame `missed`.

mod recent;
pub(crate) mod table;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use tokio::sync::OnceCell;

use crate::{
    backplane::{History, Position, Retention},
    fanout::Fanout,
    message::Message,
    topic::Topic,
};
pub(crate) use recent::KeepRecent;
use recent::Recent;

/// The size of one reading of the history, in bytes.
pub(crate) const PAGE_BYTES: usize = 256 * 1024;
/// The wait before a history that could not be read is read again.
const RETRY: Duration = Duration::from_millis(200);

/// The feed of one topic.
pub(crate) struct Feed {
    pub(crate) topic: Arc<Topic>,
    /// Set when the backplane delivers the topic.
    pub(crate) active: OnceCell<()>,
    state: Mutex<State>,
}

#[derive(Default)]
pub(crate) struct State {
    is_closed: bool,
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
    fn new(topic: Topic) -> Self {
        let (active, state) = Default::default();
        Self { topic: Arc::new(topic), active, state }
    }

    /// Ends the feed, because all sessions have left the topic. It hands nothing to the shards afterwards: the next feed of
    /// the topic does.
    fn close(&self) {
        self.lock().is_closed = true;
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a message from the backplane.
    pub(crate) fn receive(self: &Arc<Self>, fanout: &Arc<Fanout>, position: Option<Position>, body: Bytes) {
        let mut state = self.lock();
        if state.is_closed {
            return;
        }
        // A node whose rules have no history for the topic ignores the positions of other nodes.
        let position = position.filter(|_| self.topic.options.history.is_some());
        let Some(at) = position else { return state.pass_without_position(fanout, &self.topic, &body) };
        if state.arrived.is_none_or(|arrived| arrived.epoch != at.epoch || arrived.offset < at.offset) {
            state.arrived = Some(at);
        }
        let is_next = match state.last {
            None => true,
            Some(last) if at.epoch == last.epoch && at.offset <= last.offset => return,
            // A message of another epoch may as well be a late one of an older epoch: the history has the current one.
            Some(last) => last.is_before(at),
        };
        if is_next && !state.repairing && !fanout.is_overfull() {
            state.pass(fanout, &self.topic, at, &body);
        } else {
            let size = body.len();
            state.held.push((at, body), size);
            self.repair(fanout, &mut state);
        }
    }

    /// Checks the topic after an interruption of the backplane.
    pub(crate) fn check(self: &Arc<Self>, fanout: &Arc<Fanout>) {
        let mut state = self.lock();
        if state.is_closed {
            return;
        }
        if self.topic.options.history.is_some() {
            self.repair(fanout, &mut state);
        } else {
            state.notify_missed(fanout, &self.topic, None, "interrupted");
        }
    }

    /// Starts a task that reads the missing messages, if none runs.
    pub(crate) fn repair(self: &Arc<Self>, fanout: &Arc<Fanout>, state: &mut State) {
        if let Some(history) = self.topic.options.history
            && !std::mem::replace(&mut state.repairing, true)
        {
            fanout.spawn(repair(fanout.clone(), self.clone(), history));
        }
    }
}

impl fmt::Debug for Feed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feed").field("last", &self.lock().last).finish_non_exhaustive()
    }
}

impl State {
    /// Hands the message at `at` to the shards.
    fn pass(&mut self, fanout: &Arc<Fanout>, topic: &Arc<Topic>, at: Position, body: &Bytes) {
        self.last = Some(at);
        match Message::event(topic.clone(), Some(at), body, &fanout.env.meters) {
            Ok(message) => self.fan_out(fanout, Arc::new(message)),
            Err(error) => {
                tracing::error!(topic = %topic.name, ?at, %error, "a message is not a push of JSON, and is not delivered");
                self.notify_missed(fanout, topic, Some(at), "unreadable");
            }
        }
    }

    fn pass_without_position(&mut self, fanout: &Arc<Fanout>, topic: &Arc<Topic>, body: &Bytes) {
        if fanout.is_overfull() {
            if !std::mem::replace(&mut self.notified, true) {
                self.notify_missed(fanout, topic, None, "overload");
            }
            return;
        }
        self.notified = false;
        match Message::event(topic.clone(), None, body, &fanout.env.meters) {
            Ok(message) => self.fan_out(fanout, Arc::new(message)),
            Err(error) => {
                tracing::error!(topic = %topic.name, %error, "a message is not a push of JSON, and is not delivered");
            }
        }
    }

    /// Notifies the subscribers that messages up to `position` are lost, and continues after it.
    fn continue_after(
        &mut self,
        fanout: &Arc<Fanout>,
        topic: &Arc<Topic>,
        position: Position,
        reason: &'static str,
    ) {
        self.last = Some(position);
        self.notify_missed(fanout, topic, Some(position), reason);
    }

    fn notify_missed(
        &mut self,
        fanout: &Arc<Fanout>,
        topic: &Arc<Topic>,
        position: Option<Position>,
        reason: &'static str,
    ) {
        let notice =
            Message::missed(topic.clone(), position, reason, &fanout.env.cursor_keys, &fanout.env.meters);
        self.fan_out(fanout, Arc::new(notice));
    }

    fn fan_out(&mut self, fanout: &Fanout, message: Arc<Message>) {
        // The flushers of a hub that has ended do not take messages any more.
        if !fanout.stop.is_cancelled() {
            fanout.shards().iter().for_each(|shard| shard.append(&message));
        }
        if self.joining > 0 {
            let size = message.size();
            self.recent.push_last(message, size);
        }
    }

    /// Takes the messages of a reading of the history. Returns whether the topic is complete, or all sessions have left it.
    fn mend(&mut self, fanout: &Arc<Fanout>, topic: &Arc<Topic>, read: History) -> bool {
        if self.is_closed {
            return true;
        }
        let before = self.last;
        match (self.last, read.messages) {
            (Some(last), Some(messages)) if last.epoch == read.top.epoch => {
                for (offset, body) in messages {
                    self.pass_if_next(fanout, topic, Position { offset, ..last }, &body);
                }
            }
            (Some(last), _) if last.epoch == read.top.epoch => {
                self.continue_after(fanout, topic, read.top, "history");
            }
            // The next reading has the messages of the new epoch.
            (Some(_), _) => self.continue_after(fanout, topic, Position { offset: 0, ..read.top }, "epoch"),
            (None, _) => self.last = Some(read.top),
        }
        for (at, body) in self.held.take() {
            self.pass_if_next(fanout, topic, at, &body);
        }
        let is_after_last =
            |at: Position| self.last.is_some_and(|last| last.epoch == at.epoch && last.offset < at.offset);
        self.repairing = is_after_last(read.top) || self.arrived.is_some_and(is_after_last);
        if self.repairing && self.last == before {
            // The history does not have what has arrived. A position that was never given would be waited for without end.
            self.arrived = Some(read.top);
        }
        !self.repairing
    }

    fn pass_if_next(&mut self, fanout: &Arc<Fanout>, topic: &Arc<Topic>, at: Position, body: &Bytes) {
        if self.last.is_some_and(|last| last.is_before(at)) {
            self.pass(fanout, topic, at, body);
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
    fn begin_join(&mut self) {
        self.joining += 1;
    }

    fn end_join(&mut self) {
        self.joining -= 1;
        if self.joining == 0 {
            self.recent.clear();
        }
    }
}

/// Reads the messages that are missing after the last one, until the topic is complete.
async fn repair(fanout: Arc<Fanout>, feed: Arc<Feed>, retention: Retention) {
    let topic = &feed.topic;
    loop {
        fanout.room().await;
        let since = feed.lock().last.unwrap_or(Position { epoch: 0, offset: 0 });
        let made_progress = match fanout.history(topic, retention, since, PAGE_BYTES).await {
            Ok(read) => {
                let mut state = feed.lock();
                if state.mend(&fanout, topic, read) {
                    return;
                }
                state.last != Some(since)
            }
            Err(error) => {
                fanout.warn(&topic.name, &error);
                // Nobody waits for a topic that all sessions have left.
                if feed.lock().is_closed {
                    return;
                }
                false
            }
        };
        if !made_progress {
            fanout.env.clock.sleep(RETRY.mul_f64(0.5 + fanout.env.clock.random_unit())).await;
        }
    }
}
