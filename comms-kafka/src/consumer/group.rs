//! The membership: what this member holds, how it comes and goes, and what is committed of it.

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

use super::{assignment::Assignment, standing::Standing};
use crate::client;
use comms_core::{clock::Clock, health::State, telemetry, transport::Processor};

type Held = HashMap<Arc<str>, HashMap<i32, Arc<Assignment>>>;

/// One member of a group; the client calls it on the poll thread.
pub(super) struct Group {
    pub(super) name: Arc<str>,
    pub(super) routes: HashMap<Arc<str>, Processor>,
    pub(super) drain: Duration,
    pub(super) clock: Clock,
    pub(super) standing: Standing,
    /// Messages behind, over all that is held.
    behind: Arc<AtomicU64>,
    held: Mutex<Held>,
    /// Held by the one commit that is on its way.
    commits: Mutex<()>,
}

impl Group {
    pub(super) fn new(
        name: Arc<str>,
        routes: HashMap<Arc<str>, Processor>,
        drain: Duration,
        clock: Clock,
        standing: Standing,
        behind: Arc<AtomicU64>,
    ) -> Self {
        let (held, commits) = (Mutex::default(), Mutex::default());
        Self { name, routes, drain, clock, standing, behind, held, commits }
    }

    /// The assignment that a record of this partition belongs to.
    pub(super) fn find(&self, topic: &str, partition: i32) -> Option<Arc<Assignment>> {
        self.lock().get(topic)?.get(&partition).cloned()
    }

    /// All that is held.
    pub(super) fn held(&self) -> Vec<Arc<Assignment>> {
        self.lock().values().flat_map(HashMap::values).cloned().collect()
    }

    /// Commits every frontier that the group does not have yet, and waits for the answer. In a rebalance of
    /// the classic protocol that comes when all members have joined again, and may be "too late".
    pub(super) fn commit(&self, consumer: &BaseConsumer<Self>) {
        let _one = self.commits.lock();
        self.commit_of(consumer, &self.held());
    }

    /// Whether the group has every frontier.
    pub(super) fn is_committed(&self) -> bool {
        self.held().iter().all(|assignment| assignment.uncommitted().is_none())
    }

    fn assigned(&self, partitions: &TopicPartitionList) {
        let mut held = self.lock();
        for element in partitions.elements() {
            let Some((topic, processor)) = self.routes.get_key_value(element.topic()) else { continue };
            let assignment = Assignment::new(topic, element.partition(), processor.clone(), &self.name);
            held.entry(topic.clone()).or_default().insert(element.partition(), Arc::new(assignment));
        }
        tracing::info!(group = %self.name, partitions = partitions.count(), "partitions assigned");
    }

    /// Runs before the partitions go. What has begun may end, within the drain; what is done is committed.
    fn revoked(&self, consumer: &BaseConsumer<Self>, partitions: &TopicPartitionList) {
        let gone = self.take(partitions);
        gone.iter().for_each(|assignment| assignment.close());
        let lost = consumer.assignment_lost();
        if !lost {
            let start = self.clock.now();
            // At shut-down the tries have been cancelled already, and nothing is left to wait for.
            for assignment in gone.iter().filter(|assignment| !assignment.revoked.is_cancelled()) {
                let spent = self.clock.now().duration_since(start);
                assignment.wait_idle(self.drain.saturating_sub(spent));
            }
        }
        for assignment in &gone {
            assignment.revoked.cancel();
            self.lag(assignment, 0);
        }
        // Another member may own lost partitions by now: a commit would set it back.
        if !lost {
            // Waits for a commit that began when these were still held: it must not land after they are gone.
            let _one = self.commits.lock();
            self.commit_of(consumer, &gone);
        }
        tracing::info!(group = %self.name, partitions = gone.len(), lost, "partitions revoked");
    }

