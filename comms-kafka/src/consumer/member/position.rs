//! The positions of the assigned partitions: where they start, and seeks.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use rdkafka::{
    Offset, TopicPartitionList, consumer::Consumer as _, error::KafkaError,
    topic_partition_list::TopicPartitionListElem,
};

use super::Member;
use crate::{
    consumer::{
        assignment::Assignment,
        context::Client,
        finished::Finished,
        position::{Start, offsets, offsets_of},
    },
    error::classify,
};
use comms_core::Error;

/// The time limit of one request for a position.
const REQUEST: Duration = Duration::from_secs(5);
/// The number of attempts of a request.
const ATTEMPTS: usize = 3;
/// The time limit of a seek.
const SEEK: Duration = Duration::from_secs(10);

impl Member {
    /// Carries out the requested seeks.
    pub(super) fn serve_seeks(&self, client: &Client) {
        while let Some((topic, start, answer)) = self.seeks.take() {
            let result = self.seek(client, &topic, &start);
            // Fails if the caller no longer waits.
            let _ = answer.send(result);
        }
    }

    /// Moves the assigned partitions of `topic` to `start`: cancels their attempts, and starts new runners.
    fn seek(&self, client: &Client, topic: &str, start: &Start) -> Result<(), Error> {
        let mut partitions = TopicPartitionList::new();
        for assignment in self.assigned.all().iter().filter(|a| &*a.topic.name == topic) {
            partitions.add_partition(topic, assignment.partition);
        }
        let offsets = offsets(client, start, &partitions)?;
        if offsets.count() == 0 {
            return Ok(());
        }
        let gone = self.assigned.take(&offsets);
        let queues = self.retire(client, &gone, true);
        let moved = client.seek_partitions(offsets.clone(), SEEK).map_err(classify);
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

    /// Reads what the group has committed for `partitions`: restores the finished records beyond the committed offsets in
    /// `assignments`, and sets the start positions of partitions without a commit.
    pub(super) fn apply_committed(
        &self,
        client: &Client,
        partitions: &mut TopicPartitionList,
        assignments: &[Arc<Assignment>],
    ) -> Result<(), Error> {
        if assignments.is_empty() {
            return Ok(());
        }
        let read = || committed(client, partitions);
        let committed = match self.start {
            // The client reads the offsets itself, and finished records beyond them may be handled again.
            Start::Earliest => read().map_err(classify),
            _ => Ok(self.request(read)?),
        };
        let committed = match committed {
            Ok(committed) => committed,
            Err(error) => {
                tracing::info!(group = %self.name, %error, "the committed offsets were not read");
                return Ok(());
            }
        };
        self.restore(&committed, assignments);
        if self.start == Start::Earliest {
            return Ok(());
        }
        let mut fresh = TopicPartitionList::new();
        for element in committed.elements().iter().filter(|element| element.offset() == Offset::Invalid) {
            fresh.add_partition(element.topic(), element.partition());
        }
        for (topic, partition, offset) in self.start_offsets(client, &fresh)? {
            let position = partitions.set_partition_offset(&topic, partition, Offset::Offset(offset));
            position.map_err(classify)?;
            let mine = |a: &&Arc<Assignment>| *a.topic.name == *topic && a.partition == partition;
            if let Some(assignment) = assignments.iter().find(mine) {
                assignment.set_frontier(offset);
            }
        }
        Ok(())
    }

    /// Sets the finished records beyond the `committed` offsets in `assignments`.
    fn restore(&self, committed: &TopicPartitionList, assignments: &[Arc<Assignment>]) {
        for assignment in assignments {
            let Some(element) = committed.find_partition(&assignment.topic.name, assignment.partition) else {
                continue;
            };
            let Offset::Offset(offset) = element.offset() else { continue };
            let finished = Finished::of_metadata(&metadata(&element), offset);
            if !finished.is_empty() {
                tracing::info!(group = %self.name, topic = element.topic(), partition = element.partition(), offset,
                    records = finished.count(), "records beyond the committed offset are finished, and are skipped");
                assignment.restore(finished);
            }
        }
    }

    fn start_offsets(
        &self,
        client: &Client,
        fresh: &TopicPartitionList,
    ) -> Result<Vec<(String, i32, i64)>, Error> {
        offsets_of(
            &self.start,
            fresh,
            |times| self.request(|| client.offsets_for_times(times.clone(), REQUEST)),
            |topic, partition| self.request(|| client.fetch_watermarks(topic, partition, REQUEST)),
        )
    }

    /// Sends a request up to [`ATTEMPTS`] times. Blocks the poll thread.
    fn request<T>(&self, send: impl Fn() -> Result<T, KafkaError>) -> Result<T, Error> {
        let mut result = send();
        for _ in 1..ATTEMPTS {
            if result.is_ok() || self.control.stopping.is_cancelled() {
                break;
            }
            self.beat();
            result = send();
        }
        result.map_err(classify)
    }
}

/// Returns the metadata of a commit, or an empty text if it is not UTF-8: `TopicPartitionListElem::metadata` panics then.
fn metadata(element: &TopicPartitionListElem<'_>) -> String {
    catch_unwind(AssertUnwindSafe(|| element.metadata().to_owned())).unwrap_or_default()
}

/// Returns the first error of a partition.
fn check(partitions: &TopicPartitionList) -> Result<(), Error> {
    partitions.elements().iter().try_for_each(|element| element.error().map_err(classify))
}

/// Returns the committed offsets of `partitions`. A partition whose offset cannot be read, for example because this
/// process may not read its topic, is an error: it must not be taken for one without a commit.
fn committed(client: &Client, partitions: &TopicPartitionList) -> Result<TopicPartitionList, KafkaError> {
    let committed = client.committed_offsets(partitions.clone(), REQUEST)?;
    committed.elements().iter().try_for_each(|element| element.error())?;
    Ok(committed)
}
