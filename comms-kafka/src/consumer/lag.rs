//! The lag of a consumer: how many records it is behind, and how old its first unfinished record is.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use metrics::gauge;
use rdkafka::{Statistics, statistics::Partition};

use super::assignment::Assignment;
use comms_core::{clock::Clock, telemetry};

/// The lag over all partitions of a member, from the last statistics of the client.
#[derive(Debug, Default)]
pub(super) struct Lag {
    records: AtomicU64,
    millis: AtomicU64,
}

impl Lag {
    /// Returns the lag in records.
    pub(super) fn records(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }

    /// Returns the age of the oldest unfinished record.
    pub(super) fn age(&self) -> Duration {
        Duration::from_millis(self.millis.load(Ordering::Relaxed))
    }

    /// Updates the lag of `assignments` from `statistics`.
    pub(super) fn update(
        &self,
        group: &str,
        assignments: &[Arc<Assignment>],
        statistics: &Statistics,
        clock: &Clock,
    ) {
        let (mut total, mut oldest) = (0, 0);
        for assignment in assignments {
            let topic = statistics.topics.get(&*assignment.topic.name);
            let partition = topic.and_then(|topic| topic.partitions.get(&assignment.partition));
            let Some(records) = partition.and_then(|partition| records(assignment, partition)) else {
                continue;
            };
            let age = assignment.oldest().filter(|_| records > 0).map_or(0, |at| clock.unix_millis() - at);
            let age = age.max(0).unsigned_abs();
            set(group, assignment, records, age);
            total += records;
            oldest = oldest.max(age);
        }
        self.records.store(total, Ordering::Relaxed);
        self.millis.store(oldest, Ordering::Relaxed);
    }
}

/// Sets the gauges of a revoked partition to zero: the next owner reports its lag.
pub(super) fn reset(group: &str, assignment: &Assignment) {
    set(group, assignment, 0, 0);
}

fn set(group: &str, assignment: &Assignment, records: u64, millis: u64) {
    let labels = [
        ("group", group.to_owned()),
        ("topic", assignment.topic.name.to_string()),
        ("partition", assignment.partition.to_string()),
    ];
    // Exact up to 2^53.
    gauge!(telemetry::CONSUMER_LAG, &labels).set(records as f64);
    gauge!(telemetry::CONSUMER_LAG_SECONDS, &labels).set(millis as f64 / 1_000.0);
}

/// Returns the lag of a partition in records, or `None` if it is not known yet.
fn records(assignment: &Assignment, partition: &Partition) -> Option<u64> {
    // With read_committed the log ends at the last stable offset. -1001 means that it is not known yet.
    let end = if partition.ls_offset >= 0 { partition.ls_offset } else { partition.hi_offset };
    let frontier = assignment.frontier();
    let position = if assignment.is_idle() && partition.fetchq_cnt == 0 {
        // All records up to the position of the client are finished. Behind the last record there may be aborted
        // transactions and markers, which the client skips.
        partition.next_offset.max(frontier.unwrap_or_default())
    } else {
        frontier.unwrap_or(partition.committed_offset.max(partition.lo_offset))
    };
    (end >= 0 && position >= 0).then(|| (end - position).max(0).unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consumer::topic::Topic;

    #[test]
    fn markers_behind_the_last_record_are_no_lag() {
        let assignment = Assignment::new(Arc::new(Topic::of_test("orders")), 0);
        assignment.set_frontier(8);
        let mut partition = Partition {
            ls_offset: 10,
            hi_offset: 12,
            next_offset: 10,
            fetchq_cnt: 0,
            ..Partition::default()
        };
        assert_eq!(records(&assignment, &partition), Some(2), "the runner has records");
        assignment.set_idle(true);
        assert_eq!(records(&assignment, &partition), Some(0), "8 and 9 are markers");
        partition.fetchq_cnt = 1;
        assert_eq!(records(&assignment, &partition), Some(2), "a record waits in the client");
        partition.ls_offset = -1001;
        assert_eq!(records(&assignment, &partition), Some(4));
        partition.hi_offset = -1001;
        assert_eq!(records(&assignment, &partition), None);
    }
}
