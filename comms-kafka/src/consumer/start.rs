//! The positions at which a group without committed offsets starts.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    error::KafkaError,
};

use super::{assignment::Assignment, group::Group};
use crate::error::classify;
use comms_core::Error;

/// The time limit of one request.
const REQUEST: Duration = Duration::from_secs(5);
/// The number of attempts of a request.
const ATTEMPTS: usize = 3;

/// Where a consumer starts to read a partition for which its group has no committed offset.
///
/// The start is committed after the assignment, so that a restart does not move it. The end of a partition is before the
/// first record of an open transaction, unless `isolation.level` is `read_uncommitted`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Start {
    /// At the first record of the partition. The default.
    #[default]
    Earliest,
    /// Behind the last record. Records that are published to a new partition before it is assigned are not read.
    Latest,
    /// At the first record whose timestamp is not before this time, or behind the last record if there is none.
    Time(SystemTime),
    /// At these offsets, by topic and partition. An offset before the first record means the first record, and one behind
    /// the last record the end. Other partitions start at their first record.
    Offsets(HashMap<(Arc<str>, i32), i64>),
}

impl Start {
    /// Sets the positions in `partitions` that the group has not committed, and publishes them as the frontiers of
    /// `assignments`.
    pub(super) fn apply(
        &self,
        group: &Group,
        consumer: &BaseConsumer<Group>,
        partitions: &mut TopicPartitionList,
        assignments: &[Arc<Assignment>],
    ) -> Result<(), Error> {
        if *self == Self::Earliest || assignments.is_empty() {
            return Ok(());
        }
        let committed = request(group, || committed(consumer, partitions))?;
        let mut fresh = TopicPartitionList::new();
        for element in committed.elements().iter().filter(|element| element.offset() == Offset::Invalid) {
            fresh.add_partition(element.topic(), element.partition());
        }
        for (topic, partition, offset) in self.offsets(group, consumer, &fresh)? {
            let position = partitions.set_partition_offset(&topic, partition, Offset::Offset(offset));
            position.map_err(classify)?;
            let mine = |a: &&Arc<Assignment>| *a.topic.name == *topic && a.partition == partition;
            if let Some(assignment) = assignments.iter().find(mine) {
                assignment.set_frontier(offset);
            }
        }
        Ok(())
    }

    fn offsets(
        &self,
        group: &Group,
        consumer: &BaseConsumer<Group>,
        fresh: &TopicPartitionList,
    ) -> Result<Vec<(String, i32, i64)>, Error> {
        offsets_of(
            self,
            fresh,
            |times| request(group, || consumer.offsets_for_times(times.clone(), REQUEST)),
            |topic, partition| request(group, || consumer.fetch_watermarks(topic, partition, REQUEST)),
        )
    }
}

/// Returns the committed offsets of `partitions`. A partition whose offset cannot be read, for example because this
/// process may not read its topic, is an error: it must not be taken for one without a commit.
fn committed(
    consumer: &BaseConsumer<Group>,
    partitions: &TopicPartitionList,
) -> Result<TopicPartitionList, KafkaError> {
    let committed = consumer.committed_offsets(partitions.clone(), REQUEST)?;
    committed.elements().iter().try_for_each(|element| element.error())?;
    Ok(committed)
}

/// Returns the offset of `start` for each of `partitions` that it determines. `times` replaces the timestamps in a list
/// by offsets, and `bounds` returns the offset of the first record, and that behind the last one.
pub(super) fn offsets_of(
    start: &Start,
    partitions: &TopicPartitionList,
    times: impl Fn(TopicPartitionList) -> Result<TopicPartitionList, Error>,
    bounds: impl Fn(&str, i32) -> Result<(i64, i64), Error>,
) -> Result<Vec<(String, i32, i64)>, Error> {
    if partitions.count() == 0 {
        return Ok(Vec::new());
    }
    let resolved = match start {
        Start::Time(time) => {
            let millis = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
            let mut list = partitions.clone();
            list.set_all_offsets(Offset::Offset(i64::try_from(millis).unwrap_or(i64::MAX)))
                .map_err(classify)?;
            Some(times(list)?)
        }
        _ => None,
    };
    let mut offsets = Vec::new();
    for element in partitions.elements() {
        let (topic, partition) = (element.topic(), element.partition());
        let found = resolved.as_ref().and_then(|list| list.find_partition(topic, partition));
        let offset = match start {
            Start::Earliest => continue,
            Start::Latest => bounds(topic, partition)?.1,
            Start::Time(_) => match found.and_then(|element| number(element.offset())) {
                Some(offset) => offset,
                None => bounds(topic, partition)?.1,
            },
            Start::Offsets(offsets) => match offsets.get(&(Arc::from(topic), partition)) {
                // The client would take a position that does not exist for none, and read the whole partition.
                Some(offset) => {
                    let (first, end) = bounds(topic, partition)?;
                    (*offset).min(end).max(first)
                }
                None => continue,
            },
        };
        offsets.push((topic.to_owned(), partition, offset));
    }
    Ok(offsets)
}

fn number(offset: Offset) -> Option<i64> {
    match offset {
        Offset::Offset(offset) => Some(offset),
        _ => None,
    }
}

/// Sends a request up to [`ATTEMPTS`] times. Blocks the poll thread.
fn request<T>(group: &Group, send: impl Fn() -> Result<T, KafkaError>) -> Result<T, Error> {
    let mut result = send();
    for _ in 1..ATTEMPTS {
        if result.is_ok() || group.control.stopping.is_cancelled() {
            break;
        }
        group.beat();
        result = send();
    }
    result.map_err(classify)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partitions() -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        list.add_partition_range("t", 0, 1);
        list
    }

    /// Partition 0 has a record at the time 5, at offset 3. Partition 1 has none.
    fn times(times: TopicPartitionList) -> Result<TopicPartitionList, Error> {
        assert_eq!(times.find_partition("t", 0).unwrap().offset(), Offset::Offset(5));
        let mut list = TopicPartitionList::new();
        list.add_partition_offset("t", 0, Offset::Offset(3)).unwrap();
        list.add_partition_offset("t", 1, Offset::End).unwrap();
        Ok(list)
    }

    #[test]
    fn a_start_determines_an_offset_for_each_partition() {
        let offsets = |start| -> Vec<_> {
            let found = offsets_of(&start, &partitions(), times, |_, _| Ok((2, 9))).unwrap();
            found.into_iter().map(|(_, partition, offset)| (partition, offset)).collect()
        };
        assert_eq!(offsets(Start::Earliest), []);
        assert_eq!(offsets(Start::Latest), [(0, 9), (1, 9)]);
        assert_eq!(offsets(Start::Time(UNIX_EPOCH + Duration::from_millis(5))), [(0, 3), (1, 9)]);
        let at = |offset| offsets(Start::Offsets(HashMap::from([(("t".into(), 1), offset)])));
        assert_eq!([at(4), at(1_000), at(0), at(-1)], [[(1, 4)], [(1, 9)], [(1, 2)], [(1, 2)]]);
    }
}
