//! Runs the deliveries of one source in the order of their keys.
//!
//! - `push.rs`: takes a delivery. `begin.rs`: polls its first attempt. `batch/`: gathers deliveries for a batch handler.
//! - `advance.rs`: goes on with the work. `finish.rs`: settles a delivery. `sweep.rs`: the time limits.
//! - `keys.rs`: the order. `pending.rs`, `task.rs`: attempts that did not end at once. `futures.rs`, `wakeups.rs`: their
//!   wake-ups. `slow.rs`: deliveries that failed.

mod advance;
mod batch;
mod begin;
mod config;
mod finish;
mod futures;
mod handoff;
mod keys;
mod meter;
mod ordering;
mod pending;
mod push;
mod running;
mod settlement;
mod slow;
mod sweep;
mod task;
#[cfg(test)]
mod tests;
mod wakeups;

use std::{
    collections::VecDeque,
    fmt,
    pin::Pin,
    sync::{Arc, atomic::AtomicBool},
    time::Instant,
};

use futures_util::future::BoxFuture;
use tokio::sync::{OwnedSemaphorePermit, watch};

use crate::{
    clock::Sleep,
    transport::{Processor, budget::Share},
};
pub use batch::BatchConfig;
use batch::Batches;
pub use config::WorkerConfig;
use futures::FutureSet;
use handoff::Handoff;
use keys::{Keys, Queued};
use meter::Meter;
pub use ordering::Ordering;
use running::Running;
pub use settlement::{Settled, Settlement};
use slow::Shared;

/// Runs the deliveries of one source (a partition, a queue, an outbox) in the order of their keys.
///
/// A worker has one owner, lives in one task, and is a state machine without a task of its own. The owner reads records
/// while [`has_room`](Self::has_room), passes each to [`push`](Self::push), and polls
/// [`poll_settled`](Self::poll_settled). Each delivery is settled once, unless the worker is dropped.
///
/// # Order
/// The deliveries of one key run one after the other, in the order of the pushes, each from its first attempt to its
/// settlement. Deliveries of other keys run at the same time, unless two keys have the same 64-bit hash. See
/// [`Ordering`].
///
/// # Batches
/// A worker whose processor has a batch handler ([`Processor::new`] with a [`BoxBatchHandler`](crate::transport::BoxBatchHandler)) gathers the deliveries, and runs one batch at a
/// time with one permit (see [`BatchConfig`]). A batch begins when it is full, or at the next call of `poll_settled`. The deliveries that
/// are pushed meanwhile are in the next batch, and those of a key whose delivery failed wait behind that one, which is
/// attempted again alone. With [`BatchConfig::concurrency`] a full batch runs beside others that have none of its keys:
/// it leaves out the deliveries of their keys, and is looked for in the first deliveries that wait, twice as many as a
/// batch has. If a whole batch fails for a cause outside the messages, it is held and attempted
/// again as a whole, and later batches wait. If it fails for another cause, its deliveries are attempted one by one, and
/// the failure does not count as an attempt of any of them. Within a batch the order is that of the keys, also with
/// [`Ordering::Partition`].
///
/// # Cost
/// `push` polls the handler at once, in the task of the owner. A delivery whose handler succeeds in its first poll costs
/// one allocation and no timer. Run the owner's task in `tokio::task::unconstrained`, with a yield per chunk of records:
/// otherwise the inline polls use up the task's cooperative budget. If a handler blocks its thread (polls of more than a
/// millisecond), the worker runs the next attempts in tasks of their own, for 50 ms at first and for 2 s at most.
///
/// # Limits
/// The [`Budget`](crate::transport::Budget) bounds the running handlers, and the records and bytes of all workers. The
/// owner must stop reading while `has_room` is `false`. An attempt that waits for its next try has no permit.
///
/// # Cancellation
/// Dropping the worker cancels its attempts. An attempt in a task of its own ends at its next await.
///
/// ```
/// use comms_core::{Delivery, Outcome, clock::Clock, handler_fn};
/// use comms_core::transport::{AttemptConfig, BoxHandler, Processor, Settlement, Worker, WorkerConfig};
/// use std::future::poll_fn;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// # let message = comms_core::Message::new(comms_core::MessageParts { topic: "orders", ..Default::default() });
/// let handler = BoxHandler::new(handler_fn(|_: Delivery| async { Ok(Outcome::Done) }));
/// let processor = Processor::new(handler, AttemptConfig::default(), Clock::system(), "kafka");
/// let mut worker = Worker::new(processor, WorkerConfig::default());
/// let delivery = Delivery::new(message, "billing");
/// let settled = poll_fn(|cx| match worker.push(delivery.clone(), 512, cx) {
///     Some(settled) => std::task::Poll::Ready(Some(settled)), // the handler has finished at once
///     None => worker.poll_settled(cx),
/// });
/// let settled = settled.await.unwrap();
/// assert!(matches!((settled.tag, settled.result), (512, Settlement::Done(Outcome::Done))));
/// # }
/// ```
pub struct Worker {
    shared: Arc<Shared>,
    share: Share,
    keys: Keys,
    running: FutureSet<Running>,
    /// Deliveries that may run and wait for a permit, or for the next call of `poll_settled`.
    ready: VecDeque<Queued>,
    /// Waits for a permit while `ready` is not empty.
    acquire: Option<BoxFuture<'static, Option<OwnedSemaphorePermit>>>,
    /// A permit for the next inline poll.
    spare: Option<OwnedSemaphorePermit>,
    settled: VecDeque<Settled>,
    /// The deliveries for a batch handler, if the processor has one.
    batches: Option<Batches>,
    /// The timer for the time limits of all pending attempts.
    sweep: Option<Pin<Box<Sleep>>>,
    handoff: Handoff,
    /// The last answer of `handoff`.
    blocks: bool,
    meter: Meter,
    /// The end of the last attempt, which is the start of the next inline poll of the same chunk.
    mark: Option<Instant>,
    stopping: watch::Sender<bool>,
    stopped: bool,
}

