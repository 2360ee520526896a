//! The end of a call with several deliveries. The worker has the same rules.

use super::{Entry, EntryId, Rules};
use crate::{BatchResults, Error, clock::Clock, transport::Disposition};

/// The deliveries of one call.
pub(super) struct Batch<'a> {
    pub(super) entries: &'a mut [Entry],
    pub(super) ids: &'a [EntryId],
    pub(super) rules: &'a Rules,
    pub(super) clock: &'a Clock,
}

impl Batch<'_> {
    /// Records the result of each delivery. A failed one is attempted again alone. A later one of its key waits behind
    /// it, and its own failure is ignored.
    pub(super) fn returned(&mut self, results: &BatchResults) {
        let mut failed: Vec<usize> = Vec::new();
        for (&EntryId(index), result) in self.ids.iter().zip(results) {
            let Err(error) = result else {
                if let Ok(outcome) = result {
                    self.entries[index].returned(*outcome);
                }
                continue;
            };
            let of_key = |&earlier: &usize| {
                self.entries[earlier].is_ordered_with(&self.entries[index], self.rules.ordering)
            };
            let is_behind = failed.iter().any(of_key);
            let entry = &mut self.entries[index];
            if is_behind {
                entry.put_back(error, false);
                continue;
            }
            if self.ids.len() > 1 {
                entry.end_hold();
            }
            entry.failed(error, self.rules, self.clock);
            failed.push(index);
        }
    }

    /// Records the failure of the whole call. A delivery that was alone has failed itself.
    pub(super) fn failed(&mut self, error: &Error) {
        let Some((&EntryId(first), others)) = self.ids.split_first() else { return };
        let now = self.clock.now();
        match error.kind.disposition() {
            _ if others.is_empty() => self.entries[first].failed(error, self.rules, self.clock),
            Disposition::Stop => {
                self.entries[first].failed(error, self.rules, self.clock);
                others.iter().for_each(|other| self.entries[other.0].put_back(error, false));
            }
            Disposition::Hold if self.rules.may_hold(self.entries[first].held(now)) => {
                self.entries[first].failed(error, self.rules, self.clock);
                let at = self.entries[first].step.waits_until().unwrap_or(now);
                others.iter().for_each(|other| self.entries[other.0].wait_with_batch(error, at));
            }
            // A neighbour may have caused the failure: each delivery is attempted alone, and no attempt is counted.
            _ => self.ids.iter().for_each(|id| self.entries[id.0].put_back(error, true)),
        }
    }
}
