//! The member of a consumer group: the client, its poll thread, and the partitions that the group assigns.
//!
//! - `poll.rs`: the poll thread. `rebalance.rs`: assignment and revocation; the order of the calls decides whether
//!   records arrive. `position.rs`: start positions and seeks.

mod poll;
mod position;
mod rebalance;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, OnceLock, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rdkafka::{
    Message as _, Statistics, TopicPartitionList, error::KafkaError, message::BorrowedMessage,
    types::RDKafkaRespErr,
};

use super::{
    assignment::Assignments,
    commits::Commits,
    context::{Client, Events},
    control::Control,
    health::ConsumerHealth,
    lag::Lag,
    position::{Seeks, Start},
    runner::Runners,
    topic::Topic,
};
use crate::record::Reader;
use comms_core::{
    clock::Clock,
    health::{Heartbeat, State},
};
pub(super) use poll::Poll;

/// One member of a consumer group. Its methods run on the poll thread.
pub(super) struct Member {
    /// The name of the group.
    pub(super) name: Arc<str>,
    pub(super) topics: Arc<HashMap<Arc<str>, Arc<Topic>>>,
    pub(super) assigned: Arc<Assignments>,
    pub(super) commits: Arc<Commits>,
    pub(super) runners: Runners,
    pub(super) control: Arc<Control>,
    pub(super) health: Arc<ConsumerHealth>,
    pub(super) heartbeat: Option<Heartbeat>,
    pub(super) lag: Arc<Lag>,
    pub(super) clock: Clock,
    pub(super) drain: Duration,
    pub(super) start: Start,
    pub(super) seeks: Arc<Seeks>,
    /// The client that reports to this member.
    pub(super) client: OnceLock<Weak<Client>>,
    /// Reads records that arrive on the main queue.
    pub(super) reader: Mutex<Reader>,
    /// The number of records that have arrived on the main queue.
    pub(super) on_main: AtomicU64,
}

impl Member {
    /// Passes a record of the main queue to the runner of its partition.
    ///
    /// A partition has a queue of its own before it is assigned, so this does not happen unless librdkafka changes. The
    /// record is older than all records in that queue.
    pub(super) fn dispatch(&self, record: &BorrowedMessage<'_>) {
        let Some(assignment) = self.assigned.find(record.topic(), record.partition()) else { return };
        if self.on_main.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::warn!(group = %self.name, topic = record.topic(), partition = record.partition(),
                "a record arrived on the main queue");
        }
        let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let incoming = reader.read(record, &assignment.topic.name);
        let mut source = assignment.source();
        if source.queue.is_some() {
            source.early.push_back(incoming);
            assignment.wake.notify_one();
        }
    }

    pub(super) fn beat(&self) {
        if let Some(heartbeat) = &self.heartbeat {
            heartbeat.beat();
        }
    }
}

impl Events for Member {
    fn failed(&self, error: &KafkaError) {
        self.health.report_error(error);
    }

    fn measured(&self, statistics: &Statistics) {
        if self.lag.update(&self.name, &self.assigned.all(), statistics, &self.clock) {
            // The committer reads the ends, because that blocks.
            self.commits.wake();
        }
        let Some(group) = &statistics.cgrp else { return };
        self.health.set_membership(if group.state == "up" && group.join_state == "steady" {
            State::ready()
        } else {
            State::unready(format!("group {}: {}, {}", self.name, group.state, group.join_state))
        });
    }

    fn rebalanced(&self, client: &Client, event: RDKafkaRespErr, partitions: &mut TopicPartitionList) {
        match event {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => self.assign(client, partitions),
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS => self.revoke(client, partitions),
            other => {
                let error = KafkaError::Rebalance(other.into());
                tracing::warn!(group = %self.name, %error, "rebalance failed");
                self.health.report_error(&error);
            }
        }
    }
}
