//! The task of a subscriber: owns the workers, feeds them with the batches of the relay, and returns the results.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use comms_core::{
    Delivery, Error, Position,
    clock::Sleep,
    transport::{Receipt, Settled, Settlement, Worker},
};
use tokio::sync::mpsc::{Receiver, WeakSender};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::{
    Shared,
    batch::{Batch, Command},
    open::{OpenBatches, tag},
};

/// Owns the workers of a subscriber, one for each topic.
///
/// A worker blocks a key whose message it refused. It is released when the relay has received the refusal. Commands are
/// processed in order, so a message of the key that the relay handed over before is refused too, and a message that it
/// hands over afterwards is one that it has released, and runs.
pub(super) struct Dispatcher {
    shared: Arc<Shared>,
    commands: Receiver<Command>,
    sender: WeakSender<Command>,
    workers: Vec<Worker>,
    open: OpenBatches,
    /// Counts the sets of workers. A release of an earlier set is ignored.
    generation: u64,
    phase: Phase,
    /// Resolves when running attempts are to be cancelled.
    stop: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Resolves when no further attempt may begin.
    drain: Pin<Box<WaitForCancellationFutureOwned>>,
}

enum Phase {
    Running,
    /// The relay has lost its session. No attempt of it begins, and those that run end within the drain time. Then the
    /// messages of the next session are delivered.
    Fencing(Pin<Box<Sleep>>),
    /// Shutdown was requested. No attempt begins, and those that run end within the drain time.
    Draining(Pin<Box<Sleep>>),
    /// Every attempt is cancelled, and no message is delivered any more.
    Stopped,
}

impl Dispatcher {
    pub(super) fn new(shared: Arc<Shared>, commands: Receiver<Command>, sender: WeakSender<Command>) -> Self {
        Self {
            workers: shared.workers(),
            commands,
            sender,
            open: OpenBatches::default(),
            generation: 0,
            phase: Phase::Running,
            stop: Box::pin(shared.stop.clone().cancelled_owned()),
            drain: Box::pin(shared.drain.clone().cancelled_owned()),
            shared,
        }
    }

    /// Processes one command. Resolves when the subscriber is dropped.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.check_signals(cx);
        self.settle_ended(cx);
        self.end_phase(cx);
        if matches!(self.phase, Phase::Fencing(_)) {
            return Poll::Pending;
        }
        let Poll::Ready(command) = self.commands.poll_recv(cx) else {
            self.workers.iter_mut().for_each(Worker::flush);
            return Poll::Pending;
        };
        let Some(command) = command else { return Poll::Ready(()) };
        match command {
            Command::Deliver(batch) => self.deliver(batch, cx),
            Command::Release { generation, refused, .. } if generation == self.generation => {
                for message in refused {
                    if let Some(worker) = self.worker(message.topic()) {
                        worker.release(message.topic(), message.key());
                    }
                }
            }
            Command::Release { .. } => {}
            Command::Dropped { batch, .. } => self.fence(batch),
        }
        // Other tasks run between two batches.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn check_signals(&mut self, cx: &mut Context<'_>) {
        if matches!(self.phase, Phase::Stopped) {
            return;
        }
        if self.stop.as_mut().poll(cx).is_ready() {
            self.cancel("the subscriber is stopping");
            self.phase = Phase::Stopped;
            self.shared.ended.cancel();
        } else if !matches!(self.phase, Phase::Draining(_)) && self.drain.as_mut().poll(cx).is_ready() {
            self.workers.iter_mut().for_each(Worker::stop);
            self.phase = Phase::Draining(Box::pin(self.shared.clock.sleep(self.shared.drain_limit)));
        }
    }

    /// Ends the attempts of the session whose relay has dropped the acknowledgements of `batch`.
    fn fence(&mut self, batch: u32) {
        if matches!(self.phase, Phase::Running) && self.open.contains(batch) {
            self.workers.iter_mut().for_each(Worker::stop);
            self.phase = Phase::Fencing(Box::pin(self.shared.clock.sleep(self.shared.drain_limit)));
        }
    }

    /// Ends a phase in which attempts may finish, when none is left or the time is over.
    fn end_phase(&mut self, cx: &mut Context<'_>) {
        let limit = match &mut self.phase {
            Phase::Fencing(limit) | Phase::Draining(limit) => limit,
            Phase::Running | Phase::Stopped => return,
        };
        if limit.as_mut().poll(cx).is_pending() && self.workers.iter().any(|worker| !worker.is_empty()) {
            return;
        }
        match self.phase {
            Phase::Fencing(_) => {
                self.cancel("the relay has lost its session");
                self.generation += 1;
                (self.phase, self.workers) = (Phase::Running, self.shared.workers());
            }
            _ => self.shared.stop.cancel(),
        }
    }

    /// Cancels every attempt.
    fn cancel(&mut self, reason: &'static str) {
        self.workers.clear();
        self.open.settle_all(|| Error::not_executed(reason), self.generation, &self.sender);
    }

    fn worker(&mut self, topic: &str) -> Option<&mut Worker> {
        let index = self.shared.routes.get(topic)?.worker;
        self.workers.get_mut(index)
    }

    fn deliver(&mut self, batch: Batch, cx: &mut Context<'_>) {
        if batch.results.is_closed() {
            // The relay has dropped the acknowledgements, so another session delivers these messages.
            return;
        }
        let (id, shared) = (batch.id, self.shared.clone());
        for (index, message) in (0_u32..).zip(self.open.open(batch)) {
            let tag = tag(id, index);
            let Some((topic, route)) = shared.routes.get_key_value(message.topic()) else {
                // The topic has no handler: the message counts as delivered, as in a consumer group of a broker.
                self.settle(tag, Ok(Receipt::default()));
                continue;
            };
            let Some(worker) = self.workers.get_mut(route.worker) else {
                self.settle(tag, Err(Error::not_executed("the subscriber has stopped")));
                continue;
            };
            let (group, handler) = (shared.group.clone(), topic.clone());
            let (position, attempt) = (Position::default(), shared.held.next_attempt(&message));
            let delivery = Delivery { message, group, handler, position, attempt };
            if let Some(settled) = worker.push(delivery, tag, cx) {
                self.ended(settled);
            }
        }
    }

    fn settle_ended(&mut self, cx: &mut Context<'_>) {
        for index in 0..self.workers.len() {
            while let Some(worker) = self.workers.get_mut(index)
                && let Poll::Ready(Some(settled)) = worker.poll_settled(cx)
            {
                self.ended(settled);
            }
        }
    }

    fn ended(&mut self, settled: Settled) {
        let Settled { tag, result } = settled;
        let held = &self.shared.held;
        if matches!(result, Settlement::Done(_)) && held.is_empty() {
            return self.settle(tag, Ok(Receipt::default()));
        }
        let Some(message) = self.open.message(tag).cloned() else { return };
        let first = match &result {
            Settlement::Held { attempts, .. } => held.insert(&message, &self.shared.group, *attempts),
            // It has not begun, or it is still on the list of holds.
            Settlement::Behind(_) | Settlement::Abandoned => None,
            _ => held.remove(&message),
        };
        match &result {
            Settlement::Refused { .. } | Settlement::Held { .. } => self.open.refuse(tag),
            // The messages behind it must not run either.
            Settlement::Stopped(_) => self.shared.stop.cancel(),
            _ => {}
        }
        let result = self.shared.result(result, first.unwrap_or(1), message.key().is_some());
        self.settle(tag, result);
    }

    fn settle(&mut self, tag: u64, result: Result<Receipt, Error>) {
        self.open.settle(tag, result, self.generation, &self.sender);
    }
}
