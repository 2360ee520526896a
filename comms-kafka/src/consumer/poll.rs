//! The poll thread: owns the client and polls it continuously. It waits for no handler and for no periodic commit.

use rdkafka::{
    ClientConfig, Message as _, TopicPartitionList,
    config::FromClientConfigAndContext,
    consumer::{BaseConsumer, Consumer as _},
    error::KafkaError,
    message::BorrowedMessage,
};
use std::{
    hash::{BuildHasher, RandomState},
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use super::{
    assignment::Flight,
    budget::{self, Budget},
    dead_letter::Place,
    group::Group,
    work::{Control, Record},
};
use crate::{error::classify, record};
use comms_core::{Delivery, Error, clock::Clock, health::Heartbeat, transport::Lanes};

/// The longest duration of one poll, and of one wait for room in the budget. The thread waits this long before it
/// pauses partitions, because a pause discards prefetched records.
const TICK: Duration = Duration::from_millis(50);
/// The longest duration of the last commit, including its repetitions.
const FINAL_COMMIT: Duration = Duration::from_secs(5);
/// The memory of a record in addition to its content, in bytes: its entries in tracker and lane, and its headers.
const RECORD_OVERHEAD: usize = 256;

/// Lanes by a hash of topic, partition and key. Two keys with the same hash share a lane, which costs only concurrency.
pub(super) type RecordLanes = Lanes<u64, Record>;

pub(super) struct Poll {
    consumer: BaseConsumer<Group>,
    lanes: Arc<RecordLanes>,
    control: Arc<Control>,
    budget: Arc<Budget>,
    max_gap: usize,
    commit_interval: Duration,
    hasher: RandomState,
    clock: Clock,
    heartbeat: Option<Heartbeat>,
}

impl Poll {
    /// Creates the client. It does not join the group yet.
    pub(super) fn new(
        settings: &ClientConfig,
        group: Group,
        lanes: Arc<RecordLanes>,
        control: Arc<Control>,
        limits: &super::Limits,
        heartbeat: Option<Heartbeat>,
    ) -> Result<Self, Error> {
        let clock = group.clock.clone();
        let consumer = BaseConsumer::from_config_and_context(settings, group).map_err(classify)?;
        Ok(Self {
            consumer,
            lanes,
            control,
            budget: Arc::new(Budget::new(limits.records, limits.bytes)),
            max_gap: limits.gap,
            commit_interval: limits.commit_interval,
            hasher: RandomState::new(),
            clock,
            heartbeat,
        })
    }

    /// Joins the group and polls until a stop is requested. Then drains, commits and closes. Blocks.
    pub(super) fn run(self) -> Result<(), Error> {
        let topics: Vec<_> = self.group().routes.keys().map(AsRef::as_ref).collect();
        self.consumer.subscribe(&topics).map_err(classify)?;
        let (commit, due) = mpsc::sync_channel(1);
        thread::scope(|scope| {
            scope.spawn(|| self.commits(due));
            self.consume();
            self.end(commit);
        });
        // The client is dropped here, on this thread, because that blocks.
        Ok(())
    }

    fn consume(&self) {
        let (mut paused, mut flow_due) = (false, self.clock.now());
        while !self.control.stopping.is_cancelled() {
            let full = !self.budget.wait(TICK);
            let now = self.clock.now();
            if full != paused || now >= flow_due {
                self.beat();
                self.group().health.refresh();
                self.flow(full);
                (paused, flow_due) = (full, now + TICK);
            }
            match self.consumer.poll(if full { Duration::ZERO } else { TICK }) {
                Some(Ok(record)) => self.dispatch(&record),
                Some(Err(error @ KafkaError::MessageConsumptionFatal(_))) => {
                    self.control.fail(classify(error))
                }
                // The client recovers from most other errors by itself, and has logged them.
                Some(Err(error)) => self.group().health.report_error(&error),
                None => {}
            }
        }
    }

    /// Commits at each interval, and at once for each item of `due`. Runs on a separate thread, because a commit waits
    /// for its response.
    fn commits(&self, due: mpsc::Receiver<()>) {
        while due.recv_timeout(self.commit_interval) != Err(mpsc::RecvTimeoutError::Disconnected) {
            self.group().commit(&self.consumer);
        }
    }

    fn beat(&self) {
        if let Some(heartbeat) = &self.heartbeat {
            heartbeat.beat();
        }
    }

    fn group(&self) -> &Group {
        self.consumer.context()
    }

    fn dispatch(&self, record: &BorrowedMessage<'_>) {
        let (partition, offset) = (record.partition(), record.offset());
        let Some(assignment) = self.group().find(record.topic(), partition) else { return };
        let message = record::message(record, &assignment.topic);
        let topic = &assignment.topic;
        let lane = message.key.as_ref().map(|key| self.hasher.hash_one((&**topic, partition, key)));
        let size = message.size() + RECORD_OVERHEAD;
        let origin = format!("{topic}/{partition}@{offset}");
        let delivery = Delivery::new(message, self.group().name.clone(), origin);
        assignment.consumed.increment(1);
        let flight = Flight::new(assignment.clone(), self.budget.clone(), offset, size);
        let place = Place { partition, offset, timestamp: record.timestamp().to_millis() };
        self.lanes.push(lane, Record { flight, delivery, place });
        if assignment.backlog() >= self.max_gap && !assignment.is_paused() {
            self.flow(false);
        }
    }

    /// Pauses and resumes partitions: all are paused while the budget is full (`full`), and a partition is paused while
    /// its backlog is at `max_gap`.
    fn flow(&self, full: bool) {
        let (mut pause, mut resume) = (TopicPartitionList::new(), TopicPartitionList::new());
        for assignment in self.group().assignments() {
            let paused = assignment.is_paused();
            let limit = if paused { budget::low(self.max_gap) + 1 } else { self.max_gap };
            let wanted = full || assignment.backlog() >= limit;
            if wanted != paused {
                assignment.set_paused(wanted);
                let list = if wanted { &mut pause } else { &mut resume };
                list.add_partition(&assignment.topic, assignment.partition);
            }
        }
        let pausing = (pause.count() > 0).then(|| self.consumer.pause(&pause));
        let resuming = (resume.count() > 0).then(|| self.consumer.resume(&resume));
        for error in [pausing, resuming].into_iter().flatten().filter_map(Result::err) {
            tracing::warn!(group = %self.group().name, %error, "flow control");
        }
    }

    /// Drains: running records may finish within the drain time, then the frontiers are committed.
    ///
    /// Polling continues meanwhile, because an unanswered rebalance would delay the commit. Records that are polled
    /// here are not tracked, so they are not committed.
    fn end(&self, commit: mpsc::SyncSender<()>) {
        let group = self.group();
        tracing::info!(group = %group.name, "consumer stops");
        let until = self.clock.now() + group.drain;
        while self.drains(until) {
            self.beat();
            self.flow(true);
            let _ = self.consumer.poll(TICK);
        }
        group.assignments().iter().for_each(|assignment| assignment.revoked.cancel());
        let until = self.clock.now() + FINAL_COMMIT;
        while !group.is_committed() && self.clock.now() < until {
            // Fails if a commit is already requested.
            let _ = commit.try_send(());
            let _ = self.consumer.poll(TICK);
        }
    }

    fn drains(&self, until: Instant) -> bool {
        let assignments = self.group().assignments();
        assignments.iter().for_each(|assignment| assignment.close());
        let over = self.control.abandoned.is_cancelled() || self.clock.now() >= until;
        !over && assignments.iter().any(|assignment| !assignment.is_idle())
    }
}
