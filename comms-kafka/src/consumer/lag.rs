//! The lag of a consumer: how many records it is behind, and how old its first unfinished record is.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use metrics::gauge;
use rdkafka::{Offset, Statistics, TopicPartitionList, consumer::Consumer as _, statistics::Partition};

use super::{assignment::Assignment, context::Client};
use comms_core::{clock::Clock, telemetry};

/// The time limit of the request for the ends of partitions.
const REQUEST: Duration = Duration::from_secs(1);

/// The lag over all partitions of a member, from the last statistics of the client.
#[derive(Default)]
pub(super) struct Lag {
    records: AtomicU64,
    millis: AtomicU64,
    /// The assignments whose records wait in the client.
    behind: Mutex<Vec<Arc<Assignment>>>,
}

impl Lag {
    /// Returns the assignments whose end is to be read with [`read_ends`].
    pub(super) fn take_behind(&self) -> Vec<Arc<Assignment>> {
        std::mem::take(&mut *self.behind.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Sets the lag to zero at the end of the consumer.
    pub(super) fn reset(&self) {
        self.records.store(0, Ordering::Relaxed);
        self.millis.store(0, Ordering::Relaxed);
    }

    /// Returns the lag in records.
    pub(super) fn records(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }

    /// Returns the age of the oldest unfinished record.
    pub(super) fn age(&self) -> Duration {
        Duration::from_millis(self.millis.load(Ordering::Relaxed))
    }

    /// Updates the lag of `assignments` from `statistics`. Returns whether an end is to be read.
    pub(super) fn update(
        &self,
        group: &str,
        assignments: &[Arc<Assignment>],
        statistics: &Statistics,
        clock: &Clock,
    ) -> bool {
        let (mut total, mut oldest, mut behind) = (0, 0, Vec::new());
        for assignment in assignments {
            let topic = statistics.topics.get(&*assignment.topic.name);
            let partition = topic.and_then(|topic| topic.partitions.get(&assignment.partition));
            let Some(partition) = partition else { continue };
            if is_behind(partition) {
                behind.push(assignment.clone());
            }
            let Some(records) = records(assignment, partition) else { continue };
            let age = assignment.oldest().filter(|_| records > 0).map_or(0, |at| clock.unix_millis() - at);
            let age = age.max(0).unsigned_abs();
            set(group, assignment, records, age);
            total += records;
            oldest = oldest.max(age);
        }
        self.records.store(total, Ordering::Relaxed);
        self.millis.store(oldest, Ordering::Relaxed);
        let is_any_behind = !behind.is_empty();
        *self.behind.lock().unwrap_or_else(PoisonError::into_inner) = behind;
        is_any_behind
    }
}

/// Reads the ends of the partitions of `assignments` from the brokers. Blocks for at most [`REQUEST`].
pub(super) fn read_ends(client: &Client, assignments: &[Arc<Assignment>]) {
    let mut ends = TopicPartitionList::with_capacity(assignments.len());
    for assignment in assignments {
        // Fails only for an offset that cannot be represented.
        let _ = ends.add_partition_offset(&assignment.topic.name, assignment.partition, Offset::End);
    }
    if ends.count() == 0 {
        return;
    }
    // The client asks for the last stable offset if it reads committed records only.
    match client.offsets_for_times(ends, REQUEST) {
        Ok(ends) => assignments.iter().for_each(|assignment| {
            let end = ends.find_partition(&assignment.topic.name, assignment.partition);
            if let Some(Offset::Offset(end)) = end.map(|end| end.offset()) {
                assignment.set_end(end);
            }
        }),
        Err(error) => tracing::debug!(%error, "the ends of partitions are not known"),
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

/// Returns whether records wait in the client. It may have stopped to fetch then, and only a response to a fetch tells it
/// the end of the log.
const fn is_behind(partition: &Partition) -> bool {
    partition.fetchq_cnt > 0
}

/// Returns the lag of a partition in records, or `None` if it is not known yet.
fn records(assignment: &Assignment, partition: &Partition) -> Option<u64> {
    // With read_committed the log ends at the last stable offset. -1001 means that it is not known yet.
    let end = if partition.ls_offset >= 0 { partition.ls_offset } else { partition.hi_offset };
    let end = if is_behind(partition) { end.max(assignment.end().unwrap_or(-1)) } else { end };
    let done = assignment.frontier().unwrap_or(partition.committed_offset);
    let position = if assignment.is_idle() && partition.fetchq_cnt == 0 {
        // All records up to the position of the client are finished. Behind the last record there may be aborted
        // transactions and markers, which the client skips.
        partition.next_offset.max(done)
    } else {
        done
    };
    // Retention may have deleted records that were never handled.
    let position = position.max(partition.lo_offset);
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

    #[test]
    fn the_end_is_read_for_records_that_wait_and_deleted_records_are_no_lag() {
        let assignment = Assignment::new(Arc::new(Topic::of_test("orders")), 0);
        assignment.set_frontier(8);
        let mut partition =
            Partition { ls_offset: 50, hi_offset: 50, fetchq_cnt: 42, ..Partition::default() };
        assert_eq!(records(&assignment, &partition), Some(42));
        assignment.set_end(1_000);
        assert_eq!(records(&assignment, &partition), Some(992), "the client does not fetch");
        partition.fetchq_cnt = 0;
        assert_eq!(records(&assignment, &partition), Some(42), "the client fetches again");
        partition.lo_offset = 48;
        assert_eq!(records(&assignment, &partition), Some(2), "retention has deleted 8 to 47");
    }

    #[test]
    fn a_partition_that_is_assigned_again_lags_from_its_commit() {
        let assignment = Assignment::new(Arc::new(Topic::of_test("orders")), 0);
        assignment.set_idle(true);
        // The client still has the end that it knew before, and has no position yet.
        let mut partition = Partition {
            ls_offset: 100,
            hi_offset: 100,
            lo_offset: 0,
            next_offset: -1001,
            committed_offset: 90,
            ..Partition::default()
        };
        assert_eq!(records(&assignment, &partition), Some(10));
        (partition.committed_offset, partition.lo_offset) = (-1001, -1001);
        assert_eq!(records(&assignment, &partition), None, "nothing is known");
    }
}
