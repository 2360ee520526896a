//! The group membership: assignment and revocation of partitions, and the commit of their offsets.

use metrics::gauge;
use rdkafka::{
    ClientContext, Offset, Statistics, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext, Rebalance},
    error::KafkaError,
    types::RDKafkaErrorCode,
};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{assignment::Assignment, health::ConsumerHealth};
use crate::client;
use comms_core::{clock::Clock, health::State, telemetry, transport::Processor};

type Assigned = HashMap<Arc<str>, HashMap<i32, Arc<Assignment>>>;

/// One member of a consumer group. The client calls its callbacks on the poll thread.
pub(super) struct Group {
    pub(super) name: Arc<str>,
    pub(super) routes: HashMap<Arc<str>, Processor>,
    pub(super) drain: Duration,
    pub(super) clock: Clock,
    pub(super) health: ConsumerHealth,
    /// The lag in messages, over all assigned partitions.
    lag: Arc<AtomicU64>,
    assigned: Mutex<Assigned>,
    /// Locked during a commit, so that there is one at a time.
    commits: Mutex<()>,
}

impl Group {
    pub(super) fn new(
        name: Arc<str>,
        routes: HashMap<Arc<str>, Processor>,
        drain: Duration,
        clock: Clock,
        health: ConsumerHealth,
        lag: Arc<AtomicU64>,
    ) -> Self {
        let (assigned, commits) = (Mutex::default(), Mutex::default());
        Self { name, routes, drain, clock, health, lag, assigned, commits }
    }

    /// Returns the assignment of a partition, or `None` if this member does not have the partition.
    pub(super) fn find(&self, topic: &str, partition: i32) -> Option<Arc<Assignment>> {
        self.lock().get(topic)?.get(&partition).cloned()
    }

    /// Returns all current assignments.
    pub(super) fn assignments(&self) -> Vec<Arc<Assignment>> {
        self.lock().values().flat_map(HashMap::values).cloned().collect()
    }

    /// Commits every frontier that is not committed yet, and waits for the response. During a rebalance of the classic
    /// protocol the response arrives when all members have joined again, and may refuse the commit as too late.
    pub(super) fn commit(&self, consumer: &BaseConsumer<Self>) {
        let _one = self.commits.lock();
        self.commit_of(consumer, &self.assignments());
    }

    /// Returns whether every frontier is committed.
    pub(super) fn is_committed(&self) -> bool {
        self.assignments().iter().all(|assignment| assignment.uncommitted().is_none())
    }

    fn add(&self, partitions: &TopicPartitionList) {
        let mut assigned = self.lock();
        for element in partitions.elements() {
            let Some((topic, processor)) = self.routes.get_key_value(element.topic()) else { continue };
            let assignment = Assignment::new(topic, element.partition(), processor.clone(), &self.name);
            assigned.entry(topic.clone()).or_default().insert(element.partition(), Arc::new(assignment));
        }
        tracing::info!(group = %self.name, partitions = partitions.count(), "partitions assigned");
    }

    /// Runs before `partitions` are given up: running records may finish within the drain time, and the frontiers are
    /// committed.
    fn revoked(&self, consumer: &BaseConsumer<Self>, partitions: &TopicPartitionList) {
        let gone = self.take(partitions);
        gone.iter().for_each(|assignment| assignment.close());
        let lost = consumer.assignment_lost();
        if !lost {
            let start = self.clock.now();
            // At shutdown all attempts are cancelled already.
            for assignment in gone.iter().filter(|assignment| !assignment.revoked.is_cancelled()) {
                let spent = self.clock.now().duration_since(start);
                assignment.wait_idle(self.drain.saturating_sub(spent));
            }
        }
        for assignment in &gone {
            assignment.revoked.cancel();
            self.record_lag(assignment, 0);
        }
        // Another member may own lost partitions already. A commit would move its position back.
        if !lost {
            // Wait for a commit that began before the revocation. It must not arrive after the partitions are given up.
            let _one = self.commits.lock();
            self.commit_of(consumer, &gone);
        }
        tracing::info!(group = %self.name, partitions = gone.len(), lost, "partitions revoked");
    }

