//! What the wrappers of the handlers and of the publisher of dead letters record.

use super::{EntryId, Ledger};
use crate::{
    Delivery, Error, ErrorKind, Message, Outcome,
    testing::harness::{call::CallResult, state::Failure},
};

impl Ledger {
    /// Records the begin of a handler's call.
    pub(in crate::testing::harness) fn begin(&self, delivery: &Delivery) -> EntryId {
        self.change(|state| {
            let id = state.find_or_add(delivery);
            state.entries[id.0].begin(delivery.clone());
            id
        })
    }

    /// Records the end of a handler's call. Returns whether the "crash" of the test happens now: the wrapper of the
    /// handler then never returns.
    pub(in crate::testing::harness) fn end(
        &self,
        EntryId(index): EntryId,
        result: Result<Outcome, &Error>,
    ) -> bool {
        self.change(|state| {
            let entry = &mut state.entries[index];
            let Some(group) = state.groups.get_mut(&entry.group) else { return false };
            if group.crash_at.take_if(|message| entry.is(&entry.group, message)).is_some() {
                entry.end_call(match result {
                    Ok(outcome) => CallResult::Returned(outcome),
                    Err(error) => CallResult::Failed(Failure::of(error)),
                });
                group.crashed = true;
                return true;
            }
            match result {
                Ok(outcome) => entry.returned(outcome),
                Err(error) => entry.failed(error, &group.rules, &self.clock),
            }
            group.ending |= entry.has_stopped_the_consumer();
            false
        })
    }

    /// Records that the future of a handler's call was dropped: the attempt timed out, or the consumer stops.
    pub(in crate::testing::harness) fn dropped(&self, EntryId(index): EntryId) {
        self.change(|state| {
            let entry = &mut state.entries[index];
            let Some(group) = state.groups.get(&entry.group) else { return };
            if group.stopping || group.ending {
                return entry.end_call(CallResult::Dropped);
            }
            let limit = group.rules.attempts.timeout;
            let error = Error::indeterminate(format!("the handler did not finish within {limit:?}"));
            entry.failed(&error, &group.rules, &self.clock);
        });
    }

    /// Records that the dead letter `letter` of `group` is acknowledged.
    pub(in crate::testing::harness) fn dead_lettered(
        &self,
        group: &str,
        letter: &Message,
        kind: Option<ErrorKind>,
    ) {
        self.change(|state| {
            if let Some(entry) = state.of_dead_letter(group, letter) {
                entry.dead_lettered(letter, kind);
            }
        });
    }

    /// Records that the publisher refused the dead letter `letter` of `group`.
    pub(in crate::testing::harness) fn refused(&self, group: &str, letter: &Message) {
        self.change(|state| {
            let Some(rules) = state.groups.get(group).map(|group| group.rules.clone()) else { return };
            if let Some(entry) = state.of_dead_letter(group, letter) {
                entry.refused(&rules, &self.clock);
            }
        });
    }
}
