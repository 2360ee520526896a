//! Assignment and revocation of partitions.
//!
//! The rules, each of which was found by a partition that stood still:
//! - A partition gets its queue *before* it is assigned. Then no record arrives on the main queue.
//! - The old queue of a partition is dropped before the partition is split again: the drop removes the callback that
//!   reports new records, also that of the new queue. So the poll thread takes the queue back at a revocation, and drops
//!   it.
//! - A runner polls an assigned queue once before it waits for the callback, which reports nothing that is there
//!   already.
//! - A queue is polled until it is empty after the partition is unassigned. The client then frees its outdated records,
//!   which would else stay in memory.
//! - A queue has a reference to the client. The client leaves its group only after the last queue is dropped.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use rdkafka::{
    TopicPartitionList,
    consumer::{Consumer as _, RebalanceProtocol, base_consumer::PartitionQueue},
    error::KafkaError,
};

use super::Member;
use crate::consumer::{
    assignment::{Assignment, Phase},
    commits,
    context::{Client, Context},
    lag,
};

/// The longest time for which a drain does not beat the heartbeat.
const SLICE: Duration = Duration::from_millis(100);

type Queues = Vec<PartitionQueue<Context>>;

impl Member {
    /// Takes over `partitions`: gives each a queue, assigns them, and starts their runners.
    pub(super) fn assign(&self, client: &Client, partitions: &mut TopicPartitionList) {
        // Empty, unless the client has left out a revocation.
        drop(self.close(&self.assigned.take(partitions)));
        let assignments =
            if self.control.stopping.is_cancelled() { Vec::new() } else { self.split(partitions) };
        if let Err(error) = self.apply_committed(client, partitions, &assignments) {
            self.control.fail(error.context(format_args!("start positions of group {}", self.name)));
        }
        if let Err(error) = assign(client, partitions) {
            tracing::warn!(group = %self.name, %error, "partitions were not assigned");
            self.health.report_error(&error);
        }
        // Before the runners report faults of the new assignment.
        self.health.assigned();
        for assignment in assignments {
            self.assigned.insert(assignment.clone());
            self.runners.spawn(assignment);
        }
        // A start that is not committed is determined again after a crash, and may then be a later one.
        self.commits.wake();
        tracing::info!(group = %self.name, partitions = partitions.count(), "partitions assigned");
    }

    /// Gives `partitions` up: running records may finish within the drain time, and the frontiers are committed.
    pub(super) fn revoke(&self, client: &Client, partitions: &TopicPartitionList) {
        let gone = self.assigned.take(partitions);
        let queues = self.retire(client, &gone, client.assignment_lost());
        if let Err(error) = unassign(client, partitions) {
            tracing::warn!(group = %self.name, %error, "partitions were not unassigned");
        }
        discard(queues);
    }

    /// Ends the runners of `gone`, commits what they have finished unless the partitions are `lost`, and returns their
    /// queues.
    pub(super) fn retire(&self, client: &Client, gone: &[Arc<Assignment>], lost: bool) -> Queues {
        gone.iter().for_each(|assignment| assignment.advance(if lost { Phase::Cut } else { Phase::Stop }));
        let queues = gone.iter().filter_map(|assignment| take_queue(assignment)).collect();
        let drained = lost || self.wait_ended(gone);
        for assignment in gone {
            // A runner whose thread is blocked ends later, and changes nothing that is read from here on.
            assignment.advance(Phase::Cut);
            lag::reset(&self.name, assignment);
        }
        // Another member may own lost partitions already. A commit would move its position back.
        if !lost {
            self.commits.last(gone, commits::request(client));
        }
        if !gone.is_empty() {
            tracing::info!(group = %self.name, partitions = gone.len(), lost, drained, "partitions revoked");
        }
        queues
    }

    /// Cuts the runners of `assignments`, and returns their queues. Commits nothing.
    pub(super) fn close(&self, assignments: &[Arc<Assignment>]) -> Queues {
        for assignment in assignments {
            assignment.advance(Phase::Cut);
            lag::reset(&self.name, assignment);
        }
        assignments.iter().filter_map(|assignment| take_queue(assignment)).collect()
    }

    /// Creates the assignments of `partitions`, each with its queue.
    pub(super) fn split(&self, partitions: &TopicPartitionList) -> Vec<Arc<Assignment>> {
        let Some(client) = self.client.get().and_then(Weak::upgrade) else { return Vec::new() };
        let mut assignments = Vec::new();
        for element in partitions.elements() {
            let Some(topic) = self.topics.get(element.topic()) else { continue };
            let assignment = Arc::new(Assignment::new(topic.clone(), element.partition()));
            let Some(mut queue) = client.split_partition_queue(&topic.name, element.partition()) else {
                tracing::error!(topic = %topic.name, partition = element.partition(), "the partition has no queue");
                continue;
            };
            let wake = assignment.wake.clone();
            // Called under the lock of the queue: the callback must not call the client.
            queue.set_nonempty_callback(move || wake.notify_one());
            assignment.source().queue = Some(queue);
            assignments.push(assignment);
        }
        assignments
    }

    /// Waits for at most the drain time until the runners of `gone` have ended. Returns whether they have.
    fn wait_ended(&self, gone: &[Arc<Assignment>]) -> bool {
        let until = self.clock.now() + self.drain;
        loop {
            let left = until.saturating_duration_since(self.clock.now());
            let ended = self.runners.ended.wait(gone, left.min(SLICE));
            if ended || left.is_zero() || self.control.abandoned.is_cancelled() {
                return ended;
            }
            self.beat();
        }
    }
}

fn take_queue(assignment: &Assignment) -> Option<PartitionQueue<Context>> {
    let mut source = assignment.source();
    source.early.clear();
    source.queue.take()
}

/// Polls each queue until it is empty, and drops it. The records are outdated, so that none of them is returned.
fn discard(queues: Queues) {
    for queue in queues {
        while queue.poll(Duration::ZERO).is_some() {}
    }
}

fn assign(client: &Client, partitions: &TopicPartitionList) -> Result<(), KafkaError> {
    match client.rebalance_protocol() {
        RebalanceProtocol::Cooperative => client.incremental_assign(partitions),
        _ => client.assign(partitions),
    }
}

fn unassign(client: &Client, partitions: &TopicPartitionList) -> Result<(), KafkaError> {
    match client.rebalance_protocol() {
        RebalanceProtocol::Cooperative => client.incremental_unassign(partitions),
        _ => client.unassign(),
    }
}
