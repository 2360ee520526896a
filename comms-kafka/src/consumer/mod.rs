//! The consumer runtime: one poll thread per consumer, one queue and one runner per assigned partition.
//!
//! A record passes through the files in this order:
//! 1. `member/rebalance.rs`: the poll thread (`member/poll.rs`) gives an assigned partition its queue, and starts its
//!    runner.
//! 2. `runner/`: the runner, a task, polls chunks of records (`record/read.rs` of the crate), registers them in the
//!    [`Frontier`](comms_core::transport::Frontier) of its partition, and pushes them into its
//!    [`Worker`](comms_core::transport::Worker), which runs the handler's attempts in the order of the keys.
//! 3. `runner/dead_letter.rs`: writes a record that cannot be handled to the dead-letter topic.
//! 4. `assignment/`: the runner publishes the offset that may be committed.
//! 5. `commits.rs`: the committer, a thread, commits the offset, with the finished records beyond it (`finished/`).
//!
//! The queues are the only flow control: a runner without room does not poll its queue, and the client fetches no more
//! when the queue is full. `position/` has the positions of a group, `builder/` checks the settings, `health/` reports
//! readiness, `lag.rs` the lag.
//!
//! The folders use each other in one direction: `member` uses `runner`, both use `commits` and `health`, and these use
//! `assignment`. The client reports to the member through `context.rs`, so that the others need not know the member.

mod assignment;
mod builder;
mod commits;
mod context;
mod control;
mod finished;
mod handle;
mod health;
mod lag;
mod member;
mod position;
mod prefetch;
mod run;
mod runner;
mod topic;

use std::{collections::HashMap, fmt, sync::Arc};

use rdkafka::ClientConfig;

use self::{assignment::Assignments, builder::Limits, lag::Lag, position::SeekOwner, topic::Topic};
use comms_core::{
    Publisher,
    clock::Clock,
    health::{Component, Heartbeat},
    resilience::Backoff,
    transport::{Holds, WorkerConfig},
};

pub use self::{
    builder::ConsumerBuilder,
    handle::ConsumerHandle,
    health::ClientFault,
    position::{Start, seek},
};

/// A member of a consumer group, which runs a handler for each record, or for each batch of records.
///
/// **Problem.** A slow or poisonous record delays all later records of its partition, a group commits offsets by
/// position although handlers finish out of order, and partitions move between members at any time.
///
/// **Promise.**
/// - Each record is handled at least once. Records of one key in one partition are handled one after the other, in
///   order. Other keys are handled concurrently. Records without a key have no order among each other.
///   ([`ConsumerBuilder::ordering`] has other orders.)
/// - An offset is committed when the record and all records before it in the partition are handled, or acknowledged by
///   the dead-letter topic. Nothing is committed, and no dead letter is written, for a partition after its revocation.
/// - A record that fails permanently, or too often ([`ConsumerBuilder::attempts`]), is written to `<topic>.dlq` with
///   the reason ([`ConsumerBuilder::dead_letter`]). If the record is too large for that, the dead letter has no payload,
///   or refers to the record.
/// - A failure whose cause is outside the record *holds* the record, and so does a dead letter that cannot be written.
///   The key waits, the offset is not committed, no attempt is counted, and [`Consumer::holds`] lists the record.
///   Processing continues when the cause is gone.
/// - A slow or blocked partition does not delay the others, as long as the runtime has a free thread. A handler that
///   never returns does not keep its partition at a rebalance, and not the process at a shutdown.
/// - Memory is bounded in records ([`ConsumerBuilder::buffer_records`]) and bytes ([`ConsumerBuilder::buffer_bytes`],
///   [`ConsumerBuilder::prefetch_bytes`]). [`ConsumerBuilder::max_gap`] bounds the records of a partition that are
///   delivered behind an unfinished one.
///
/// **How.** One thread owns the client. It polls continuously and waits for no handler, so that a slow handler does not
/// cost the group membership. Each partition has a queue in the client, and a task that polls the queue and calls the
/// handlers, on the runtime that called [`Consumer::run`]. A handler that does not wait is called in that task; when it
/// waits, the task goes on with other keys. Handlers that block their thread for more than a millisecond run in tasks of
/// their own.
///
/// A second thread commits: after [`ConsumerBuilder::commit_records`] finished records, and after
/// [`ConsumerBuilder::commit_interval`]. When a partition is revoked, running attempts may finish within the drain time
/// ([`ConsumerBuilder::drain`]), finished records are committed, and the other records are left to the next owner. Waits
/// between attempts and holds end at once.
///
/// **Identity.** A record without the headers `ce_id` and `ce_source` gets the source `kafka` and the id
/// `topic-partition-offset-timestamp` (milliseconds). An inbox therefore does not recognize a fact that such a producer
/// writes twice. A header with a null value is read as an empty header, and a header whose name is not UTF-8 is dropped
/// with a warning. rdkafka panics for such a name, and the consumer catches the panic: the record is handled, but each of
/// these panics reaches the panic hook, which prints it.
///
/// **What breaks it.**
/// - Records whose attempts outlive the drain time are handled again by another member, and so are uncommitted records
///   after a crash. Handlers must be idempotent.
/// - An unclean election of a leader, which loses records that were committed as finished: the broker gives their offsets to
///   other records, which are then skipped.
/// - An attempt that blocks its thread cannot be cancelled. It may still run when the next owner handles the record.
/// - While partitions are *lost* (this member was silent for longer than the session timeout of the group), two members
///   may handle one key at the same time, until this member receives the revocation.
/// - The offsets of a topic that is deleted and created again begin at 0, and neither the client nor the group notices.
///   Records of the new topic below the group's position are not read. Stop the group and delete its offsets before you
///   create the topic again.
///
/// # Examples
/// ```no_run
/// use comms_core::{Delivery, Outcome, clock::Clock, handler_fn};
/// use comms_kafka::{Consumer, KafkaConfig, KafkaPublisher};
/// use std::sync::Arc;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), comms_core::Error> {
/// let kafka = KafkaConfig::new("localhost:9092");
/// let consumer = Consumer::builder(&kafka, "billing")
///     .on("orders", handler_fn(|delivery: Delivery| async move {
///         println!("{}", delivery.origin());
///         Ok(Outcome::Done)
///     }))
///     .dead_letter(Arc::new(KafkaPublisher::new(&kafka, Clock::system())?))
///     .build()?;
/// let shutdown = std::future::pending(); // in a service: a future that resolves on a signal
/// consumer.run(shutdown).await
/// # }
/// ```
pub struct Consumer {
    settings: Settings,
    holds: Holds,
    assigned: Arc<Assignments>,
    seeks: SeekOwner,
    lag: Arc<Lag>,
}

