//! The messages of a topic on this node, put in order.
//!
//! The backplane delivers messages in the order of their offsets where it can. After an interruption some are missing,
//! or come twice. The feed hands each offset to the shards once and in order: it discards duplicates, and holds
//! what comes after a gap until a task has read the missing messages from the history. Where the history does not have them
//! any more, all subscribers get a frame `missed`.
//!
//! - `state.rs`: the last message of a feed, and where each next one goes.
//! - `recent.rs`: bounded lists of messages.
//! - `repair.rs`: readings of the history.
//! - `table.rs`: the feeds of a node.

mod recent;
pub(crate) mod repair;
mod state;
pub(crate) mod table;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use tokio::sync::OnceCell;

use crate::{backplane::Position, fanout::Fanout, topic::Topic};
pub(crate) use recent::KeepRecent;
use repair::repair;
pub(crate) use state::{Arrival, Sink, State};

/// The size of one reading of the history, in bytes.
pub(crate) const PAGE_BYTES: usize = 256 * 1024;

/// The feed of one topic.
pub(crate) struct Feed {
    pub(crate) topic: Arc<Topic>,
    /// Set when the backplane delivers the topic.
    pub(crate) active: OnceCell<()>,
    state: Mutex<State>,
}

impl Feed {
    fn new(topic: Topic) -> Self {
        let (active, state) = Default::default();
        Self { topic: Arc::new(topic), active, state }
    }

    /// Creates the feed of a topic of the hub itself. It hands out nothing until [`repair::begin`] has run.
    pub(crate) fn of_hub(topic: Topic, sink: Box<dyn Sink>) -> Self {
        Self { state: Mutex::new(State::of_hub(sink)), ..Self::new(topic) }
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
            state.pass(fanout, &self.topic, at, &body, Arrival::Live);
        } else {
            let size = body.len();
            state.held.push((at, body), size);
            self.repair(fanout, &mut state);
        }
    }

    /// Checks the topic, of which messages may have been lost in the backplane.
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
