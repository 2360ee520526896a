//! The entry to which a call of a handler or a dead letter belongs.

use std::time::Instant;

use super::{Entry, EntryId, State, Step};
use crate::{Delivery, Message, event, testing::harness::state::DeliveryState, transport::Ordering, wire};

impl State {
    /// Returns the open entry of `delivery`. A delivery that the test did not publish, or that the transport repeats by
    /// itself, gets a new entry.
    pub(super) fn find_or_add(&mut self, delivery: &Delivery) -> EntryId {
        let place = delivery.position.partition.zip(delivery.position.offset);
        let message = &delivery.message;
        let identity = (message.source().to_owned(), message.id().to_owned());
        let candidates = || {
            self.entries.iter().enumerate().filter(|(_, entry)| {
                entry.group == delivery.group
                    && entry.message.topic() == message.topic()
                    && entry.is_open()
                    && entry.step != Step::Finish
            })
        };
        let at_place = candidates().find(|(_, entry)| place.is_some() && entry.place == place);
        let unplaced = || {
            candidates()
                .find(|(_, entry)| entry.identity == identity && (entry.place.is_none() || place.is_none()))
        };
        if let Some((index, _)) = at_place.or_else(unplaced) {
            return EntryId(index);
        }
        let is_repeated = |entry: &&Entry| {
            entry.group == delivery.group
                && entry.message.topic() == message.topic()
                && entry.identity == identity
        };
        let published = self.entries.iter().rev().find(is_repeated).and_then(|entry| entry.published);
        let mut entry = Entry::new(delivery.group.clone(), message.clone(), identity);
        entry.published = published;
        self.entries.push(entry);
        EntryId(self.entries.len() - 1)
    }

    /// Returns the entry of which `letter` is the dead letter.
    pub(super) fn of_dead_letter(&mut self, group: &str, letter: &Message) -> Option<&mut Entry> {
        let number = |name| letter.headers().text(name).and_then(|text| text.parse::<i64>().ok());
        let topic = letter.headers().text(wire::DLQ_TOPIC)?;
        let place =
            number(wire::DLQ_PARTITION).and_then(|n| i32::try_from(n).ok()).zip(number(wire::DLQ_OFFSET));
        let matching = |entry: &Entry| {
            *entry.group == *group
                && entry.message.topic() == topic
                && (place.is_some() && entry.place == place
                    || entry.place.is_none() && entry.message.id() == letter.id())
        };
        // An envelope that cannot be opened becomes a dead letter without a call of the handler.
        let waits = |entry: &Entry| matches!(entry.step, Step::DeadLetter { .. } | Step::Begin);
        self.entries.iter_mut().find(|entry| waits(entry) && matching(entry))
    }

    /// Returns the state of the entry at `index`, including that it waits behind another one.
    pub(super) fn state(&self, index: usize) -> DeliveryState {
        let entry = &self.entries[index];
        match entry.state() {
            _ if self.has_ended(entry) && entry.is_open() => DeliveryState::Abandoned,
            DeliveryState::Running if self.is_queued(index) => DeliveryState::Queued,
            state => state,
        }
    }

    /// Returns whether the consumer of the entry has ended with an error.
    pub(super) fn has_ended(&self, entry: &Entry) -> bool {
        self.groups.get(&entry.group).is_some_and(|group| group.failure.is_some())
    }

    /// Returns the times of the clock for which consumers wait.
    pub(super) fn waits(&self) -> impl Iterator<Item = Instant> {
        let running = self.entries.iter().filter(|entry| !self.has_ended(entry));
        running.filter_map(|entry| entry.step.waits_until())
    }

    /// Returns whether the delivery has not begun, and an earlier one of its key, or a held batch of its partition, waits
    /// for the clock.
    pub(super) fn is_queued(&self, index: usize) -> bool {
        let entry = &self.entries[index];
        let ordering = self.groups.get(&entry.group).map(|group| group.rules.ordering).unwrap_or_default();
        let waits =
            |other: &Entry| other.step.waits_until().is_some() && other.is_ordered_with(entry, ordering);
        let holds_batches = |other: &Entry| {
            matches!(other.step, Step::Batch { .. }) && other.is_ordered_with(entry, Ordering::Partition)
        };
        entry.step == Step::Begin
            && (self.entries[..index].iter().any(waits)
                || !entry.is_alone && self.entries.iter().any(holds_batches))
    }
}

/// Returns the source and the id that the handler sees: those of the event, if `message` is a structured envelope.
pub(super) fn identity(message: &Message) -> (String, String) {
    let opened = match message.headers().text(wire::CONTENT_TYPE) {
        Some(media) if event::is_envelope(media) => open(message),
        _ => None,
    };
    let seen = opened.as_ref().unwrap_or(message);
    (seen.source().to_owned(), seen.id().to_owned())
}

#[cfg(feature = "cloudevents")]
fn open(message: &Message) -> Option<Message> {
    crate::cloudevents::open(message.clone()).ok()
}

#[cfg(not(feature = "cloudevents"))]
const fn open(_: &Message) -> Option<Message> {
    None
}