    fn commit_of(&self, consumer: &BaseConsumer<Self>, assignments: &[Arc<Assignment>]) {
        use RDKafkaErrorCode as Code;
        let Some((done, offsets)) = uncommitted(assignments) else { return };
        // Synchronously: rdkafka tells nobody what became of an asynchronous commit.
        let result = consumer.commit(&offsets, CommitMode::Sync);
        match result.as_ref().map_err(KafkaError::rdkafka_error_code) {
            Ok(()) => done.iter().for_each(|(assignment, offset)| assignment.committed(*offset)),
            // The group has moved on meanwhile. What is still held is committed again, the rest comes again.
            Err(Some(
                Code::IllegalGeneration
                | Code::UnknownMemberId
                | Code::RebalanceInProgress
                | Code::StaleMemberEpoch,
            )) => tracing::debug!(group = %self.name, ?result, "commit came too late"),
            Err(_) => {
                tracing::warn!(group = %self.name, ?result, "commit failed");
                if let Err(error) = &result {
                    self.standing.reported(error);
                }
            }
        }
    }

    fn take(&self, partitions: &TopicPartitionList) -> Vec<Arc<Assignment>> {
        let mut held = self.lock();
        let elements = partitions.elements();
        elements.iter().filter_map(|e| held.get_mut(e.topic())?.remove(&e.partition())).collect()
    }

    fn lag(&self, assignment: &Assignment, lag: i64) {
        let labels = [
            ("group", self.name.to_string()),
            ("topic", assignment.topic.to_string()),
            ("partition", assignment.partition.to_string()),
        ];
        // Exact up to 2^53 records.
        gauge!(telemetry::CONSUMER_LAG, &labels).set(lag as f64);
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Group {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        client::log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        client::error(&error, reason);
        self.standing.reported(&error);
    }

    fn stats(&self, statistics: Statistics) {
        let mut behind = 0;
        for assignment in self.held() {
            let topic = statistics.topics.get(&*assignment.topic);
            let Some(stats) = topic.and_then(|topic| topic.partitions.get(&assignment.partition)) else {
                continue;
            };
            // With read_committed the last stable offset is the end; -1001 is "not known yet".
            let end = if stats.ls_offset >= 0 { stats.ls_offset } else { stats.hi_offset };
            let position = assignment.frontier().unwrap_or(stats.committed_offset.max(stats.lo_offset));
            if end >= 0 && position >= 0 {
                let lag = (end - position).max(0);
                self.lag(&assignment, lag);
                behind += lag.unsigned_abs();
            }
        }
        self.behind.store(behind, Ordering::Relaxed);
        let Some(group) = &statistics.cgrp else { return };
        self.standing.membership(if group.state == "up" && group.join_state == "steady" {
            State::ready()
        } else {
            State::unready(format!("group {}: {}, {}", self.name, group.state, group.join_state))
        });
    }
}

impl ConsumerContext for Group {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(partitions) => self.assigned(partitions),
            Rebalance::Revoke(partitions) => self.revoked(consumer, partitions),
            Rebalance::Error(error) => {
                tracing::warn!(group = %self.name, %error, "rebalance failed");
                self.standing.reported(error);
            }
        }
    }

    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let Rebalance::Assign(partitions) = rebalance else { return };
        // The client keeps a pause beyond the revocation: a partition that was paused when it went would
        // come back and never be fetched again.
        if let Err(error) = consumer.resume(partitions) {
            tracing::warn!(group = %self.name, %error, "assigned partitions were not resumed");
        }
        self.standing.assigned();
    }
}

type Frontiers = Vec<(Arc<Assignment>, i64)>;

/// The frontiers of `assignments` that the group does not have yet; also as the client wants them.
fn uncommitted(assignments: &[Arc<Assignment>]) -> Option<(Frontiers, TopicPartitionList)> {
    let frontiers = assignments.iter().filter_map(|a| Some((a.clone(), a.uncommitted()?)));
    let frontiers: Frontiers = frontiers.collect();
    let mut offsets = TopicPartitionList::new();
    for (assignment, offset) in &frontiers {
        // Fails only for offsets that cannot be represented; a frontier always can.
        let _ =
            offsets.add_partition_offset(&assignment.topic, assignment.partition, Offset::Offset(*offset));
    }
    (!frontiers.is_empty()).then_some((frontiers, offsets))
}
