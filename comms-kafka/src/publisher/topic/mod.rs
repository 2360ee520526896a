//! One topic of a publisher: which producer takes its messages, and what waits in front of it.
//!
//! A broker refuses a batch whole: for one record that is too large, or because the batch itself is larger than
//! the topic's `max.message.bytes`. So a topic goes through one of two producers: one that batches, or one whose
//! batches hold one message. The order of a key survives each change from one producer to the other, because
//! a message waits here until nothing of its topic is in flight.

use metrics::Counter;
use rdkafka::types::RDKafkaErrorCode;
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::acks::Slot;
use comms_core::{Error, Message, telemetry};

/// The producer that takes the messages of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route {
    /// The topic's limit is being looked up; its messages wait.
    Unknown,
    /// The topic takes the largest batch of the shared producer.
    Batched,
    /// The topic takes less than a full batch: each message is sent alone.
    Alone,
}

/// A message that a producer has, given back with its delivery report.
#[derive(Debug)]
pub(super) struct Parcel {
    pub(super) slot: Slot,
    pub(super) topic: Arc<Topic>,
    /// Whether it had a batch for itself.
    pub(super) alone: bool,
}

/// Why a message came back that may be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Return {
    /// Its batch was larger than the topic allows.
    BatchTooLarge,
    /// Its batch held a record that the broker refuses.
    BadNeighbour,
    /// It was taken out of the queue, so that it does not overtake the messages that came back.
    Purged,
}

/// Why the client library did not queue a message.
#[derive(Debug)]
pub(super) enum SendError {
    /// There is no room now.
    Full,
    /// There is no such topic.
    Missing(Error),
    /// Any other reason.
    Refused(Error),
}

/// Where messages are handed to the client library.
pub(super) trait Sender {
    /// Queues `message`. On failure the parcel comes back.
    fn send(&self, message: &Message, parcel: Box<Parcel>) -> Result<(), (SendError, Box<Parcel>)>;
    /// A message of `size` bytes has its answer.
    fn give_room(&self, size: usize);
}

#[derive(Debug)]
pub(super) struct Topic {
    pub(super) name: Arc<str>,
    sent: Counter,
    state: Mutex<State>,
}

type Waiting = VecDeque<(Message, Slot)>;

#[derive(Debug)]
struct State {
    route: Route,
    in_flight: usize,
    /// Messages are coming back: new ones wait until nothing is in flight.
    gathering: bool,
    /// What is in flight has no caller any more: purged messages are not sent again.
    abandoned: bool,
    /// What came back goes out alone this time.
    alone_once: bool,
    /// Came back unwritten: goes first.
    returned: Waiting,
    waiting: Waiting,
}

impl Topic {
    pub(super) fn new(name: Arc<str>) -> Self {
        let labels =
            [("messaging.system", "kafka".to_owned()), ("messaging.destination.name", name.to_string())];
        let state = State {
            route: Route::Unknown,
            in_flight: 0,
            gathering: false,
            abandoned: false,
            alone_once: false,
            returned: Waiting::new(),
            waiting: Waiting::new(),
        };
        Self { name, sent: metrics::counter!(telemetry::SENT_MESSAGES, &labels), state: Mutex::new(state) }
    }

    /// Sends `message`, or keeps it in its place. Answers whether the topic's limit is wanted.
    pub(super) fn push(self: &Arc<Self>, sender: &impl Sender, message: Message, slot: Slot) -> bool {
        let mut state = self.lock();
        if state.is_blocked() {
            state.waiting.push_back((message, slot));
            state.advance(self, sender);
        } else {
            let alone = state.route == Route::Alone;
            if let Some(unsent) = state.send(self, sender, alone, (message, slot)) {
                state.waiting.push_back(unsent);
            }
        }
        state.route == Route::Unknown
    }

    /// Whether messages wait for the topic's limit.
    pub(super) fn wants_limit(&self) -> bool {
        self.lock().wants_limit()
    }

    /// The limit is known, or cannot be.
    pub(super) fn set_route(self: &Arc<Self>, sender: &impl Sender, route: Route) {
        let mut state = self.lock();
        state.route = route;
        state.advance(self, sender);
    }

    /// A message has its final answer. Answers whether messages wait for the topic's limit from now on.
    pub(super) fn answered(
        self: &Arc<Self>,
        sender: Option<&impl Sender>,
        sent: bool,
        missing: bool,
    ) -> bool {
        if sent {
            self.sent.increment(1);
        }
        let mut state = self.lock();
        state.in_flight -= 1;
        state.abandoned &= state.in_flight > 0;
        if missing {
            // The topic may be made with any limit.
            state.route = Route::Unknown;
        }
        if let Some(sender) = sender {
            state.advance(self, sender);
        }
        state.wants_limit()
    }

