//! The window of a subscription: what the session was sent and its client has not acknowledged.
//!
//! Two tasks send the messages of a topic to a session with a window, in turns. The flusher of the shard does while the
//! window has room. At the first event that does not fit, the flusher leaves the session to the task of its subscription
//! (phase `Leaving`, and `CatchingUp` when the last turn is written). This task waits for an acknowledgement,
//! reads the history from the position reached, and hands the session back to the flusher.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{Notify, futures::Notified};

use crate::{backplane::Position, message::Message};

/// The window of a subscription.
pub(crate) struct Window {
    state: Mutex<State>,
    /// Wakes the task of the subscription. No other task waits.
    changed: Notify,
}

#[derive(Default)]
struct State {
    /// The maximum number of events that were sent and not acknowledged.
    size: usize,
    phase: Phase,
    /// The position up to which the session was sent what passes its filter.
    reached: Option<Position>,
    /// The last offset that was acknowledged, in the epoch of `reached`.
    acknowledged: u64,
    /// The offsets of the events that were sent and not acknowledged, in the epoch of `reached`. A filter leaves gaps.
    sent: VecDeque<u64>,
}

/// The task that sends messages to the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Phase {
    /// The task of the subscription.
    #[default]
    CatchingUp,
    /// The flusher.
    Live,
    /// The flusher, which sends what it has counted and nothing more.
    Leaving,
}

impl Window {
    /// Creates a window of `size` events.
    pub(crate) fn new(size: usize) -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(State { size, ..State::default() }), changed: Notify::new() })
    }

    /// Sets the position at which the subscription begins. An acknowledgement of an earlier event does not count.
    pub(crate) fn begin(&self, at: Option<Position>) {
        let mut state = self.lock();
        state.reached = at;
        state.acknowledged = at.map_or(0, |at| at.offset);
    }

    /// Counts the messages that the session is sent next, in their order. Returns how many of them fit.
    pub(crate) fn admit(&self, messages: &[Arc<Message>]) -> usize {
        let mut state = self.lock();
        let fitting = messages.iter().take_while(|message| state.admit(message)).count();
        if fitting < messages.len() && state.phase == Phase::Live {
            state.phase = Phase::Leaving;
        }
        fitting
    }

    /// Notes that the session was sent what it gets of the messages up to `position`.
    pub(crate) fn reach(&self, position: Position) {
        self.lock().reach(position);
    }

    /// Takes an acknowledgement of all events up to `position`. Returns `false` if it has no effect: the position is
    /// of another epoch, was not sent yet, or was acknowledged before.
    pub(crate) fn acknowledge(&self, position: Position) -> bool {
        let mut state = self.lock();
        let is_sent = state
            .reached
            .is_some_and(|reached| reached.epoch == position.epoch && position.offset <= reached.offset);
        if !is_sent || position.offset <= state.acknowledged {
            return false;
        }
        state.acknowledged = position.offset;
        while state.sent.front().is_some_and(|offset| *offset <= position.offset) {
            state.sent.pop_front();
        }
        drop(state);
        self.changed.notify_one();
        true
    }

    /// Returns the number of events that the session may be sent now.
    pub(crate) fn room(&self) -> usize {
        let state = self.lock();
        state.size.saturating_sub(state.sent.len())
    }

    /// Returns the maximum number of events that were sent and not acknowledged.
    pub(crate) fn size(&self) -> usize {
        self.lock().size
    }

    /// Leaves the session to the flusher.
    pub(crate) fn go_live(&self) {
        self.lock().phase = Phase::Live;
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.lock().phase == Phase::Leaving
    }

    /// Leaves the session to the task of the subscription, after the flusher has written the last turn.
    pub(super) fn release(&self) {
        self.lock().phase = Phase::CatchingUp;
        self.changed.notify_one();
    }

    /// Returns whether the task of the subscription sends the messages.
    pub(crate) fn is_catching_up(&self) -> bool {
        self.lock().phase == Phase::CatchingUp
    }

    /// Returns the position up to which the session was sent what passes its filter.
    pub(crate) fn reached(&self) -> Option<Position> {
        self.lock().reached
    }

    /// Resolves when anything has changed since the last call.
    pub(crate) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Counts a message. Returns `false` if it does not fit. Frames of the hub fit always.
    fn admit(&mut self, message: &Message) -> bool {
        let Some(position) = message.position else { return true };
        let is_counted = message.head.is_some();
        if is_counted && self.sent.len() >= self.size {
            return false;
        }
        self.reach(position);
        if is_counted {
            self.sent.push_back(position.offset);
        }
        true
    }

    /// A new epoch begins with an empty window: its offsets begin anew, and a client need not acknowledge those of an epoch
    /// that has ended.
    fn reach(&mut self, position: Position) {
        match &mut self.reached {
            Some(reached) if reached.epoch == position.epoch => {
                reached.offset = reached.offset.max(position.offset);
            }
            _ => {
                self.reached = Some(position);
                self.sent.clear();
                self.acknowledged = 0;
            }
        }
    }
}
