//! Moves a group without members to another position.

use rdkafka::{
    TopicPartitionList,
    consumer::{BaseConsumer, CommitMode, Consumer as _},
    types::RDKafkaErrorCode,
};

use super::{
    Start,
    offsets::{REQUEST, offsets},
};
use crate::{KafkaConfig, error::classify, topic_name};
use comms_core::Error;

/// Moves `group` to `start` in all partitions of `topic`, by committing these offsets. The group must have no members:
/// stop its consumers first. A running member moves its own partitions with
/// [`ConsumerHandle::seek`](crate::ConsumerHandle::seek).
///
/// Partitions that [`Start::Offsets`] does not name are not moved. Records between the old and the new position are
/// handled again, or not handled: inboxes skip records that they have seen.
///
/// # Errors
/// - Returns [`ErrorKind::Conflict`](comms_core::ErrorKind::Conflict) if the group has members.
/// - Returns [`ErrorKind::Misconfigured`](comms_core::ErrorKind::Misconfigured) if the topic does not exist, or this
///   process lacks a permission.
/// - Returns [`ErrorKind::Invalid`](comms_core::ErrorKind::Invalid) if `config`, the group or the name of the topic is
///   not valid.
/// - Returns another error, which may be retried, if the cluster does not answer.
///
/// # Panics
/// Panics outside a tokio runtime.
///
/// ```no_run
/// use comms_kafka::{KafkaConfig, Start, seek};
/// use std::time::{Duration, SystemTime};
/// # async fn replay() -> Result<(), comms_core::Error> {
/// // Handle the records of the last hour again.
/// let hour_ago = SystemTime::UNIX_EPOCH + comms_core::clock::Clock::system().unix() - Duration::from_secs(3_600);
/// seek(&KafkaConfig::new("localhost:9092"), "billing", "orders", Start::Time(hour_ago)).await
/// # }
/// ```
pub async fn seek(config: &KafkaConfig, group: &str, topic: &str, start: Start) -> Result<(), Error> {
    topic_name::check(topic)?;
    if group.is_empty() {
        return Err(Error::invalid("the group is empty"));
    }
    let settings = config.client(&[], &[("group.id", group), ("enable.auto.commit", "false")])?;
    let (group, topic) = (group.to_owned(), topic.to_owned());
    let work = move || {
        let client: BaseConsumer = settings.create().map_err(classify)?;
        move_group(&client, &topic, &start)
            .map_err(|e| e.context(format_args!("move group {group} on {topic}")))
    };
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| Error::internal("the move of a group panicked"))?
}

fn move_group(client: &BaseConsumer, topic: &str, start: &Start) -> Result<(), Error> {
    use RDKafkaErrorCode as Code;
    let metadata = client.fetch_metadata(Some(topic), REQUEST).map_err(classify)?;
    let found = metadata.topics().iter().find(|found| found.name() == topic);
    let mut partitions = TopicPartitionList::new();
    for partition in found.into_iter().flat_map(|found| found.partitions()) {
        partitions.add_partition(topic, partition.id());
    }
    if partitions.count() == 0 {
        return Err(Error::misconfigured(format!("topic {topic} does not exist")));
    }
    let offsets = offsets(client, start, &partitions)?;
    if offsets.count() == 0 {
        return Ok(());
    }
    client.commit(&offsets, CommitMode::Sync).map_err(|error| match error.rdkafka_error_code() {
        Some(
            Code::UnknownMemberId
            | Code::IllegalGeneration
            | Code::RebalanceInProgress
            | Code::StaleMemberEpoch,
        ) => Error::conflict(error).context("the group has members"),
        _ => classify(error),
    })
}
