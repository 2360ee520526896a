//! The messages of one topic: their order, and the choice of their producer, also after the broker refused a batch that
//! is too large.
//!
//! A broker refuses a batch as a whole: for one record that is too large, or because the batch itself is larger than
//! the topic's `max.message.bytes`. Each topic therefore uses one of two producers: one that batches, and one that
//! sends each message in a batch of its own. The order of a key survives a change of the producer, because messages
//! wait here until no message of the topic is in flight.

use metrics::Counter;
use rdkafka::types::RDKafkaErrorCode;
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::acks::AckSlot;
use comms_core::{Error, Message, telemetry};

/// The producer that sends the messages of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route {
    /// The topic's limit is being looked up. Messages wait.
    Unknown,
    /// The topic accepts a full batch of the batching producer.
    Batched,
    /// The topic's limit is below a full batch. Each message has a batch of its own.
    Unbatched,
}

/// A message that a producer has queued. The delivery report returns this value.
#[derive(Debug)]
pub(super) struct SentMessage {
    pub(super) slot: AckSlot,
    pub(super) topic: Arc<Topic>,
    /// Whether the message has a batch of its own.
    pub(super) unbatched: bool,
}

/// The reason why a message was not written and may be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ResendReason {
    /// The batch was larger than the topic's limit.
    BatchTooLarge,
    /// The batch contained a record that the broker refuses.
    InvalidNeighbor,
    /// The message was purged from the queue, so that it does not overtake the messages that are sent again.
    Purged,
}

/// The reason why the client library did not queue a message.
#[derive(Debug)]
pub(super) enum SendError {
    /// The client's queue is full.
    QueueFull,
    /// The topic does not exist.
    TopicMissing(Error),
    /// Any other reason.
    Refused(Error),
}

/// The client library, as seen by a topic.
pub(super) trait Sender {
    /// Queues `message`. Returns `sent` if that fails.
    fn send(&self, message: &Message, sent: Box<SentMessage>) -> Result<(), (SendError, Box<SentMessage>)>;
    /// Releases the capacity of a message of `size` bytes, which has its final result.
    fn release(&self, size: usize);
}

#[derive(Debug)]
pub(super) struct Topic {
    pub(super) name: Arc<str>,
    sent: Counter,
    state: Mutex<State>,
}

type Queue = VecDeque<(Message, AckSlot)>;

#[derive(Debug)]
struct State {
    route: Route,
    in_flight: usize,
    /// Messages are being recalled from the producer. New messages wait until none is in flight.
    recalling: bool,
    /// No caller waits for the messages in flight. Purged messages are not sent again.
    abandoned: bool,
    /// The next messages of `resend` get batches of their own, whatever the route is.
    resend_unbatched: bool,
    /// Messages that were not written. They go before `waiting`.
    resend: Queue,
    waiting: Queue,
}

impl Topic {
    pub(super) fn new(name: Arc<str>) -> Self {
        let labels =
            [("messaging.system", "kafka".to_owned()), ("messaging.destination.name", name.to_string())];
        let state = State {
            route: Route::Unknown,
            in_flight: 0,
            recalling: false,
            abandoned: false,
            resend_unbatched: false,
            resend: Queue::new(),
            waiting: Queue::new(),
        };
        Self { name, sent: metrics::counter!(telemetry::SENT_MESSAGES, &labels), state: Mutex::new(state) }
    }

    /// Sends `message`, or queues it in its order. Returns whether the topic's limit must be looked up.
    pub(super) fn push(self: &Arc<Self>, sender: &impl Sender, message: Message, slot: AckSlot) -> bool {
        let mut state = self.lock();
        if state.is_blocked() {
            state.waiting.push_back((message, slot));
            state.send_queued(self, sender);
        } else {
            let unbatched = state.route == Route::Unbatched;
            if let Some(unsent) = state.send(self, sender, unbatched, (message, slot)) {
                state.waiting.push_back(unsent);
            }
        }
        state.route == Route::Unknown
    }

    /// Returns whether messages wait for the topic's limit.
    pub(super) fn needs_limit(&self) -> bool {
        self.lock().needs_limit()
    }

    /// Sets the route after the look-up of the limit, and sends the waiting messages.
    pub(super) fn set_route(self: &Arc<Self>, sender: &impl Sender, route: Route) {
        let mut state = self.lock();
        state.route = route;
        state.send_queued(self, sender);
    }

    /// Records that a message in flight has its final result. `delivered`: the broker acknowledged the message.
    /// `missing`: the topic does not exist. Returns whether messages now wait for the topic's limit.
    pub(super) fn finished(
        self: &Arc<Self>,
        sender: Option<&impl Sender>,
        delivered: bool,
        missing: bool,
    ) -> bool {
        if delivered {
            self.sent.increment(1);
        }
        let mut state = self.lock();
        state.in_flight -= 1;
        state.abandoned &= state.in_flight > 0;
        if missing {
            // The topic may be created with another limit.
            state.route = Route::Unknown;
        }
        if let Some(sender) = sender {
            state.send_queued(self, sender);
        }
        state.needs_limit()
    }

