//! What the wrappers of the handlers and of the publisher of dead letters record.

use super::{EntryId, Ledger, State, batch::Batch};
use crate::{
    BatchResults, Delivery, Error, ErrorKind, Message,
    testing::harness::{call::CallResult, state::Failure},
};

impl Ledger {
    /// Records the begin of a handler's call with `deliveries` of one topic.
    pub(in crate::testing::harness) fn begin(&self, deliveries: &[Delivery]) -> Vec<EntryId> {
        self.change(|state| {
            let begin = |delivery: &Delivery| {
                let id = state.find_or_add(delivery);
                state.entries[id.0].begin(delivery.clone(), deliveries.len());
                id
            };
            deliveries.iter().map(begin).collect()
        })
    }

    /// Records the end of a handler's call. Returns whether the "crash" of the test happens now: the wrapper of the
    /// handler then never returns.
    pub(in crate::testing::harness) fn end(
        &self,
        ids: &[EntryId],
        result: Result<&BatchResults, &Error>,
    ) -> bool {
        self.change(|State { groups, entries, .. }| {
            let Some(group) = ids.first().and_then(|id| groups.get_mut(&entries[id.0].group)) else {
                return false;
            };
            let is_any =
                |message: &mut Message| ids.iter().any(|id| entries[id.0].is(&entries[id.0].group, message));
            if group.crash_at.take_if(is_any).is_some() {
                for (number, id) in ids.iter().enumerate() {
                    entries[id.0].end_call(match result.map(|results| results.get(number)) {
                        Ok(Some(Ok(outcome))) => CallResult::Returned(*outcome),
                        Ok(Some(Err(error))) | Err(error) => CallResult::Failed(Failure::of(error)),
                        Ok(None) => CallResult::Dropped,
                    });
                }
                group.crashed = true;
                return true;
            }
            let mut batch = Batch { entries, ids, rules: &group.rules, clock: &self.clock };
            match result {
                Ok(results) => batch.returned(results),
                Err(error) => batch.failed(error),
            }
            group.ending |= ids.iter().any(|id| entries[id.0].has_stopped_the_consumer());
            false
        })
    }

    /// Records that the future of a handler's call was dropped: the attempt timed out, or the consumer stops.
    pub(in crate::testing::harness) fn dropped(&self, ids: &[EntryId]) {
        self.change(|State { groups, entries, .. }| {
            let Some(group) = ids.first().and_then(|id| groups.get(&entries[id.0].group)) else { return };
            if group.stopping || group.ending {
                return ids.iter().for_each(|id| entries[id.0].end_call(CallResult::Dropped));
            }
            let limit = group.rules.attempts.timeout;
            let error = Error::indeterminate(format!("the handler did not finish within {limit:?}"));
            Batch { entries, ids, rules: &group.rules, clock: &self.clock }.failed(&error);
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
