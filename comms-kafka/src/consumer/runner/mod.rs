//! The runner of one assignment: a task that polls the queue of its partition, and feeds a worker.

mod ages;
mod dead_letter;
mod ended;
mod progress;
mod spawn;

use std::{
    collections::VecDeque,
    future::poll_fn,
    pin::pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use rdkafka::error::KafkaError;

use self::{ages::Ages, ended::EndGuard};
use super::{
    assignment::{Assignment, Phase},
    commits::Commits,
    control::Control,
    finished::Finished,
    health::ConsumerHealth,
};
use crate::{
    error::classify,
    record::{Incoming, Reader},
};
use comms_core::{
    Delivery, Error,
    transport::{Frontier, Settled, Settlement, Worker},
};
pub(super) use dead_letter::DeadLetterSource;
pub(super) use spawn::Runners;

/// The most records that a runner polls, or settles, before it yields.
const CHUNK: usize = 256;
/// The bytes after which a chunk is full.
const CHUNK_BYTES: usize = 256 * 1024;

/// The parts that the runners of a consumer share.
pub(super) struct Shared {
    pub(super) group: Arc<str>,
    pub(super) max_gap: usize,
    pub(super) commits: Arc<Commits>,
    pub(super) control: Arc<Control>,
    pub(super) health: Arc<ConsumerHealth>,
}

/// The runner of one assignment.
///
/// It limits itself only by not polling: if the worker has no room, the records stay in the queue of the client, which
/// stops to fetch.
pub(super) struct Runner {
    worker: Worker,
    shared: Arc<Shared>,
    frontier: Frontier,
    ages: Ages,
    /// Records that a former owner of the partition has finished.
    restored: Finished,
    reader: Reader,
    /// Records of the last chunk that are not pushed yet.
    hand: VecDeque<Incoming>,
    /// The records that were finished since they were last counted.
    finished: u64,
    /// A record was finished since the finished records beyond the frontier were published.
    is_beyond_stale: bool,
    is_stopped: bool,
    /// The last field, so that it is dropped after the worker has cancelled its attempts.
    guard: EndGuard,
}

/// What the runner does after a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// Yields, and goes on at once: there are more records.
    Yield,
    /// Waits until the queue is no longer empty. Its last poll has returned nothing.
    WaitForRecords,
    /// Waits until there is room, the gap closes, or the topic is resumed.
    WaitForRoom,
}

impl Runner {
    pub(super) fn new(worker: Worker, shared: Arc<Shared>, guard: EndGuard) -> Self {
        Self {
            worker,
            shared,
            frontier: Frontier::default(),
            ages: Ages::default(),
            restored: guard.assignment.take_restored(),
            reader: Reader::default(),
            hand: VecDeque::with_capacity(CHUNK),
            finished: 0,
            is_beyond_stale: false,
            is_stopped: false,
            guard,
        }
    }

    /// Runs until the partition is revoked. Run it unconstrained: it yields by itself.
    pub(super) async fn run(mut self) {
        let assignment = self.guard.assignment.clone();
        loop {
            match assignment.phase() {
                Phase::Run => {}
                Phase::Stop => self.stop(),
                Phase::Cut => break,
            }
            let next = poll_fn(|cx| Poll::Ready(self.turn(&assignment, cx))).await;
            if self.is_stopped && self.worker.is_empty() {
                break;
            }
            match next {
                Next::Yield => tokio::task::yield_now().await,
                Next::WaitForRecords | Next::WaitForRoom => self.wait(&assignment, next).await,
            }
        }
        self.publish(&assignment);
        self.publish_beyond(&assignment);
    }

    /// Pushes the records of a chunk into the worker, and takes its settlements.
    fn turn(&mut self, assignment: &Assignment, cx: &mut Context<'_>) -> Next {
        let mut is_exhausted = false;
        if self.hand.is_empty() && self.may_push(assignment) && !assignment.topic.is_paused() {
            assignment.set_idle(false);
            is_exhausted = self.fill(assignment);
        }
        self.push(assignment, cx);
        let mut settled = 0;
        while settled < CHUNK
            && let Poll::Ready(Some(next)) = self.worker.poll_settled(cx)
        {
            self.settle(assignment, next);
            settled += 1;
        }
        self.publish(assignment);
        if settled == CHUNK {
            return Next::Yield;
        }
        let may_push = self.may_push(assignment);
        match (is_exhausted, self.hand.is_empty()) {
            (true, true) => {
                assignment.set_idle(self.worker.is_empty());
                Next::WaitForRecords
            }
            (false, true) if may_push && !assignment.topic.is_paused() => Next::Yield,
            (_, false) if may_push => Next::Yield,
            _ => Next::WaitForRoom,
        }
    }

