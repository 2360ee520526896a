//! The group membership: the callbacks of the client, which run on the poll thread.
//!
//! The order of the calls at an assignment and at a revocation decides whether records arrive, see `rebalance.rs`.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, OnceLock, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rdkafka::{
    ClientContext, Statistics, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, ConsumerContext},
    error::KafkaError,
    message::BorrowedMessage,
    types::RDKafkaRespErr,
};

use super::{
    assignments::Assignments, commits::Commits, control::Control, health::ConsumerHealth, lag::Lag,
    runners::Runners, seek::Seeks, start::Start, topic::Topic,
};
use crate::{client, record::Reader};
use comms_core::{
    clock::Clock,
    health::{Heartbeat, State},
};
use rdkafka::Message as _;

/// One member of a consumer group, the context of its client.
pub(super) struct Group {
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
    /// The client that this is the context of.
    pub(super) client: OnceLock<Weak<BaseConsumer<Self>>>,
    /// Reads records that arrive on the main queue.
    pub(super) reader: Mutex<Reader>,
    /// The number of records that have arrived on the main queue.
    pub(super) on_main: AtomicU64,
}

impl Group {
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
        let mut reader = self.reader.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
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

impl ClientContext for Group {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        client::log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        client::error(&error, reason);
        self.health.report_error(&error);
    }

    fn stats(&self, statistics: Statistics) {
        if self.lag.update(&self.name, &self.assigned.all(), &statistics, &self.clock) {
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
}

impl ConsumerContext for Group {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        event: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        match event {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => self.assign(consumer, partitions),
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS => self.revoke(consumer, partitions),
            other => {
                let error = KafkaError::Rebalance(other.into());
                tracing::warn!(group = %self.name, %error, "rebalance failed");
                self.health.report_error(&error);
            }
        }
    }
}
