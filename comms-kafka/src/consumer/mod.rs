//! The consumer runtime.
//!
//! **Problem.** A partition is a queue in which one slow or poisonous record holds up all others, offsets
//! are committed by position although work completes out of order, and partitions move at any moment.
//!
//! **Promise.** Each record is handled at least once. Records of one key (in one partition) are handled one
//! after the other, in order; other keys go on meanwhile. Records without a key have no order among each
//! other. An offset is committed when its record and all before it are handled or acknowledged by the dead
//! letters' topic; never for a partition that has gone. A record that fails for good, or too often
//! ([`AttemptConfig`]), goes to `<topic>.dlq` with the reason: whole, or with a reference to the record where it is too
//! large to be written whole. A failure whose cause is outside the record, and a dead letter that cannot be written,
//! *hold* the record: its key waits, its offset is not committed, no attempt counts, [`Consumer::holds`] lists it, and
//! it goes on when the cause is gone. Memory is bounded in records and bytes, and so is the distance between a stuck
//! record and the last one handled behind it.
//!
//! **How.** One thread owns the client, polls always and awaits no handler, so a slow handler costs no
//! membership. Records flow into key lanes on the runtime that called [`Consumer::run`]. A tracker per
//! assignment records what is complete. When a partition is revoked, attempts that are under way may end within the
//! drain, complete records are committed, and the rest is left to the next owner; waits between attempts, and holds, end
//! at once.
//!
//! **What breaks it.** AttemptConfig that outlive the drain, and every crash, are handled again elsewhere: handlers
//! must be idempotent. During the hand-over of *lost* partitions (this member was silent for longer than
//! the session) two members may handle one key at the same time, until this one receives the revocation.
//! A topic that is deleted and created anew: its offsets begin again at 0, and neither the client nor the group notices.
//! What was written to the new topic below the group's position is not read. Stop the group and delete its offsets
//! before the topic is created again.

mod assignment;
mod budget;
mod builder;
mod dead_letter;
mod group;
mod poll;
mod standing;
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
use tokio::{runtime::Handle, sync::oneshot, time::timeout};

use self::{
    dead_letter::DeadLetters,
    group::Group,
    poll::{Poll, RecordLanes},
    standing::Standing,
    work::{Control, Record, Shared, work},
};
use crate::KafkaConfig;
use comms_core::{
    Error, Publisher,
    clock::Clock,
    health::{Component, Heartbeat},
    resilience::Backoff,
    transport::{Holds, Processor},
};

pub use builder::ConsumerBuilder;
pub use comms_core::transport::AttemptConfig;
pub use dead_letter::dlq_topic;

/// How long the client may take to commit and to leave its group.
const CLOSE: Duration = Duration::from_secs(10);
/// How long cancelled attempts may take to be dropped.
const CANCEL: Duration = Duration::from_secs(1);

/// A member of a consumer group. See the [module](self) for what it promises.
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
    /// Messages behind, over all partitions held.
    lag: Arc<AtomicU64>,
}

/// The bounds of a consumer.
#[derive(Debug, Clone)]
struct Limits {
    records: usize,
    bytes: usize,
    gap: usize,
    commit_interval: Duration,
    drain: Duration,
}

impl Consumer {
    /// A consumer of the cluster of `config` in `group`: the group shares the partitions of its topics.
    pub fn builder(config: &KafkaConfig, group: impl Into<Arc<str>>) -> ConsumerBuilder {
        ConsumerBuilder::new(config.clone(), group.into())
    }

    /// Reads how many messages this member is behind, over all partitions it holds: for
    /// [`Health::gauge`](comms_core::health::Health::gauge). ShutdownSignal by the client every `statistics.interval.ms`
    /// (5 s; 0 tells nothing).
    pub fn lag(&self) -> impl Fn() -> f64 + Send + Sync + use<> {
        let lag = self.lag.clone();
        // Exact up to 2^53 messages.
        move || lag.load(Ordering::Relaxed) as f64
    }

    /// The deliveries that are being held: by a cause outside the message, or because their dead letter cannot be
    /// written.
    #[must_use]
    pub const fn holds(&self) -> &Holds {
        &self.holds
    }

    /// Consumes until `shutdown` resolves; then stops taking, drains, commits, leaves the group. That takes
    /// at most the drain and 11 s more. Dropping the future ends it without a drain.
    ///
    /// A broker that is away is no error: the consumer waits, unready with the reason ([`ConsumerBuilder::health`]).
    ///
    /// # Errors
    /// Returns `Fatal` if a handler or the client returned it, and `Invalid` or `Misconfigured` for settings that the
    /// client refuses only now: the consumer has stopped in order, and the record is not committed. Returns
    /// `Indeterminate` if the client did not close in time: the client is left behind, and its partitions move when the
    /// session ends.
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
        let letters = DeadLetters::new(dead_letters, backoff, clock.clone(), holds.clone());
        let shared = Shared { letters, control: control.clone() };
        let lanes = Arc::new(lanes(shared));

        let thread = {
            let standing = Standing::new(health.clone(), holds, clock.clone());
            let member = Group::new(group.clone(), routes, limits.drain, clock, standing, lag);
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
            () = in_order => match timeout(limits.drain + CLOSE, &mut ended).await {
                Ok(result) => result,
                Err(_) => Ok(Err(Error::indeterminate(format!("group {group}: the client did not close in time")))),
            },
        };
        if let Some(health) = health {
            health.unready("stopped");
        }
        // All tries have been cancelled: they end as soon as they are polled again.
        let _ = timeout(CANCEL, lanes.drained()).await;
        let result = result.map_err(|_| Error::fatal(format!("group {group}: the poll thread died")))?;
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

/// Runs `work` on a thread of its own: it may block, and may be left behind.
fn spawn(
    group: &str,
    work: impl FnOnce() -> Result<(), Error> + Send + 'static,
) -> Result<oneshot::Receiver<Result<(), Error>>, Error> {
    let (done, ended) = oneshot::channel();
    let body = move || {
        // Nobody listens where `run` was dropped.
        let _ = done.send(work());
    };
    let thread = std::thread::Builder::new().name(format!("kafka-{group}")).spawn(body);
    thread.map_err(|e| Error::fatal(e).context("start the poll thread"))?;
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
