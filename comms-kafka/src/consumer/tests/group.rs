//! A consumer group without a broker: the assignments, runners and commits of a member, and a model of its coordinator.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use comms_core::{
    Delivery, Error, Message, MessageParts, Outcome,
    clock::Clock,
    handler_fn,
    transport::{AttemptConfig, BoxHandler, Holds, Processor, WorkerConfig},
};
use rdkafka::{
    Offset, TopicPartitionList,
    error::{KafkaError, KafkaResult},
    types::RDKafkaErrorCode,
};
use tokio::{runtime::Handle, sync::oneshot, task::yield_now};

use crate::{
    consumer::{
        assignment::{Assignment, Assignments, Phase},
        commits::Commits,
        control::Control,
        finished::Finished,
        health::ConsumerHealth,
        runner::{Runners, Shared},
        topic::Topic,
    },
    record::Incoming,
};

pub(super) const PARTITIONS: i32 = 3;
const TOPIC: &str = "orders";

/// A partition and an offset.
type Place = (i32, i64);
/// The running handlers, and how to end them.
type Running = Arc<Mutex<BTreeMap<Place, oneshot::Sender<Result<Outcome, Error>>>>>;

/// What becomes of a commit.
#[derive(Debug, Clone, Copy)]
pub(super) enum Answer {
    Accepted,
    Refused,
    /// It is stored, and its response is lost.
    Lost,
}

/// The state of a partition at the coordinator.
#[derive(Debug, Default, Clone)]
struct Log {
    end: i64,
    committed: i64,
    /// The list of finished records beyond `committed`.
    beyond: String,
    is_ours: bool,
}

/// An assigned partition.
struct Assigned {
    assignment: Arc<Assignment>,
    next: i64,
}

pub(super) struct Group {
    logs: RefCell<BTreeMap<i32, Log>>,
    /// The records that were handled successfully.
    handled: Arc<Mutex<BTreeSet<Place>>>,
    running: Running,
    assigned: Arc<Assignments>,
    partitions: BTreeMap<i32, Assigned>,
    late: Option<Vec<Arc<Assignment>>>,
    commits: Arc<Commits>,
    control: Arc<Control>,
    runners: Runners,
    topic: Arc<Topic>,
}

impl Group {
    pub(super) fn new() -> Self {
        let (clock, control) = (Clock::manual(Duration::ZERO), Arc::<Control>::default());
        let (running, handled) = (Running::default(), Arc::<Mutex<BTreeSet<Place>>>::default());
        let (waiting, done) = (running.clone(), handled.clone());
        let handler = handler_fn(move |delivery: Delivery| {
            let place = (delivery.position.partition.unwrap(), delivery.position.offset.unwrap());
            let (end, ended) = oneshot::channel();
            waiting.lock().unwrap().insert(place, end);
            let done = done.clone();
            async move {
                let outcome = ended.await.unwrap_or_else(|_| Err(Error::internal("no end")))?;
                done.lock().unwrap().insert(place);
                Ok(outcome)
            }
        });
        let holds = Holds::new(clock.clone());
        let health = Arc::new(ConsumerHealth::new(None, holds, clock.clone(), Vec::new(), control.clone()));
        let assigned = Arc::<Assignments>::default();
        let every = (10, Duration::from_secs(60));
        let health_and_lag = (health.clone(), Arc::default());
        let commits = Commits::new("group".into(), assigned.clone(), health_and_lag, every, clock.clone());
        let commits = Arc::new(commits);
        let shared = Shared {
            group: "group".into(),
            max_gap: 8,
            commits: commits.clone(),
            control: control.clone(),
            health,
        };
        let processor = Processor::new(BoxHandler::new(handler), AttemptConfig::default(), clock, "kafka");
        Self {
            logs: RefCell::new((0..PARTITIONS).map(|partition| (partition, Log::default())).collect()),
            handled,
            running,
            assigned,
            partitions: BTreeMap::new(),
            late: None,
            commits,
            control,
            runners: Runners {
                shared: Arc::new(shared),
                worker: WorkerConfig::default(),
                dead_letters: None,
                ended: Arc::default(),
                tasks: tokio_util::task::TaskTracker::new(),
                runtime: Handle::current(),
            },
            topic: Arc::new(Topic::new(TOPIC.into(), processor)),
        }
    }

    /// Lets the runners go on until they wait.
    pub(super) async fn progress(&self) {
        for _ in 0..10 {
            yield_now().await;
        }
        assert!(self.control.failure().is_none() && !self.control.stopping.is_cancelled());
    }

    pub(super) fn produce(&self, partition: i32, records: i64) {
        self.log(partition, |log| log.end += records);
    }

    pub(super) fn assign(&mut self, partition: i32) {
        if self.partitions.contains_key(&partition) {
            return;
        }
        let (next, finished) = self.log(partition, |log| {
            log.is_ours = true;
            (log.committed, Finished::of_metadata(&log.beyond, log.committed))
        });
        let assignment = Arc::new(Assignment::new(self.topic.clone(), partition));
        assignment.restore(finished);
        self.assigned.insert(assignment.clone());
        self.runners.spawn(assignment.clone());
        self.partitions.insert(partition, Assigned { assignment, next });
    }

    /// Adds records to the queue of an assigned partition.
    pub(super) fn fetch(&mut self, partition: i32, records: i64) {
        let end = self.log(partition, |log| log.end);
        let Some(Assigned { assignment, next }) = self.partitions.get_mut(&partition) else { return };
        let until = end.min(*next + records);
        for offset in *next..until {
            let (id, key) = (format!("{partition}-{offset}"), format!("k{}", offset % 3));
            let parts = MessageParts {
                source: "s",
                id: &id,
                topic: TOPIC,
                key: Some(key.as_bytes()),
                ..Default::default()
            };
            let incoming = Incoming { message: Message::new(parts), offset, timestamp: None };
            assignment.source().early.push_back(incoming);
        }
        *next = (*next).max(until);
        assignment.wake.notify_one();
    }

