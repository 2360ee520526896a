//! What the harness and its assertions read from the ledger.

use std::{sync::Arc, time::Duration};

use super::{Entry, EntryId, Ledger, Step};
use crate::{
    Message,
    testing::harness::{
        call::Call,
        state::{DeliveryState, Failure},
    },
};

/// One delivery, as the assertions read it.
pub(in crate::testing::harness) struct Delivered {
    pub(in crate::testing::harness) message: Message,
    pub(in crate::testing::harness) state: DeliveryState,
    pub(in crate::testing::harness) calls: Vec<Call>,
    /// The text of the last error.
    pub(in crate::testing::harness) error: Option<String>,
}

impl Ledger {
    pub(in crate::testing::harness) fn failure(&self, group: &str) -> Option<Failure> {
        self.lock().groups.get(group).and_then(|group| group.failure.clone())
    }

    /// Returns whether a group is subscribed to `topic`.
    pub(in crate::testing::harness) fn has_topic(&self, topic: &str) -> bool {
        self.lock().groups.values().any(|group| group.is_subscribed_to(topic))
    }

    /// Returns the calls of the handler of `topic` in `group`, in the order in which their deliveries were published.
    pub(in crate::testing::harness) fn calls(&self, group: &str, topic: &str) -> Vec<Call> {
        let state = self.lock();
        let of_topic = |entry: &&Entry| *entry.group == *group && entry.message.topic() == topic;
        state.entries.iter().filter(of_topic).flat_map(|entry| entry.calls.iter().cloned()).collect()
    }

    /// Returns the deliveries to `group`, in the order of publication.
    pub(in crate::testing::harness) fn delivered(&self, group: &str) -> Vec<Delivered> {
        let state = self.lock();
        let shown = |(index, entry): (usize, &Entry)| Delivered {
            message: entry.message.clone(),
            state: state.state(index),
            calls: entry.calls.clone(),
            error: entry.error.clone(),
        };
        let of_group = |(_, entry): &(usize, &Entry)| *entry.group == *group;
        state.entries.iter().enumerate().filter(of_group).map(shown).collect()
    }

    /// Returns the one of `entries` that belongs to `group`.
    pub(in crate::testing::harness) fn of_group(
        &self,
        entries: &[EntryId],
        group: &Arc<str>,
    ) -> Option<EntryId> {
        let state = self.lock();
        entries.iter().copied().find(|EntryId(index)| state.entries[*index].group == *group)
    }

    pub(in crate::testing::harness) fn state_of(&self, EntryId(index): EntryId) -> DeliveryState {
        self.lock().state(index)
    }

    /// Returns the state of the last delivery of `message` to `group`.
    pub(in crate::testing::harness) fn last_state(&self, group: &str, message: &Message) -> DeliveryState {
        let state = self.lock();
        let last = state.entries.iter().rposition(|entry| entry.is(group, message));
        last.map_or(DeliveryState::Running, |index| state.state(index))
    }

    /// Returns whether a handler runs.
    pub(in crate::testing::harness) fn is_any_running(&self) -> bool {
        self.lock().entries.iter().any(|entry| entry.step == Step::Finish)
    }

    /// Returns the time from now to the next attempt that waits for the clock.
    pub(in crate::testing::harness) fn next_attempt(&self) -> Option<Duration> {
        let now = self.clock.now();
        let due = self.lock().waits().min();
        due.map(|at| at.saturating_duration_since(now))
    }
}