    /// Polls a chunk of records. Returns whether the queue is empty, or was taken away.
    fn fill(&mut self, assignment: &Assignment) -> bool {
        let mut source = assignment.source();
        let mut bytes = 0;
        while self.hand.len() < CHUNK && bytes < CHUNK_BYTES {
            let incoming = match source.early.pop_front() {
                Some(early) => early,
                None => match source.queue.as_ref().and_then(|queue| queue.poll(Duration::ZERO)) {
                    None => return true,
                    Some(Err(error)) => {
                        self.report(&error);
                        continue;
                    }
                    Some(Ok(record)) => self.reader.read(&record, &assignment.topic.name),
                },
            };
            bytes += incoming.message.memory();
            self.hand.push_back(incoming);
        }
        false
    }

    /// Pushes polled records while there is room.
    fn push(&mut self, assignment: &Assignment, cx: &mut Context<'_>) {
        while !self.hand.is_empty() && self.may_push(assignment) {
            let Some(incoming) = self.hand.pop_front() else { return };
            let position = incoming.position(assignment.partition);
            self.ages.deliver(incoming.offset, incoming.timestamp);
            let tag = self.frontier.deliver(incoming.offset);
            if !self.restored.is_empty() && self.restored.take(incoming.offset) {
                self.complete(assignment, tag);
                continue;
            }
            let delivery = Delivery {
                message: incoming.message,
                group: self.shared.group.clone(),
                handler: assignment.topic.name.clone(),
                position,
                attempt: 1,
            };
            if let Some(settled) = self.worker.push(delivery, tag, cx) {
                self.settle(assignment, settled);
            }
        }
    }

    /// Returns whether another record may be pushed. The phase is read for each record, because a handler may block
    /// during a push, and the partition may be revoked meanwhile.
    fn may_push(&self, assignment: &Assignment) -> bool {
        !self.is_stopped
            && assignment.phase() == Phase::Run
            && self.frontier.backlog() < self.shared.max_gap
            && self.worker.has_room()
    }

    fn settle(&mut self, assignment: &Assignment, settled: Settled) {
        let Settled { tag, result } = settled;
        match result {
            Settlement::Done(_) | Settlement::DeadLettered => self.complete(assignment, tag),
            Settlement::Stopped(error) => {
                self.stop();
                self.shared.control.fail(error);
            }
            // The worker has ended its work because the runtime ends.
            Settlement::Abandoned if !self.is_stopped && assignment.phase() == Phase::Run => {
                self.stop();
                self.fail(assignment, "a record was abandoned");
            }
            Settlement::Abandoned => {}
            // Such a record keeps the frontier back. The builder sets a policy with which that does not happen.
            Settlement::Refused { error, .. } | Settlement::Held { error, .. } => {
                tracing::error!(error = %error.chain(), "a record is not finished, and its key is blocked");
            }
            _ => {}
        }
    }

    fn fail(&self, assignment: &Assignment, what: &str) {
        let Assignment { topic, partition, .. } = assignment;
        self.shared.control.fail(Error::internal(format!("{what} at {}/{partition}", topic.name)));
    }

    /// Begins nothing further. Running attempts may finish.
    fn stop(&mut self) {
        self.is_stopped = true;
        self.worker.stop();
        self.hand.clear();
    }

    /// Waits until a record is settled, or something else has changed.
    async fn wait(&mut self, assignment: &Assignment, next: Next) {
        let mut woken = pin!(assignment.wake.notified());
        poll_fn(|cx| {
            if let Poll::Ready(Some(settled)) = self.worker.poll_settled(cx) {
                self.settle(assignment, settled);
                return Poll::Ready(());
            }
            if next == Next::WaitForRoom && self.may_push(assignment) && !assignment.topic.is_paused() {
                return Poll::Ready(());
            }
            woken.as_mut().poll(cx)
        })
        .await;
    }

    fn report(&self, error: &KafkaError) {
        if let KafkaError::MessageConsumptionFatal(_) = error {
            self.shared.control.fail(classify(error.clone()));
        }
        // The client recovers from most other errors by itself, and has logged them.
        self.shared.health.report_error(error);
    }
}
