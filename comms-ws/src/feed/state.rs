//! The last message of a feed, and where each next one goes.

use std::sync::Arc;

use bytes::Bytes;

use super::recent::Recent;
use crate::{
    backplane::{History, Position},
    fanout::Fanout,
    hub::disconnects::Disconnects,
    message::Message,
    topic::Topic,
};

/// When a message arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// As it is published.
    Live,
    /// After a repair.
    Late,
}

/// The state of a feed.
#[derive(Default)]
pub(crate) struct State {
    pub(super) is_closed: bool,
    /// The position of the last message that the shards have. `None` in a topic without history.
    pub(crate) last: Option<Position>,
    /// The position of the last message that arrived, also if messages before it are missing.
    pub(super) arrived: Option<Position>,
    /// A task reads missing messages.
    pub(super) repairing: bool,
    pub(super) held: Recent<(Position, Bytes)>,
    /// The last messages, kept while sessions join.
    pub(crate) recent: Recent<Arc<Message>>,
    /// The number of sessions that read the history to join.
    joining: usize,
    /// A message without a position was discarded because a shard is overfull.
    notified: bool,
    /// Takes the messages in place of the shards. Set in the topic of the hub itself.
    disconnects: Option<Disconnects>,
}

impl State {
    /// Returns the state of a feed of the hub itself, which holds its messages until the first repair has ended.
    pub(super) fn of_hub(disconnects: Disconnects) -> Self {
        Self { repairing: true, disconnects: Some(disconnects), ..Self::default() }
    }

    /// Hands the message at `at` to the shards.
    pub(super) fn pass(
        &mut self,
        fanout: &Arc<Fanout>,
        topic: &Arc<Topic>,
        at: Position,
        body: &Bytes,
        arrival: Arrival,
    ) {
        self.last = Some(at);
        if let Some(disconnects) = &self.disconnects {
            return disconnects.take(body, arrival);
        }
        match Message::event(topic.clone(), Some(at), body, &fanout.env.meters) {
            Ok(message) => self.fan_out(fanout, Arc::new(message)),
            Err(error) => {
                tracing::error!(topic = %topic.name, ?at, %error, "a message is not a push of JSON, and is not delivered");
                self.notify_missed(fanout, topic, Some(at), "unreadable");
            }
        }
    }

    pub(super) fn pass_without_position(&mut self, fanout: &Arc<Fanout>, topic: &Arc<Topic>, body: &Bytes) {
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

    pub(super) fn notify_missed(
        &mut self,
        fanout: &Arc<Fanout>,
        topic: &Arc<Topic>,
        position: Option<Position>,
        reason: &'static str,
    ) {
        if let Some(disconnects) = &self.disconnects {
            return disconnects.missed(reason);
        }
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

    /// Takes the messages of a reading of the history. If some are lost, continues after `kept`, or else with the next
    /// message. Returns whether the topic is complete, or all sessions have left it.
    pub(super) fn mend(
        &mut self,
        fanout: &Arc<Fanout>,
        topic: &Arc<Topic>,
        read: History,
        kept: Option<Position>,
    ) -> bool {
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
                self.continue_after(fanout, topic, kept.unwrap_or(read.top), "history");
            }
            // The next reading has the messages of the new epoch.
            (Some(_), _) => {
                let start = Position { offset: 0, ..read.top };
                self.continue_after(fanout, topic, kept.unwrap_or(start), "epoch");
            }
            (None, _) => self.last = Some(kept.unwrap_or(read.top)),
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
            self.pass(fanout, topic, at, body, Arrival::Late);
        }
    }

    pub(crate) const fn is_of_hub(&self) -> bool {
        self.disconnects.is_some()
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
    pub(super) fn begin_join(&mut self) {
        self.joining += 1;
    }

    pub(super) fn end_join(&mut self) {
        self.joining -= 1;
        if self.joining == 0 {
            self.recent.clear();
        }
    }
}
