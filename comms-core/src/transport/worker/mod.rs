//! Runs the deliveries of one source in the order of their keys.

mod config;
mod handoff;
mod keys;
mod meter;
mod running;
mod settlement;
mod slow;
#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{self, AtomicBool},
    },
    task::{Context, Poll},
    time::Instant,
};

use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::sync::{OwnedSemaphorePermit, watch};

use crate::{
    Delivery, Error, Message, Outcome,
    clock::Sleep,
    transport::{Processor, budget::Share},
};
pub use config::{FailurePolicy, Ordering, WorkerConfig};
use handoff::Handoff;
use keys::{Keys, Place, Queued, State};
use meter::Meter;
use running::{AttemptEnd, End, Ended, PendingAttempt, Running, Slow, Task, Work};
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
    running: FuturesUnordered<Running>,
    /// Deliveries that may run and wait for a permit, or for the next call of `poll_settled`.
    ready: VecDeque<Queued>,
    /// Waits for a permit while `ready` is not empty.
    acquire: Option<BoxFuture<'static, Option<OwnedSemaphorePermit>>>,
    /// A permit for the next inline poll.
    spare: Option<OwnedSemaphorePermit>,
    settled: VecDeque<Settled>,
    /// The timer for the time limits of all pending attempts.
    sweep: Option<Pin<Box<Sleep>>>,
    handoff: Handoff,
    /// The last answer of `handoff`.
    blocks: bool,
    meter: Meter,
    /// The end of the last inline poll, which is the start of the next one of the same chunk.
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
            running: FuturesUnordered::new(),
            ready: VecDeque::new(),
            acquire: None,
            spare: None,
            settled: VecDeque::new(),
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

    /// Takes a delivery, and begins it at once if its key is free. Returns the settlement if the handler finished in its
    /// first poll.
    ///
    /// `tag` identifies the delivery in its [`Settled`]. Call [`poll_settled`](Self::poll_settled) after the pushes of a
    /// chunk: a delivery that did not end is polled there. A worker that was stopped returns
    /// [`Settlement::Abandoned`].
    pub fn push(&mut self, delivery: Delivery, tag: u64, cx: &mut Context<'_>) -> Option<Settled> {
        if self.stopped {
            return Some(Settled { tag, result: Settlement::Abandoned });
        }
        if let Some(key) = self.keys.find(&delivery.message) {
            return self.push_behind(delivery, tag, key);
        }
        // A delivery that was held before goes on with its hold, and is counted in it.
        let is_held = self.shared.is_held(&delivery);
        let permit = match self.ready.is_empty() && !is_held {
            true => self.spare.take().or_else(|| self.shared.config.budget.try_permit()),
            false => None,
        };
        match permit {
            Some(permit) => self.begin(delivery, Begun::New { tag }, permit, cx),
            None => {
                let place = self.keep(&delivery.message, tag);
                match is_held {
                    true => self.begin_slow(delivery, place, None),
                    false => self.ready.push_back(Queued { delivery, place }),
                }
                None
            }
        }
    }

    /// Returns the next settlement. Resolves to `None` if no delivery is in the worker.
    ///
    /// While it is pending, the task is woken when a delivery may be settled, and when there is room again after
    /// [`has_room`](Self::has_room) was `false`.
    pub fn poll_settled(&mut self, cx: &mut Context<'_>) -> Poll<Option<Settled>> {
        self.mark = None;
        if let Some(settled) = self.advance(cx) {
            return Poll::Ready(Some(settled));
        }
        self.spare = None;
        if self.is_empty() {
            return Poll::Ready(None);
        }
        if !self.share.has_room() && self.share.room_or_wake(cx.waker()) {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// Stops the worker: no further attempt begins, and waits between attempts end. Attempts that run may finish.
    ///
    /// Deliveries that did not begin, and those that wait for another attempt, are settled as
    /// [`Settlement::Abandoned`].
    pub fn stop(&mut self) {
        self.stopped = true;
        self.stopping.send_replace(true);
        (self.acquire, self.spare) = (None, None);
        let waiting: Vec<_> = self.ready.drain(..).chain(self.keys.take_queued()).collect();
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
        self.running.len() + self.ready.len() + self.keys.queued() + self.settled.len()
    }

    /// Returns whether no delivery is in the worker.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns whether no delivery runs, waits for a permit, or waits for its next attempt.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.running.is_empty() && self.ready.is_empty()
    }

    #[cold]
    fn push_behind(&mut self, delivery: Delivery, tag: u64, key: keys::KeyId) -> Option<Settled> {
        if let State::Blocked(reason) = self.keys.state(key) {
            return Some(Settled { tag, result: Settlement::Behind(reason) });
        }
        let place = Place { tag, bytes: delivery.message.memory() as u64, key: Some(key) };
        self.share.add(place.bytes);
        self.keys.queue(key, Queued { delivery, place });
        None
    }

    /// Counts a delivery that stays in the worker, and marks its key as busy.
    fn keep(&mut self, message: &Message, tag: u64) -> Place {
        let place = Place { tag, bytes: message.memory() as u64, key: self.keys.occupy(message) };
        self.share.add(place.bytes);
        place
    }

    /// Begins an attempt and polls it once.
    fn begin(
        &mut self,
        delivery: Delivery,
        begun: Begun,
        permit: OwnedSemaphorePermit,
        cx: &mut Context<'_>,
    ) -> Option<Settled> {
        let Shared { processor, .. } = &*self.shared;
        let start = self.mark.take().unwrap_or_else(|| processor.clock.now());
        let mut attempt = processor.begin(delivery);
        if self.blocks_thread(start)
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let place = begun.place(self, attempt.delivery());
            let task = Task::spawn(&runtime, self.shared.processor.clone(), attempt, permit, start);
            self.running.push(Running { place, work: Work::Task(task) });
            return None;
        }
        let polled = Pin::new(&mut attempt).poll(cx);
        let processor = &self.shared.processor;
        let now = processor.clock.now();
        let took = now.saturating_duration_since(start);
        self.handoff.observe(took, now);
        self.mark = Some(now);
        let Poll::Ready(result) = polled else {
            let limit = processor.config.timeout;
            let clock = processor.clock.clone();
            let place = begun.place(self, attempt.delivery());
            let pending = PendingAttempt::new(attempt, permit, (start, now), limit, clock);
            self.watch(pending.deadline());
            self.running.push(Running { place, work: Work::Attempt(pending) });
            return None;
        };
        self.spare = Some(permit);
        self.meter.attempted(attempt.delivery(), &result, took);
        match (result, begun) {
            (Ok(outcome), Begun::New { tag }) => Some(Settled { tag, result: Settlement::Done(outcome) }),
            (Ok(outcome), Begun::Kept(place)) => {
                self.finish(place, Settlement::Done(outcome));
                self.settled.pop_front()
            }
            (Err(error), begun) => {
                let delivery = attempt.delivery().clone();
                let place = begun.place(self, &delivery);
                self.begin_slow(delivery, place, Some(error));
                None
            }
        }
    }

    /// Returns whether the handler blocks its thread, so that attempts get tasks of their own. Attempts after a failure
    /// follow the last answer.
    #[inline]
    fn blocks_thread(&mut self, now: Instant) -> bool {
        let blocks = self.handoff.is_active(now);
        if blocks != self.blocks {
            self.blocks = blocks;
            self.shared.blocks.store(blocks, atomic::Ordering::Relaxed);
        }
        blocks
    }

    /// Hands a delivery to a future that takes it to its settlement: after the failure `failed`, or from the beginning.
    fn begin_slow(&mut self, mut delivery: Delivery, place: Place, failed: Option<Error>) {
        // The delivery may wait for long, and must not keep the memory of other messages alive.
        delivery.message = delivery.message.compact();
        if let Some(key) = place.key {
            self.keys.wait_long(key);
        }
        if failed.is_none() {
            self.meter.received(&delivery);
        }
        let (shared, stopping) = (self.shared.clone(), self.stopping.subscribe());
        let slow = Slow::new(async move { shared.settle(delivery, failed, stopping).await });
        self.running.push(Running { place, work: Work::Slow(slow) });
    }

    /// Goes on until a delivery is settled, or all of them wait.
    fn advance(&mut self, cx: &mut Context<'_>) -> Option<Settled> {
        loop {
            if let Some(settled) = self.settled.pop_front() {
                return Some(settled);
            }
            if let Poll::Ready(Some(ended)) = self.running.poll_next_unpin(cx) {
                self.ended(ended);
                continue;
            }
            if let Some((queued, permit)) = self.next_ready(cx) {
                let Queued { delivery, place } = queued;
                if let Some(settled) = self.begin(delivery, Begun::Kept(place), permit, cx) {
                    return Some(settled);
                }
                continue;
            }
            if !self.sweep(cx) {
                return None;
            }
        }
    }

    /// Returns a delivery that may run, with a permit.
    fn next_ready(&mut self, cx: &mut Context<'_>) -> Option<(Queued, OwnedSemaphorePermit)> {
        if self.ready.is_empty() {
            self.acquire = None;
            return None;
        }
        let budget = &self.shared.config.budget;
        let mut permit = self.spare.take();
        if permit.is_none() && self.acquire.is_none() {
            permit = budget.try_permit();
        }
        if permit.is_none() {
            let acquire = self.acquire.get_or_insert_with(|| Box::pin(budget.permit()));
            if let Poll::Ready(acquired) = acquire.as_mut().poll(cx) {
                self.acquire = None;
                permit = acquired;
            }
        }
        let permit = permit?;
        self.ready.pop_front().map(|queued| (queued, permit))
    }

    fn ended(&mut self, ended: Ended) {
        let Ended { place, end } = ended;
        let (attempt, result, started) = match end {
            End::Settled(settlement) => return self.finish(place, settlement),
            End::Attempt { attempt, result, started } => (attempt, result, started),
        };
        let processor = &self.shared.processor;
        let result: Result<Outcome, Error> = match result {
            AttemptEnd::Result(result) => result,
            AttemptEnd::Expired => Err(processor.expired(&attempt)),
        };
        let took = processor.clock.now().saturating_duration_since(started);
        self.meter.attempted(attempt.delivery(), &result, took);
        match result {
            Ok(outcome) => self.finish(place, Settlement::Done(outcome)),
            Err(error) => {
                let delivery = attempt.delivery().clone();
                // The attempt ends before the next one of the same delivery may begin.
                drop(attempt);
                self.begin_slow(delivery, place, Some(error));
            }
        }
    }

    /// Settles a delivery, and lets its key continue.
    fn finish(&mut self, place: Place, settlement: Settlement) {
        let reason: Option<Arc<str>> = match &settlement {
            Settlement::Refused { error, .. } | Settlement::Held { error, .. } => {
                Some(error.chain().to_string().into())
            }
            _ => None,
        };
        // The later deliveries of the key must not run before this one: it is not acknowledged.
        let stops = matches!(settlement, Settlement::Stopped(_) | Settlement::Abandoned);
        self.settle(place, settlement);
        if stops && !self.stopped {
            self.stop();
        }
        let Some(key) = place.key else { return };
        match reason {
            Some(reason) => {
                for behind in self.keys.block(key, reason.clone()) {
                    self.settle(behind.place, Settlement::Behind(reason.clone()));
                }
            }
            None => self.ready.extend(self.keys.next(key)),
        }
    }

    fn settle(&mut self, place: Place, result: Settlement) {
        self.share.remove(place.bytes);
        self.settled.push_back(Settled { tag: place.tag, result });
    }

    /// Starts the timer of the time limits if it does not run. It runs already if an earlier attempt is pending, whose
    /// deadline is earlier.
    fn watch(&mut self, deadline: Option<Instant>) {
        if self.sweep.is_none()
            && let Some(deadline) = deadline
        {
            self.sweep = Some(Box::pin(self.shared.processor.clock.sleep_until(deadline)));
        }
    }

    /// Ends the attempts whose time limit has passed, when the timer fires. Returns whether it fired.
    fn sweep(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(timer) = &mut self.sweep else { return false };
        if timer.as_mut().poll(cx).is_pending() {
            return false;
        }
        let now = self.shared.processor.clock.now();
        let mut next: Option<Instant> = None;
        for running in &mut self.running {
            if let Work::Attempt(pending) = &mut running.work {
                pending.expire(now);
                next = next.into_iter().chain(pending.deadline()).min();
            }
        }
        self.sweep = None;
        self.watch(next);
        true
    }
}

/// A delivery that begins.
#[derive(Clone, Copy)]
enum Begun {
    /// It comes from the owner, and is not counted yet.
    New { tag: u64 },
    /// It has waited in the worker.
    Kept(Place),
}

impl Begun {
    /// Returns the place of a delivery that stays in the worker.
    fn place(self, worker: &mut Worker, delivery: &Delivery) -> Place {
        match self {
            Self::New { tag } => worker.keep(&delivery.message, tag),
            Self::Kept(place) => place,
        }
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