    /// Ends one of the running handlers.
    pub(super) fn end(&self, which: usize, fails: bool) {
        let mut running = self.running.lock().unwrap();
        let Some(place) = running.keys().nth(which % running.len().max(1)).copied() else { return };
        let result = if fails { Err(Error::invalid("bad")) } else { Ok(Outcome::Done) };
        // The handler may have been dropped with its partition.
        let _ = running.remove(&place).unwrap().send(result);
    }

    pub(super) fn commit(&self, answer: Answer) {
        self.assigned.all().iter().for_each(|assignment| assignment.request_beyond());
        self.commits.periodic(self.assigned.all(), |offsets| self.store(offsets, answer));
    }

    pub(super) fn begin_commit(&mut self) {
        self.late = Some(self.assigned.all());
    }

    pub(super) fn late_commit(&mut self, answer: Answer) {
        if let Some(late) = self.late.take() {
            self.commits.periodic(late, |offsets| self.store(offsets, answer));
        }
    }

    pub(super) async fn revoke(&mut self, partition: i32, ends: usize, answer: Answer) {
        if !self.log(partition, |log| log.is_ours) {
            return self.lose(partition);
        }
        let gone = self.assigned.take(&list(partition));
        gone.iter().for_each(|assignment| assignment.advance(Phase::Stop));
        self.progress().await;
        for which in 0..ends {
            self.end(which, false);
            self.progress().await;
        }
        gone.iter().for_each(|assignment| assignment.advance(Phase::Cut));
        self.commits.last(&gone, |offsets| self.store(offsets, answer));
        self.partitions.remove(&partition);
        self.log(partition, |log| log.is_ours = false);
    }

    pub(super) fn evict(&self, partition: i32) {
        self.log(partition, |log| log.is_ours = false);
    }

    pub(super) fn lose(&mut self, partition: i32) {
        self.evict(partition);
        let gone = self.assigned.take(&list(partition));
        gone.iter().for_each(|assignment| assignment.advance(Phase::Cut));
        self.partitions.remove(&partition);
    }

    pub(super) fn other(&self, partition: i32, records: i64) {
        let handled = self.log(partition, |log| {
            let from = log.committed;
            if !log.is_ours {
                // It is a client of another program, and commits without a list.
                log.committed = log.end.min(from + records);
                log.beyond.clear();
            }
            from..log.committed
        });
        self.handled.lock().unwrap().extend(handled.map(|offset| (partition, offset)));
    }

    /// Gives all partitions to this member, and handles every record.
    pub(super) async fn finish(&mut self) {
        for partition in 0..PARTITIONS {
            // A record that has failed blocks its key until the partition is assigned again.
            self.revoke(partition, 0, Answer::Accepted).await;
            self.assign(partition);
            self.fetch(partition, i64::MAX / 2);
        }
        self.progress().await;
        while !self.running.lock().unwrap().is_empty() {
            self.end(0, false);
            self.progress().await;
        }
        self.commit(Answer::Accepted);
        for (partition, log) in &*self.logs.borrow() {
            assert_eq!(log.committed, log.end, "partition {partition} is committed to its end");
            let handled = self.handled.lock().unwrap();
            assert!((0..log.end).all(|offset| handled.contains(&(*partition, offset))), "{handled:?}");
        }
    }

    /// Takes a commit as the coordinator does, and checks it.
    fn store(&self, offsets: &TopicPartitionList, answer: Answer) -> KafkaResult<()> {
        let handled = self.handled.lock().unwrap();
        let mut logs = self.logs.borrow_mut();
        let elements = offsets.elements();
        let is_stale = elements.iter().any(|element| !logs[&element.partition()].is_ours);
        for element in &elements {
            let (partition, Offset::Offset(offset)) = (element.partition(), element.offset()) else {
                panic!("{element:?}")
            };
            assert!(self.partitions.contains_key(&partition), "{partition} was taken away");
            let log = logs.get_mut(&partition).unwrap();
            if !log.is_ours {
                continue;
            }
            let unfinished = (log.committed..offset).find(|offset| !handled.contains(&(partition, *offset)));
            assert_eq!(unfinished, None, "{partition} is committed up to {offset}");
            assert!((log.committed..=log.end).contains(&offset), "{offset} of {log:?}");
            let mut finished = Finished::of_metadata(element.metadata(), offset);
            let unfinished = (offset..log.end + 9)
                .find(|offset| finished.take(*offset) && !handled.contains(&(partition, *offset)));
            assert_eq!(unfinished, None, "{partition} is committed with {}", element.metadata());
            if !is_stale && !matches!(answer, Answer::Refused) {
                log.committed = offset;
                log.beyond = element.metadata().to_owned();
            }
        }
        match answer {
            _ if is_stale => Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::StaleMemberEpoch)),
            Answer::Accepted => Ok(()),
            Answer::Refused => Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::RebalanceInProgress)),
            Answer::Lost => Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::RequestTimedOut)),
        }
    }

    fn log<T>(&self, partition: i32, change: impl FnOnce(&mut Log) -> T) -> T {
        change(self.logs.borrow_mut().get_mut(&partition).unwrap())
    }
}

fn list(partition: i32) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    list.add_partition(TOPIC, partition);
    list
}