    /// A message came back unwritten. Answers the slot if it is not to be sent again, and otherwise whether it
    /// is the first that comes back: then what is queued behind it has to come back too.
    pub(super) fn returned(
        self: &Arc<Self>,
        sender: &impl Sender,
        reason: Return,
        message: impl FnOnce() -> Message,
        slot: Slot,
    ) -> Result<bool, Slot> {
        let mut state = self.lock();
        if reason == Return::Purged && state.abandoned {
            return Err(slot);
        }
        match reason {
            Return::BatchTooLarge => state.route = Route::Alone,
            Return::BadNeighbour => state.alone_once = true,
            Return::Purged => {}
        }
        let first = !state.gathering && reason != Return::Purged;
        state.gathering = true;
        state.in_flight -= 1;
        state.returned.push_back((message(), slot));
        // The first one waits for the purge.
        if !first {
            state.advance(self, sender);
        }
        Ok(first)
    }

    /// The producer's queue is about to be purged: new messages wait until what comes back has been sent again.
    pub(super) fn gather(&self) {
        let mut state = self.lock();
        (state.gathering, state.abandoned) = (true, false);
    }

    /// The purge has ended.
    pub(super) fn gathered(self: &Arc<Self>, sender: &impl Sender) {
        self.lock().advance(self, sender);
    }

    /// Gives up what waits here.
    pub(super) fn abandon(&self, sender: &impl Sender) {
        let mut state = self.lock();
        (state.gathering, state.abandoned) = (false, state.in_flight > 0);
        let State { returned, waiting, .. } = &mut *state;
        for (_, slot) in returned.drain(..).chain(waiting.drain(..)) {
            refuse(sender, slot, Error::not_executed("the caller dropped the acknowledgements"));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn wants_limit(&self) -> bool {
        self.route == Route::Unknown && !(self.waiting.is_empty() && self.returned.is_empty())
    }

    fn is_blocked(&self) -> bool {
        self.route == Route::Unknown
            || self.gathering
            || !self.returned.is_empty()
            || !self.waiting.is_empty()
    }

    /// Sends what waits, if nothing of the topic is in flight: first what came back, and the rest when that has
    /// its answers.
    fn advance(&mut self, topic: &Arc<Topic>, sender: &impl Sender) {
        while self.is_blocked() && self.route != Route::Unknown && self.in_flight == 0 {
            let alone = self.route == Route::Alone;
            let room = if self.returned.is_empty() {
                (self.gathering, self.alone_once) = (false, false);
                let waiting = std::mem::take(&mut self.waiting);
                self.waiting = self.send_all(topic, sender, alone, waiting);
                self.waiting.is_empty()
            } else {
                let returned = std::mem::take(&mut self.returned);
                self.returned = self.send_all(topic, sender, alone || self.alone_once, returned);
                self.returned.is_empty()
            };
            if !room {
                return;
            }
        }
    }

    /// Answers what the client has no room for. The client has twice the room of the publisher.
    fn send_all(
        &mut self,
        topic: &Arc<Topic>,
        sender: &impl Sender,
        alone: bool,
        mut all: Waiting,
    ) -> Waiting {
        while let Some(next) = all.pop_front() {
            if let Some(unsent) = self.send(topic, sender, alone, next) {
                all.push_front(unsent);
                break;
            }
        }
        all
    }

    fn send(
        &mut self,
        topic: &Arc<Topic>,
        sender: &impl Sender,
        alone: bool,
        (message, slot): (Message, Slot),
    ) -> Option<(Message, Slot)> {
        match sender.send(&message, Box::new(Parcel { slot, topic: topic.clone(), alone })) {
            Ok(()) => self.in_flight += 1,
            Err((SendError::Full, parcel)) => return Some((message, parcel.slot)),
            Err((SendError::Missing(error), parcel)) => {
                self.route = Route::Unknown;
                refuse(sender, parcel.slot, error);
            }
            Err((SendError::Refused(error), parcel)) => refuse(sender, parcel.slot, error),
        }
        None
    }
}

fn refuse(sender: &impl Sender, slot: Slot, error: Error) {
    sender.give_room(slot.size);
    slot.answer(Err(error));
}

/// Whether `code` says that there is no such topic.
pub(super) const fn is_missing(code: Option<RDKafkaErrorCode>) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(code, Some(Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition))
}

#[cfg(test)]
mod tests;
