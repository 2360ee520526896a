//! Lanes that are held back because a row of theirs was refused for good.

use std::collections::HashSet;

use super::{
    flights::Sent,
    store::{Lane, Park, ParkedLanes},
};
use crate::parked::Refusal;

/// The table `comms_outbox_parked` as far as the loop needs it, and what is to be written to it.
#[derive(Debug, Default)]
pub(super) struct Parking {
    lanes: HashSet<Lane>,
    any: bool,
    pending: Vec<Park>,
}

impl Parking {
    /// What stands in the table, and what is still to be written to it.
    pub(super) fn load(&mut self, parked: ParkedLanes) {
        self.lanes = parked.lanes.into_iter().collect();
        self.any = parked.any || !self.pending.is_empty();
        self.lanes.extend(self.pending.iter().filter_map(Park::lane));
    }

    /// Holds back `row`, and from now on the rest of its lane.
    pub(super) fn refuse(&mut self, row: Sent, refusal: Refusal) {
        self.lanes.extend(row.lane());
        self.any = true;
        self.pending.push(row.park(refusal));
    }

    /// Holds back `row` if its lane is.
    pub(super) fn stops(&mut self, row: &Sent) -> bool {
        if self.lanes.is_empty() {
            return false;
        }
        let stopped = row.lane().is_some_and(|lane| self.lanes.contains(&lane));
        if stopped {
            self.pending.push(row.clone().park(Refusal::behind("it is parked")));
        }
        stopped
    }

    /// Whether there is anything to release.
    pub(super) fn any(&self) -> bool {
        self.any
    }

    pub(super) fn lanes(&self) -> usize {
        self.lanes.len()
    }

    /// One of the held back keys.
    pub(super) fn example(&self) -> Option<&Lane> {
        self.lanes.iter().next()
    }

    pub(super) fn pending(&self) -> usize {
        self.pending.len()
    }

    /// What is to be written. Once it is, call [`Parking::saved`]: until then it is kept.
    pub(super) fn changes(&self) -> Vec<Park> {
        self.pending.clone()
    }

    pub(super) fn saved(&mut self) {
        self.pending.clear();
    }
}