/// The checked settings of a consumer.
struct Settings {
    client: ClientConfig,
    /// The settings of the client that reads the number of partitions. `None`: the number is not used.
    probe: Option<ClientConfig>,
    group: Arc<str>,
    topics: Arc<HashMap<Arc<str>, Arc<Topic>>>,
    worker: WorkerConfig,
    dead_letters: Option<Arc<dyn Publisher>>,
    backoff: Backoff,
    limits: Limits,
    start: Start,
    fatal: Vec<ClientFault>,
    clock: Clock,
    health: Option<Component>,
    heartbeat: Option<Heartbeat>,
}

impl Consumer {
    /// Returns a function that reads the lag of this member, in messages over all its partitions, for
    /// [`Health::gauge`](comms_core::health::Health::gauge).
    ///
    /// The lag of a partition is 0 when all its records are finished, also if aborted transactions follow the last one.
    /// It grows also while the topic is paused or the consumer is full: then the end of the partition is read from the
    /// broker. The client updates the lag every `statistics.interval.ms` (default 5,000). With 0 the lag is not updated.
    /// It is 0 after the consumer has ended.
    pub fn lag(&self) -> impl Fn() -> f64 + Send + Sync + use<> {
        let lag = self.lag.clone();
        // Exact up to 2^53 messages.
        move || lag.records() as f64
    }

    /// Returns a function that reads the age of the oldest record that this member has received and not finished, in
    /// seconds, by the timestamp of the record. It is updated with the [lag](Self::lag).
    pub fn lag_seconds(&self) -> impl Fn() -> f64 + Send + Sync + use<> {
        let lag = self.lag.clone();
        move || lag.age().as_secs_f64()
    }

    /// Returns the deliveries that are held by a cause outside the message, or because their dead letter cannot be
    /// written.
    #[must_use]
    pub const fn holds(&self) -> &Holds {
        &self.holds
    }

    /// Returns a handle that pauses, resumes and moves topics while the consumer runs.
    #[must_use]
    pub fn handle(&self) -> ConsumerHandle {
        let Settings { group, topics, .. } = &self.settings;
        ConsumerHandle {
            group: group.clone(),
            topics: topics.clone(),
            assigned: self.assigned.clone(),
            seeks: self.seeks.0.clone(),
        }
    }
}

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let topics: Vec<_> = self.settings.topics.keys().collect();
        f.debug_struct("Consumer")
            .field("group", &self.settings.group)
            .field("topics", &topics)
            .field("limits", &self.settings.limits)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
