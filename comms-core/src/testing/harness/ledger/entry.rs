//! One delivery of a message to a group, from its publication to its end.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::rules::{Rules, Step};
use crate::{
    Delivery, Error, ErrorKind, Message, Outcome,
    clock::Clock,
    testing::harness::{
        call::{Call, CallResult},
        state::{DeliveryState, Failure},
    },
    transport::Ordering,
    wire,
};

/// One delivery of a message to a group.
pub(super) struct Entry {
    pub(super) group: Arc<str>,
    pub(super) message: Message,
    /// The number of the published message. `None` if the test has published no such message.
    pub(super) published: Option<usize>,
    /// Partition and offset, once they are known.
    pub(super) place: Option<(i32, i64)>,
    /// The identity that the handler sees. It is not that of `message` if `message` is a structured `CloudEvents`
    /// envelope.
    pub(super) identity: (String, String),
    pub(super) calls: Vec<Call>,
    pub(super) step: Step,
    /// The failed attempts of this delivery, without those that failed with a batch.
    failures: u32,
    /// The delivery was in a batch that failed, and is attempted alone.
    pub(super) is_alone: bool,
    /// The first failed attempt of the current hold.
    held_since: Option<Instant>,
    /// How often the dead letter was refused.
    refusals: u32,
    /// The text of the last error.
    pub(super) error: Option<String>,
}

impl Entry {
    pub(super) fn new(group: Arc<str>, message: Message, identity: (String, String)) -> Self {
        let (calls, step) = (Vec::new(), Step::Begin);
        Self {
            group,
            message,
            published: None,
            place: None,
            identity,
            calls,
            step,
            failures: 0,
            is_alone: false,
            held_since: None,
            refusals: 0,
            error: None,
        }
    }

    /// Returns the entry of the delivery that follows this one after a restart of the consumer.
    pub(super) fn again(&self) -> Self {
        let next = Self::new(self.group.clone(), self.message.clone(), self.identity.clone());
        Self { published: self.published, place: self.place, ..next }
    }

    pub(super) const fn is_open(&self) -> bool {
        !matches!(self.step, Step::End(_))
    }

    pub(super) const fn has_stopped_the_consumer(&self) -> bool {
        matches!(self.step, Step::End(DeliveryState::Stopped(_)))
    }

    /// Records the begin of a call with a number of deliveries, of which this is one.
    pub(super) fn begin(&mut self, delivery: Delivery, batch: usize) {
        self.place = self.place.or_else(|| delivery.position.partition.zip(delivery.position.offset));
        self.calls.push(Call::begun(delivery, batch));
        self.step = Step::Finish;
    }

    pub(super) fn returned(&mut self, outcome: Outcome) {
        self.end_call(CallResult::Returned(outcome));
        self.step = Step::End(outcome.into());
    }

    /// Records a failed attempt.
    pub(super) fn failed(&mut self, error: &Error, rules: &Rules, clock: &Clock) {
        let Some(Call { delivery, .. }) = self.calls.last() else { return };
        self.failures += 1;
        let now = clock.now();
        self.step = rules.after(error, (delivery, self.failures), self.held(now), clock);
        self.held_since = match self.step {
            Step::Attempt { held: true, .. } => self.held_since.or(Some(now)),
            _ => None,
        };
        self.call_failed(error);
    }

    /// Records the failure of a call that is no failed attempt of this delivery: it is attempted again, without a wait
    /// of its own. `alone`: not in a batch.
    pub(super) fn put_back(&mut self, error: &Error, alone: bool) {
        self.end_hold();
        (self.step, self.is_alone) = (Step::Begin, alone);
        self.call_failed(error);
    }

    /// Records the failure of a batch that is attempted again `at` this time.
    pub(super) fn wait_with_batch(&mut self, error: &Error, at: Instant) {
        self.step = Step::Batch { at };
        self.call_failed(error);
    }

    /// Ends the hold of a batch of which this delivery was the first one.
    pub(super) const fn end_hold(&mut self) {
        (self.failures, self.held_since) = (0, None);
    }

    /// Returns how long the delivery has been held.
    pub(super) fn held(&self, now: Instant) -> Option<Duration> {
        self.held_since.map(|since| now.saturating_duration_since(since))
    }

    fn call_failed(&mut self, error: &Error) {
        let failure = Failure::of(error);
        self.error = Some(failure.text.clone());
        self.end_call(CallResult::Failed(failure));
    }

    pub(super) fn end_call(&mut self, result: CallResult) {
        if let Some(call) = self.calls.last_mut() {
            call.result = result;
        }
    }

    pub(super) fn dead_lettered(&mut self, letter: &Message, kind: Option<ErrorKind>) {
        let reason = || letter.headers().text(wire::DLQ_ERROR).map(str::to_owned);
        self.error = self.error.take().or_else(reason);
        self.step = Step::End(DeliveryState::DeadLettered(kind.unwrap_or_else(|| self.last_error())));
    }

    /// Records that the publisher refused the dead letter. A refusal in a smaller form follows at the same time.
    pub(super) fn refused(&mut self, rules: &Rules, clock: &Clock) {
        let now = clock.now();
        let same_round = matches!(self.step, Step::DeadLetter { at: Some(at) } if at > now);
        self.refusals += u32::from(!same_round);
        self.step = Step::DeadLetter { at: Some(now + rules.attempts.backoff.delay(self.refusals, clock)) };
    }

    fn last_error(&self) -> ErrorKind {
        let last = self.calls.iter().rev().find_map(Call::failure);
        last.map_or(ErrorKind::Invalid, |failure| failure.kind)
    }

    pub(super) fn state(&self) -> DeliveryState {
        match self.step {
            Step::End(state) => state,
            Step::Attempt { held: true, .. } | Step::Batch { .. } => DeliveryState::Held(self.last_error()),
            Step::DeadLetter { at: Some(_) } => DeliveryState::Held(ErrorKind::Misconfigured),
            Step::Attempt { held: false, .. } => DeliveryState::Retrying(self.last_error()),
            Step::Begin | Step::Finish | Step::DeadLetter { at: None } => DeliveryState::Running,
        }
    }

    /// Returns whether a consumer with `ordering` delivers the two one after the other.
    pub(super) fn is_ordered_with(&self, other: &Self, ordering: Ordering) -> bool {
        let same_topic = self.group == other.group && self.message.topic() == other.message.topic();
        let partition = |entry: &Self| entry.place.map(|(partition, _)| partition);
        match ordering {
            Ordering::None => false,
            Ordering::Partition => same_topic && partition(self) == partition(other),
            Ordering::Key => {
                same_topic && self.message.key().is_some() && self.message.key() == other.message.key()
            }
        }
    }

    /// Returns whether the two are deliveries of one published message, or of one position.
    pub(super) fn is_same_delivery(&self, other: &Self) -> bool {
        self.is(&other.group, &other.message)
            && self.place == other.place
            && (self.place.is_some() || self.published == other.published)
    }

    pub(super) fn is(&self, group: &str, message: &Message) -> bool {
        *self.group == *group
            && self.message.topic() == message.topic()
            && (self.message.source(), self.message.id()) == (message.source(), message.id())
    }
}
