//! The consumer runtime: one poll thread per consumer, one lane per key on the tokio runtime, and one offset tracker
//! per assigned partition.
//!
//! A record passes through the files in this order:
//! 1. `poll.rs`: the poll thread receives the record, within the bounds of `budget.rs`.
//! 2. `assignment.rs`: registers the record in the `tracker.rs` of its partition. Then the poll thread puts it into the
//!    lane of its key.
//! 3. `work.rs`: runs the handler's attempts. Whether an attempt is retried is decided in
//!    [`Processor`](comms_core::transport::Processor).
//! 4. `dead_letter/`: writes a record that cannot be handled to the dead-letter topic.
//! 5. `tracker.rs`: computes the offset that may be committed.
//! 6. `group.rs`: commits the offset, and handles assignment and revocation of partitions.
//!
//! `builder.rs` checks the settings, `health.rs` reports readiness.

mod assignment;
mod budget;
mod builder;
mod dead_letter;
mod group;
mod health;
mod poll;
mod tracker;
mod work;

use rdkafka::ClientConfig;
use std::{
    collections::HashMap,
    fmt,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{runtime::Handle, sync::oneshot};

use self::{
    dead_letter::DeadLetters,
    group::Group,
    health::ConsumerHealth,
    poll::{Poll, RecordLanes},
    work::{Control, Record, Shared, work},
};
use comms_core::{
    Error, Publisher,
    clock::Clock,
    health::{Component, Heartbeat},
    resilience::Backoff,
    transport::{Holds, Processor},
};

pub use builder::ConsumerBuilder;

/// The time limit for the last commit and for leaving the group.
const CLOSE: Duration = Duration::from_secs(10);
/// The time limit for dropping cancelled attempts.
const CANCEL: Duration = Duration::from_secs(1);

/// A member of a consumer group, which runs a handler for each record.
///
/// **Problem.** A slow or poisonous record delays all later records of its partition, a group commits offsets by
/// position although handlers finish out of order, and partitions move between members at any time.
///
/// **Promise.**
/// - Each record is handled at least once. Records of one key in one partition are handled one after the other, in
///   order. Other keys are handled concurrently. Records without a key have no order among each other.
/// - An offset is committed when the record and all records before it in the partition are handled, or acknowledged by
///   the dead-letter topic. Nothing is committed for a partition after its revocation.
/// - A record that fails permanently, or too often ([`ConsumerBuilder::attempts`]), is written to `<topic>.dlq` with
///   the reason. If the record is too large for that, the dead letter has no payload, or refers to the record.
/// - A failure whose cause is outside the record *holds* the record, and so does a dead letter that cannot be written.
///   The key waits, the offset is not committed, no attempt is counted, and [`Consumer::holds`] lists the record.
///   Processing continues when the cause is gone.
/// - Memory is bounded in records ([`ConsumerBuilder::max_in_flight`]) and bytes. [`ConsumerBuilder::max_gap`] bounds
///   the records of a partition that are delivered behind an unfinished one.
///
/// **How.** One thread owns the client. It polls continuously and waits for no handler, so that a slow handler does not
/// cost the group membership. Each key has a lane: a queue whose records are handled one after the other, on the
/// runtime that called [`Consumer::run`]. When a partition is revoked, running attempts may finish within the drain
/// time ([`ConsumerBuilder::drain`]), finished records are committed, and the other records are left to the next owner.
/// Waits between attempts and holds end at once.
///
/// **Identity.** A record without the headers `ce_id` and `ce_source` gets the source `kafka` and the id
/// `topic-partition-offset-timestamp` (milliseconds). An inbox therefore does not recognize a fact that such a producer
/// writes twice. A header with a null value is read as an empty header, and a header whose name is not UTF-8 is dropped
/// with a warning.
///
/// **What breaks it.**
/// - Records whose attempts outlive the drain time are handled again by another member, and so are uncommitted records
///   after a crash. Handlers must be idempotent.
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
///         println!("{}", delivery.origin);
///         Ok(Outcome::Done)
///     }))
///     .dead_letter(Arc::new(KafkaPublisher::new(&kafka, Clock::system())?))
///     .build()?;
/// let shutdown = std::future::pending(); // in a service: a future that resolves on a signal
/// consumer.run(shutdown).await
/// # }
/// ```
pub struct Consumer {
    settings: ClientConfig,
    group: Arc<str>,
    routes: HashMap<Arc<str>, Processor>,
    dead_letters: Arc<dyn Publisher>,
    backoff: Backoff,
    holds: Holds,
    limits: Limits,
    clock: Clock,
    health: Option<Component>,
    heartbeat: Option<Heartbeat>,
    /// The lag in messages, over all assigned partitions.
    lag: Arc<AtomicU64>,
}

/// The bounds and intervals of a consumer.
#[derive(Debug, Clone)]
struct Limits {
    records: usize,
    bytes: usize,
    gap: usize,
    commit_interval: Duration,
    drain: Duration,
}

impl Consumer {
    /// Returns a function that reads the lag of this member, in messages over all its partitions, for
    /// [`Health::gauge`](comms_core::health::Health::gauge).
    ///
    /// The client updates the lag every `statistics.interval.ms` (default 5,000). With 0 the lag is not updated.
    pub fn lag(&self) -> impl Fn() -> f64 + Send + Sync + use<> {
        let lag = self.lag.clone();
        // Exact up to 2^53 messages.
        move || lag.load(Ordering::Relaxed) as f64
    }

    /// Returns the deliveries that are held by a cause outside the message, or because their dead letter cannot be
    /// written.
    #[must_use]
    pub const fn holds(&self) -> &Holds {
        &self.holds
    }

    /// Consumes until `shutdown` resolves.
    ///
    /// The consumer then takes no more records, drains, commits, and leaves the group. That takes at most the drain
    /// time ([`ConsumerBuilder::drain`]) and 11 s. Dropping the future stops the consumer without a drain.
    ///
    /// An unreachable broker is not an error. The consumer waits, and its health component
    /// ([`ConsumerBuilder::health`]) is unready with the reason.
    ///
    /// # Panics
    /// Panics outside a tokio runtime.
    ///
    /// # Errors
    /// - Returns [`ErrorKind::Fatal`](comms_core::ErrorKind::Fatal) if a handler or the client returned a fatal error,
    ///   if the poll thread could not be started, or if it panicked. After a fatal error of a handler the consumer has
    ///   drained and left the group, and the record is not committed.
    /// - Returns [`ErrorKind::Invalid`](comms_core::ErrorKind::Invalid) or
    ///   [`ErrorKind::Misconfigured`](comms_core::ErrorKind::Misconfigured) if the client refuses a setting or the
    ///   subscription when it starts.
    /// - Returns [`ErrorKind::Indeterminate`](comms_core::ErrorKind::Indeterminate) if the client does not close in
    ///   time. The poll thread then continues in the background, and the partitions move when the session ends.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) -> Result<(), Error> {
        let Self {
            settings,
            group,
            routes,
            dead_letters,
            backoff,
            holds,
            limits,
            clock,
            health,
            heartbeat,
            lag,
        } = self;
        let control = Arc::new(Control::default());
        let _abandoned = control.abandoned.clone().drop_guard();
        let _stopping = control.stopping.clone().drop_guard();
        let dead_letters = DeadLetters::new(dead_letters, backoff, clock.clone(), holds.clone());
        let shared = Shared { dead_letters, control: control.clone() };
        let lanes = Arc::new(lanes(shared));

        let thread = {
            let health = ConsumerHealth::new(health.clone(), holds, clock.clone());
            let member = Group::new(group.clone(), routes, limits.drain, clock.clone(), health, lag);
            let (lanes, control, limits, runtime) =
                (lanes.clone(), control.clone(), limits.clone(), Handle::current());
            move || {
                let _entered = runtime.enter();
                Poll::new(&settings, member, lanes, control, &limits, heartbeat).and_then(Poll::run)
            }
        };
        let mut ended = spawn(&group, thread)?;
        let in_order = async {
            tokio::select! {
                () = shutdown => control.stopping.cancel(),
                () = control.stopping.cancelled() => {}
            }
        };
        let result = tokio::select! {
            result = &mut ended => result,
            () = in_order => match clock.timeout(limits.drain + CLOSE, &mut ended).await {
                Ok(result) => result,
                Err(_) => {
                    let text = format!("group {group}: the client did not close within {:?}", limits.drain + CLOSE);
                    Ok(Err(Error::indeterminate(text)))
                }
            },
        };
        if let Some(health) = health {
            health.unready("stopped");
        }
        // All attempts are cancelled. They end when they are polled again.
        let _ = clock.timeout(CANCEL, lanes.drained()).await;
        let result = result.map_err(|_| Error::fatal(format!("group {group}: the poll thread panicked")))?;
        control.failure().map_or(result, Err)
    }
}

fn lanes(shared: Shared) -> RecordLanes {
    let shared = Arc::new(shared);
    RecordLanes::new(move |record: Record| {
        let shared = shared.clone();
        async move { work(record, &shared).await }
    })
}

/// Runs `work` on a new thread, because it blocks and may outlive [`Consumer::run`].
fn spawn(
    group: &str,
    work: impl FnOnce() -> Result<(), Error> + Send + 'static,
) -> Result<oneshot::Receiver<Result<(), Error>>, Error> {
    let (done, ended) = oneshot::channel();
    let body = move || {
        // The send fails if the future of `run` was dropped.
        let _ = done.send(work());
    };
    let thread = std::thread::Builder::new().name(format!("kafka-{group}")).spawn(body);
    thread.map_err(|e| Error::fatal(e).context(format_args!("start the poll thread of group {group}")))?;
    Ok(ended)
}

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let topics: Vec<_> = self.routes.keys().collect();
        f.debug_struct("Consumer")
            .field("group", &self.group)
            .field("topics", &topics)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}