impl Worker {
    /// Creates an empty worker.
    #[must_use]
    pub fn new(processor: Processor, config: WorkerConfig) -> Self {
        Self {
            share: config.budget.share(),
            keys: Keys::new(config.ordering),
            running: FutureSet::new(),
            ready: VecDeque::new(),
            acquire: None,
            spare: None,
            settled: VecDeque::new(),
            batches: processor.batch_handler().map(|_| Batches::new(config.batch)),
            sweep: None,
            handoff: Handoff::default(),
            blocks: false,
            meter: Meter::new(processor.meters.clone()),
            mark: None,
            stopping: watch::Sender::new(false),
            stopped: false,
            shared: Arc::new(Shared { processor, config, blocks: AtomicBool::new(false) }),
        }
    }

    /// Returns whether the owner may push another delivery.
    ///
    /// If it returns `false`, then the task of the next call of [`poll_settled`](Self::poll_settled) is woken when there
    /// is room again. An empty worker has room.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.share.has_room()
    }

    /// Stops the worker: no further attempt begins, and waits between attempts end. Attempts that run may finish.
    ///
    /// Deliveries that did not begin, and those that wait for another attempt, are settled as
    /// [`Settlement::Abandoned`]. Call [`poll_settled`](Self::poll_settled) afterwards: this call wakes no task for them.
    pub fn stop(&mut self) {
        self.stopped = true;
        self.stopping.send_replace(true);
        (self.acquire, self.spare) = (None, None);
        let gathered = self.batches.as_mut().map(Batches::take_waiting).unwrap_or_default();
        let waiting: Vec<_> = self.ready.drain(..).chain(self.keys.take_queued()).chain(gathered).collect();
        for queued in waiting {
            self.settle(queued.place, Settlement::Abandoned);
        }
    }

    /// Makes a key free that a [`Refused`](Settlement::Refused) or [`Held`](Settlement::Held) delivery has blocked.
    ///
    /// A blocked key stays blocked until this call: its deliveries that are in the worker, and those that are pushed
    /// before this call, are settled as [`Settlement::Behind`]. Call it when every delivery that is pushed from now on
    /// may run, because the owner has recorded the refusal. With [`Ordering::Partition`] the arguments do not matter.
    pub fn release(&mut self, topic: &str, key: Option<&[u8]>) {
        self.keys.release(topic, key);
    }

    /// Records the metrics since the last call. Call it once per chunk of records.
    pub fn flush(&mut self) {
        self.mark = None;
        self.meter.flush();
    }

    /// Returns the number of deliveries in the worker: running, waiting, and settled but not returned yet.
    #[must_use]
    pub fn len(&self) -> usize {
        let batches = self.batches.as_ref().map_or(0, Batches::len);
        self.running.len() + self.ready.len() + self.keys.queued() + batches + self.settled.len()
    }

    /// Returns whether no delivery is in the worker.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns whether no delivery runs, waits for a permit, or waits for its next attempt.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let batches = self.batches.as_ref().map_or(0, Batches::len);
        self.running.is_empty() && self.ready.is_empty() && batches == 0
    }
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("len", &self.len())
            .field("stopped", &self.stopped)
            .finish_non_exhaustive()
    }
}
