//! The parked lanes of a relay, and the rows that are to be parked.

use std::collections::HashSet;

use super::{
    in_flight::RowRef,
    store::{Lane, ParkedLanes, RowToPark},
};
use crate::parked::Refusal;

/// The lanes in the table `comms_outbox_parked`, and the rows that are not written to it yet.
#[derive(Debug, Default)]
pub(super) struct Parking {
    lanes: HashSet<Lane>,
    any: bool,
    pending: Vec<RowToPark>,
}

impl Parking {
    /// Replaces the lanes by those of the table and of the rows that are not written yet.
    pub(super) fn load(&mut self, parked: ParkedLanes) {
        self.lanes = parked.lanes.into_iter().collect();
        self.any = parked.any || !self.pending.is_empty();
        self.lanes.extend(self.pending.iter().filter_map(RowToPark::lane));
    }

    /// Parks `row`, and from now on the later rows of its lane.
    pub(super) fn park(&mut self, row: RowRef, refusal: Refusal) {
        self.lanes.extend(row.lane_to_keep());
        self.any = true;
        self.pending.push(row.park(refusal));
    }

    /// Parks `row` if its lane is parked. Returns whether it was.
    pub(super) fn park_behind(&mut self, row: &RowRef) -> bool {
        if self.lanes.is_empty() {
            return false;
        }
        let parked = row.lane().is_some_and(|lane| self.lanes.contains(&lane));
        if parked {
            self.pending.push(row.clone().park(Refusal::behind("it is parked")));
        }
        parked
    }

    /// Returns whether any row is parked, so that there may be rows to release.
    pub(super) fn any(&self) -> bool {
        self.any
    }

    pub(super) fn lanes(&self) -> usize {
        self.lanes.len()
    }

    /// Returns one of the parked lanes, as an example for the operator.
    pub(super) fn example(&self) -> Option<&Lane> {
        self.lanes.iter().next()
    }

    pub(super) fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Returns the rows to write. They are kept until [`Parking::saved`] is called.
    pub(super) fn changes(&self) -> Vec<RowToPark> {
        self.pending.clone()
    }

    pub(super) fn saved(&mut self) {
        self.pending.clear();
    }
}
