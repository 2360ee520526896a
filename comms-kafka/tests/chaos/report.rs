//! The counts of one scenario, and which of them must be zero.

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
    time::Duration,
};

/// The counts of one scenario.
#[derive(Default)]
pub struct Report {
    pub records: usize,
    pub handled: usize,
    /// Acknowledged and neither handled nor refused.
    pub lost: Vec<u32>,
    /// Begun before an earlier record of the key was handled.
    pub out_of_order: usize,
    /// Two handlers of one key at once in one member.
    pub overlaps: usize,
    /// Two handlers of one key at once in two members, by whether one of them was ever stopped.
    pub overlaps_across: usize,
    pub overlaps_with_stopped: usize,
    /// Handled after it was already handled, by whether two members were at the partition at the same time, because one
    /// of them had been stopped.
    pub again: usize,
    pub again_with_stopped: usize,
    /// For each new assignment: the records already handled at or above the last committed offset that was read, and
    /// those that another member has begun and not ended.
    pub bound: usize,
    /// Records begun below a committed offset that was read before, by whether the member was ever stopped.
    pub below_commit: usize,
    pub below_commit_by_stopped: usize,
    /// A commit was read that is above an unfinished record.
    pub past_unfinished: usize,
    /// A commit was read that is below an earlier one.
    pub commits_back: usize,
    pub commits: usize,
    pub assignments: usize,
    pub retried: usize,
    pub dropped: usize,
    pub refused: HashSet<u32>,
    /// At each SIGKILL: the handled and uncommitted records of the partitions of the member.
    pub uncommitted_at_kill: Vec<usize>,
    /// The longest time that a partition with a backlog made no progress, in milliseconds.
    pub longest_pause: BTreeMap<i32, u64>,
    /// A few violations in words.
    pub examples: Vec<String>,
}

impl Report {
    /// Panics if a guarantee was violated.
    pub fn judge(&self, name: &str, stall: Duration) {
        assert!(self.records > 0, "{name}: nothing was published");
        assert!(self.lost.is_empty(), "{name}: lost {:?}", &self.lost[..self.lost.len().min(10)]);
        assert_eq!((self.out_of_order, self.overlaps, self.overlaps_across), (0, 0, 0), "{name}: {self}");
        assert_eq!((self.past_unfinished, self.below_commit, self.commits_back), (0, 0, 0), "{name}: {self}");
        assert!(self.again <= self.bound, "{name}: {self}");
        let longest = Duration::from_millis(self.longest_pause.values().max().copied().unwrap_or_default());
        assert!(longest <= stall, "{name}: a partition stood still for {longest:?}: {self}");
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pause = self.longest_pause.values().max().copied().unwrap_or_default();
        write!(
            f,
            "records {}, handled {}, refused {}, lost {}, out of order {}, overlaps {} (in two members {}, with a \
             stopped member {}), again {} (bound {}) and {} beside a \
             stopped member, begun below a commit {} (by a stopped member {}), committed past \
             an unfinished record {}, commits back {}, commits {}, assignments {}, retried {}, dropped {}, handled and \
             uncommitted at SIGKILL {:?}, longest pause of a partition {:.1} s {:?}",
            self.records,
            self.handled,
            self.refused.len(),
            self.lost.len(),
            self.out_of_order,
            self.overlaps,
            self.overlaps_across,
            self.overlaps_with_stopped,
            self.again,
            self.bound,
            self.again_with_stopped,
            self.below_commit,
            self.below_commit_by_stopped,
            self.past_unfinished,
            self.commits_back,
            self.commits,
            self.assignments,
            self.retried,
            self.dropped,
            self.uncommitted_at_kill,
            pause as f64 / 1e3,
            self.examples
        )
    }
}