    /// Queues a message that was not written, to send it again. Returns whether it is the first one: then the messages
    /// queued behind it must be recalled, too. Returns the slot if no caller waits for the message any more.
    pub(super) fn resend(
        self: &Arc<Self>,
        sender: &impl Sender,
        reason: ResendReason,
        message: impl FnOnce() -> Message,
        slot: AckSlot,
    ) -> Result<bool, AckSlot> {
        let mut state = self.lock();
        if reason == ResendReason::Purged && state.abandoned {
            return Err(slot);
        }
        match reason {
            ResendReason::BatchTooLarge => state.route = Route::Unbatched,
            ResendReason::InvalidNeighbor => state.resend_unbatched = true,
            ResendReason::Purged => {}
        }
        let first = !state.recalling && reason != ResendReason::Purged;
        state.recalling = true;
        state.in_flight -= 1;
        state.resend.push_back((message(), slot));
        // The first message is sent again after the purge.
        if !first {
            state.send_queued(self, sender);
        }
        Ok(first)
    }

    /// Makes new messages wait until the recalled ones have been sent again. Called before a purge of the producer.
    pub(super) fn begin_recall(&self) {
        let mut state = self.lock();
        (state.recalling, state.abandoned) = (true, false);
    }

    /// Sends the queued messages if none is in flight. Called after the purge.
    pub(super) fn end_recall(self: &Arc<Self>, sender: &impl Sender) {
        self.lock().send_queued(self, sender);
    }

    /// Refuses the queued messages, because no caller waits for them.
    pub(super) fn abandon(&self, sender: &impl Sender) {
        let mut state = self.lock();
        (state.recalling, state.abandoned) = (false, state.in_flight > 0);
        let State { resend, waiting, .. } = &mut *state;
        for (_, slot) in resend.drain(..).chain(waiting.drain(..)) {
            refuse(sender, slot, Error::not_executed("the caller dropped the acknowledgements"));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn needs_limit(&self) -> bool {
        self.route == Route::Unknown && !(self.waiting.is_empty() && self.resend.is_empty())
    }

    fn is_blocked(&self) -> bool {
        self.route == Route::Unknown || self.recalling || !self.resend.is_empty() || !self.waiting.is_empty()
    }

    /// Sends the queued messages if none of the topic is in flight: first those of `resend`, and the others when these
    /// have their results.
    fn send_queued(&mut self, topic: &Arc<Topic>, sender: &impl Sender) {
        while self.is_blocked() && self.route != Route::Unknown && self.in_flight == 0 {
            let unbatched = self.route == Route::Unbatched;
            let all_sent = if self.resend.is_empty() {
                (self.recalling, self.resend_unbatched) = (false, false);
                let waiting = std::mem::take(&mut self.waiting);
                self.waiting = self.send_all(topic, sender, unbatched, waiting);
                self.waiting.is_empty()
            } else {
                let resend = std::mem::take(&mut self.resend);
                self.resend = self.send_all(topic, sender, unbatched || self.resend_unbatched, resend);
                self.resend.is_empty()
            };
            if !all_sent {
                return;
            }
        }
    }

    /// Sends `queue` in order, and returns the messages for which the client's queue has no space. The client's bounds
    /// are twice those of the publisher.
    fn send_all(
        &mut self,
        topic: &Arc<Topic>,
        sender: &impl Sender,
        unbatched: bool,
        mut queue: Queue,
    ) -> Queue {
        while let Some(next) = queue.pop_front() {
            if let Some(unsent) = self.send(topic, sender, unbatched, next) {
                queue.push_front(unsent);
                break;
            }
        }
        queue
    }

    /// Sends one message. Returns the message if the client's queue is full.
    fn send(
        &mut self,
        topic: &Arc<Topic>,
        sender: &impl Sender,
        unbatched: bool,
        (message, slot): (Message, AckSlot),
    ) -> Option<(Message, AckSlot)> {
        match sender.send(&message, Box::new(SentMessage { slot, topic: topic.clone(), unbatched })) {
            Ok(()) => self.in_flight += 1,
            Err((SendError::QueueFull, sent)) => return Some((message, sent.slot)),
            Err((SendError::TopicMissing(error), sent)) => {
                self.route = Route::Unknown;
                refuse(sender, sent.slot, error);
            }
            Err((SendError::Refused(error), sent)) => refuse(sender, sent.slot, error),
        }
        None
    }
}

fn refuse(sender: &impl Sender, slot: AckSlot, error: Error) {
    sender.release(slot.size);
    slot.complete(Err(error));
}

/// Returns whether `code` means that the topic does not exist.
pub(super) const fn is_missing(code: Option<RDKafkaErrorCode>) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(code, Some(Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition))
}

#[cfg(test)]
mod tests;
