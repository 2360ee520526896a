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
pub(in crate::consumer) const REQUEST: Duration = Duration::from_secs(10);

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
    let resolved = offsets_of(start, partitions, |request| match request {
        Request::Times(times) => client.offsets_for_times(times, REQUEST).map_err(classify),
        Request::End(topic, partition) => {
            let (_, end) = watermarks(topic, partition)?;
            let mut list = TopicPartitionList::new();
            list.add_partition_offset(topic, partition, Offset::Offset(end)).map_err(classify)?;
            Ok(list)
        }
    })?;
    for (topic, partition, offset) in resolved {
        add(&topic, partition, offset)?;
    }
    Ok(list)
}

/// A request that resolves positions to offsets.
pub(in crate::consumer) enum Request<'a> {
    /// The offsets of the timestamps in the list.
    Times(TopicPartitionList),
    /// The offset behind the last record.
    End(&'a str, i32),
}

/// Returns the offset of `start` for each of `partitions` that it determines.
pub(in crate::consumer) fn offsets_of(
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
            Start::Offsets(offsets) => match offsets.get(&(std::sync::Arc::from(topic), partition)) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

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
