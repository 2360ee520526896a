//! The offsets of a position.

use std::time::{Duration, UNIX_EPOCH};

use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _, ConsumerContext},
};

use super::Start;
use crate::error::classify;
use comms_core::Error;

/// The time limit of one request to the cluster.
pub(super) const REQUEST: Duration = Duration::from_secs(10);

/// Returns the offsets of `start` in `partitions`.
pub(in crate::consumer) fn offsets<C: ConsumerContext>(
    client: &BaseConsumer<C>,
    start: &Start,
    partitions: &TopicPartitionList,
) -> Result<TopicPartitionList, Error> {
    let watermarks =
        |topic: &str, partition| client.fetch_watermarks(topic, partition, REQUEST).map_err(classify);
    let mut list = TopicPartitionList::new();
    let mut add = |topic: &str, partition, offset| {
        list.add_partition_offset(topic, partition, Offset::Offset(offset)).map_err(classify)
    };
    if *start == Start::Earliest {
        for element in partitions.elements() {
            let (first, _) = watermarks(element.topic(), element.partition())?;
            add(element.topic(), element.partition(), first)?;
        }
        return Ok(list);
    }
    let times = |times| client.offsets_for_times(times, REQUEST).map_err(classify);
    let resolved = offsets_of(start, partitions, times, watermarks)?;
    for (topic, partition, offset) in resolved {
        add(&topic, partition, offset)?;
    }
    Ok(list)
}

/// Returns the offset of `start` for each of `partitions` that it determines. `times` replaces the timestamps in a list
/// by offsets, and `bounds` returns the offset of the first record, and that behind the last one.
pub(in crate::consumer) fn offsets_of(
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
            Start::Offsets(offsets) => match offsets.get(&(std::sync::Arc::from(topic), partition)) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

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
