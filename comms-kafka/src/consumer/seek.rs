//! Moves a group to another position: the partitions of a running member, or a group without members.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, CommitMode, Consumer as _},
    types::RDKafkaErrorCode,
};
use tokio::sync::oneshot;

use super::{
    group::Group,
    start::{Start, offsets_of},
};
use crate::{KafkaConfig, error::classify, topic_name};
use comms_core::Error;

/// The time limit of one request to the cluster.
const REQUEST: Duration = Duration::from_secs(10);

type Answer = oneshot::Sender<Result<(), Error>>;

/// The seeks that the poll thread has not carried out yet.
#[derive(Default)]
pub(super) struct Seeks(Mutex<Requests>);

#[derive(Default)]
struct Requests {
    waiting: VecDeque<(Arc<str>, Start, Answer)>,
    /// The consumer has ended.
    closed: bool,
}

impl Seeks {
    /// Requests a seek of `topic`. The receiver gets an error if the consumer ends first, or has ended.
    pub(super) fn request(&self, topic: Arc<str>, start: Start) -> oneshot::Receiver<Result<(), Error>> {
        let (answer, answered) = oneshot::channel();
        let mut requests = self.lock();
        if !requests.closed {
            requests.waiting.push_back((topic, start, answer));
        }
        answered
    }

    /// Carries out the requested seeks. Called by the poll thread.
    pub(super) fn serve(&self, group: &Group, consumer: &BaseConsumer<Group>) {
        while let Some((topic, start, answer)) = self.take() {
            let result = group.seek(consumer, &topic, &start);
            // Fails if the caller no longer waits.
            let _ = answer.send(result);
        }
    }

    fn take(&self) -> Option<(Arc<str>, Start, Answer)> {
        self.lock().waiting.pop_front()
    }

    fn lock(&self) -> MutexGuard<'_, Requests> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Refuses all seeks when it is dropped, with the consumer or at the end of the poll thread.
#[derive(Default)]
pub(super) struct SeekOwner(pub(super) Arc<Seeks>);

impl Drop for SeekOwner {
    fn drop(&mut self) {
        let mut requests = self.0.lock();
        requests.closed = true;
        requests.waiting.clear();
    }
}

impl Group {
    /// Moves the assigned partitions of `topic` to `start`: cancels their attempts, and starts new runners.
    fn seek(&self, consumer: &BaseConsumer<Self>, topic: &str, start: &Start) -> Result<(), Error> {
        let mut partitions = TopicPartitionList::new();
        for assignment in self.assigned.all().iter().filter(|a| &*a.topic.name == topic) {
            partitions.add_partition(topic, assignment.partition);
        }
        let offsets = offsets(consumer, start, &partitions)?;
        if offsets.count() == 0 {
            return Ok(());
        }
        let gone = self.assigned.take(&offsets);
        let queues = self.retire(consumer, &gone, true);
        let moved = consumer.seek_partitions(offsets.clone(), REQUEST).map_err(classify);
        // Dropped without a poll: records from before the seek are outdated, so that the client skips them, but the
        // first records from the new position may be in the queue already.
        drop(queues);
        if let Err(error) = moved.and_then(|moved| check(&moved)) {
            // The client goes on behind records that were cancelled: they are read again only after a new assignment.
            self.control.fail(Error::indeterminate(format!("partitions of {topic} were not moved")));
            return Err(error);
        }
        for assignment in self.split(&offsets) {
            let element = offsets.find_partition(topic, assignment.partition);
            if let Some(Offset::Offset(offset)) = element.map(|element| element.offset()) {
                assignment.set_frontier(offset);
            }
            self.assigned.insert(assignment.clone());
            self.runners.spawn(assignment);
        }
        self.commits.wake();
        tracing::info!(group = %self.name, topic, ?start, partitions = offsets.count(), "partitions moved");
        Ok(())
    }
}

/// Moves `group` to `start` in all partitions of `topic`, by committing these offsets. The group must have no members:
/// stop its consumers first. A running member moves its own partitions with
/// [`ConsumerHandle::seek`](super::ConsumerHandle::seek).
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

/// Returns the first error of a partition.
fn check(partitions: &TopicPartitionList) -> Result<(), Error> {
    partitions.elements().iter().try_for_each(|element| element.error().map_err(classify))
}

/// Returns the offsets of `start` in `partitions`.
fn offsets<C: rdkafka::consumer::ConsumerContext>(
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
