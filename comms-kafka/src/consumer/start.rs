//! The positions at which a group without committed offsets starts.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
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
/// The start is committed with the first commit after the assignment, so that a restart does not move it.
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
    /// At these offsets, by topic and partition. Other partitions start at their first record.
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
        let committed = request(group, || consumer.committed_offsets(partitions.clone(), REQUEST))?;
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
        offsets_of(self, fresh, |request_of| match request_of {
            Request::Times(times) => request(group, || consumer.offsets_for_times(times.clone(), REQUEST)),
            Request::End(topic, partition) => {
                let (_, end) = request(group, || consumer.fetch_watermarks(topic, partition, REQUEST))?;
                let mut list = TopicPartitionList::new();
                list.add_partition_offset(topic, partition, Offset::Offset(end)).map_err(classify)?;
                Ok(list)
            }
        })
    }
}

/// A request that resolves positions to offsets.
pub(super) enum Request<'a> {
    /// The offsets of the timestamps in the list.
    Times(TopicPartitionList),
    /// The offset behind the last record.
    End(&'a str, i32),
}

/// Returns the offset of `start` for each of `partitions` that it determines.
pub(super) fn offsets_of(
    start: &Start,
    partitions: &TopicPartitionList,
    resolve: impl Fn(Request<'_>) -> Result<TopicPartitionList, Error>,
) -> Result<Vec<(String, i32, i64)>, Error> {
    if partitions.count() == 0 {
        return Ok(Vec::new());
    }
    let end = |topic: &str, partition| {
        let list = resolve(Request::End(topic, partition))?;
        let offset = list.find_partition(topic, partition).and_then(|element| number(element.offset()));
        offset.ok_or_else(|| Error::indeterminate(format!("the end of {topic}/{partition} is not known")))
    };
    let resolved = match start {
        Start::Time(time) => {
            let millis = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
            let mut times = partitions.clone();
            times
                .set_all_offsets(Offset::Offset(i64::try_from(millis).unwrap_or(i64::MAX)))
                .map_err(classify)?;
            Some(resolve(Request::Times(times))?)
        }
        _ => None,
    };
    let mut offsets = Vec::new();
    for element in partitions.elements() {
        let (topic, partition) = (element.topic(), element.partition());
        let found = resolved.as_ref().and_then(|list| list.find_partition(topic, partition));
        let offset = match start {
            Start::Earliest => continue,
            Start::Latest => end(topic, partition)?,
            Start::Time(_) => match found.and_then(|element| number(element.offset())) {
                Some(offset) => offset,
                None => end(topic, partition)?,
            },
            Start::Offsets(offsets) => match offsets.get(&(Arc::from(topic), partition)) {
                Some(offset) => *offset,
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
fn request<T>(group: &Group, send: impl Fn() -> Result<T, rdkafka::error::KafkaError>) -> Result<T, Error> {
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

    /// Partition 0 has a record at the time 5, at offset 3. Both partitions end at 9.
    fn resolve(request: Request<'_>) -> Result<TopicPartitionList, Error> {
        let mut list = TopicPartitionList::new();
        match request {
            Request::Times(times) => {
                let asked = times.find_partition("t", 0).unwrap().offset();
                assert_eq!(asked, Offset::Offset(5));
                list.add_partition_offset("t", 0, Offset::Offset(3)).unwrap();
                list.add_partition_offset("t", 1, Offset::End).unwrap();
            }
            Request::End(topic, partition) => {
                list.add_partition_offset(topic, partition, Offset::Offset(9)).unwrap();
            }
        }
        Ok(list)
    }

    #[test]
    fn a_start_determines_an_offset_for_each_partition() {
        let offsets = |start| -> Vec<_> {
            let found = offsets_of(&start, &partitions(), resolve).unwrap();
            found.into_iter().map(|(_, partition, offset)| (partition, offset)).collect()
        };
        assert_eq!(offsets(Start::Earliest), []);
        assert_eq!(offsets(Start::Latest), [(0, 9), (1, 9)]);
        assert_eq!(offsets(Start::Time(UNIX_EPOCH + Duration::from_millis(5))), [(0, 3), (1, 9)]);
        assert_eq!(offsets(Start::Offsets(HashMap::from([(("t".into(), 1), 4)]))), [(1, 4)]);
    }
}
