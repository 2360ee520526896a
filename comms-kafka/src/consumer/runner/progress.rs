//! The progress of a partition: what its runner has finished, for the committer.

use super::Runner;
use crate::consumer::{assignment::Assignment, finished::Finished};

impl Runner {
    /// Marks a record as finished, and publishes the frontier.
    pub(super) fn complete(&mut self, assignment: &Assignment, tag: u64) {
        self.frontier.complete(tag);
        self.finished += 1;
        let Some(offset) = self.frontier.offset() else { return };
        if assignment.frontier().is_some_and(|frontier| offset < frontier) {
            // The log was truncated, and has other records at the offsets of the list.
            assignment.set_beyond(&Finished::default());
        }
        assignment.set_frontier(offset);
    }

    /// Counts the finished records, and publishes what is measured once per chunk.
    pub(super) fn publish(&mut self, assignment: &Assignment) {
        assignment.set_oldest(self.ages.oldest(self.frontier.first_open()));
        self.worker.flush();
        let finished = std::mem::take(&mut self.finished);
        if finished > 0 {
            self.shared.commits.count(finished);
            self.is_beyond_stale = true;
        }
        if self.is_beyond_stale && assignment.takes_request() {
            self.publish_beyond(assignment);
        }
    }

    /// Publishes the finished records beyond the frontier.
    pub(super) fn publish_beyond(&mut self, assignment: &Assignment) {
        self.is_beyond_stale = false;
        let mut finished = Finished::collect(self.frontier.records());
        finished.append(&self.restored);
        if !finished.is_empty()
            && assignment.frontier().is_none()
            && let Some(first) = self.frontier.first_open()
        {
            // An offset is needed for a commit.
            assignment.set_frontier(first);
        }
        assignment.set_beyond(&finished);
    }
}