    fn commit_of(&self, consumer: &BaseConsumer<Self>, assignments: &[Arc<Assignment>]) {
        use RDKafkaErrorCode as Code;
        let Some((done, offsets)) = uncommitted(assignments) else { return };
        // Synchronous, because rdkafka does not report the result of an asynchronous commit.
        let result = consumer.commit(&offsets, CommitMode::Sync);
        match result.as_ref().map_err(KafkaError::rdkafka_error_code) {
            Ok(()) => done.iter().for_each(|(assignment, offset)| assignment.committed(*offset)),
            // The group has rebalanced meanwhile. Partitions that this member still has are committed again. Records of
            // the others are delivered again.
            Err(Some(
                Code::IllegalGeneration
                | Code::UnknownMemberId
                | Code::RebalanceInProgress
                | Code::StaleMemberEpoch,
            )) => tracing::debug!(group = %self.name, ?result, "commit came too late"),
            Err(_) => {
                tracing::warn!(group = %self.name, ?result, "commit failed");
                if let Err(error) = &result {
                    self.health.report_error(error);
                }
            }
        }
    }

    fn take(&self, partitions: &TopicPartitionList) -> Vec<Arc<Assignment>> {
        let mut assigned = self.lock();
        let elements = partitions.elements();
        elements.iter().filter_map(|e| assigned.get_mut(e.topic())?.remove(&e.partition())).collect()
    }

    fn record_lag(&self, assignment: &Assignment, lag: i64) {
        let labels = [
            ("group", self.name.to_string()),
            ("topic", assignment.topic.to_string()),
            ("partition", assignment.partition.to_string()),
        ];
        // Exact up to 2^53 records.
        gauge!(telemetry::CONSUMER_LAG, &labels).set(lag as f64);
    }

    fn lock(&self) -> MutexGuard<'_, Assigned> {
        self.assigned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Group {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        client::log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        client::error(&error, reason);
        self.health.report_error(&error);
    }

    fn stats(&self, statistics: Statistics) {
        let mut total = 0;
        for assignment in self.assignments() {
            let topic = statistics.topics.get(&*assignment.topic);
            let Some(stats) = topic.and_then(|topic| topic.partitions.get(&assignment.partition)) else {
                continue;
            };
            // With read_committed the log ends at the last stable offset. -1001 means that it is not known yet.
            let end = if stats.ls_offset >= 0 { stats.ls_offset } else { stats.hi_offset };
            let position = assignment.frontier().unwrap_or(stats.committed_offset.max(stats.lo_offset));
            if end >= 0 && position >= 0 {
                let lag = (end - position).max(0);
                self.record_lag(&assignment, lag);
                total += lag.unsigned_abs();
            }
        }
        self.lag.store(total, Ordering::Relaxed);
        let Some(group) = &statistics.cgrp else { return };
        self.health.set_membership(if group.state == "up" && group.join_state == "steady" {
            State::ready()
        } else {
            State::unready(format!("group {}: {}, {}", self.name, group.state, group.join_state))
        });
    }
}

impl ConsumerContext for Group {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(partitions) => self.add(partitions),
            Rebalance::Revoke(partitions) => self.revoked(consumer, partitions),
            Rebalance::Error(error) => {
                tracing::warn!(group = %self.name, %error, "rebalance failed");
                self.health.report_error(error);
            }
        }
    }

    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let Rebalance::Assign(partitions) = rebalance else { return };
        // The client keeps a pause after the revocation: without this call, a partition that was paused when it was
        // revoked would never be fetched after it is assigned again.
        if let Err(error) = consumer.resume(partitions) {
            tracing::warn!(group = %self.name, %error, "assigned partitions were not resumed");
        }
        self.health.assigned();
    }
}

type Frontiers = Vec<(Arc<Assignment>, i64)>;

/// Returns the frontiers of `assignments` that are not committed yet, with the list of offsets for the client. `None`
/// if there are none.
fn uncommitted(assignments: &[Arc<Assignment>]) -> Option<(Frontiers, TopicPartitionList)> {
    let frontiers = assignments.iter().filter_map(|a| Some((a.clone(), a.uncommitted()?)));
    let frontiers: Frontiers = frontiers.collect();
    let mut offsets = TopicPartitionList::new();
    for (assignment, offset) in &frontiers {
        // Fails only for an offset that cannot be represented. A frontier is an offset of the broker plus 1.
        let _ =
            offsets.add_partition_offset(&assignment.topic, assignment.partition, Offset::Offset(*offset));
    }
    (!frontiers.is_empty()).then_some((frontiers, offsets))
}
