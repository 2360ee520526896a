//! The consumer of the broker in memory: a worker for each topic.

use std::{
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll},
};

use futures_core::future::BoxFuture;
use tokio::task::unconstrained;

use super::{ConsumerSetup, MemoryTransport};
use crate::{
    Delivery, Error, Position,
    transport::{
        Budget, DeadLetters, Frontier, Processor, Settled, Settlement, TopicHandler, Worker, WorkerConfig,
    },
};

pub(super) async fn run(
    broker: MemoryTransport,
    consumer: ConsumerSetup,
    mut stop: BoxFuture<'static, ()>,
) -> Result<(), Error> {
    let mut appended = broker.shared.appended.subscribe();
    let mut queues = Queue::all(&broker, &consumer)?;
    loop {
        let poll = poll_fn(|cx| match queues.iter_mut().find_map(|queue| queue.poll(cx)) {
            Some(error) => Poll::Ready(error),
            None => Poll::Pending,
        });
        tokio::select! {
            biased;
            // The workers are dropped, and their attempts with them.
            () = &mut stop => return Ok(()),
            error = unconstrained(poll) => return Err(error),
            changed = appended.changed() => changed.map_err(Error::internal)?,
        }
    }
}

/// One topic with its worker.
struct Queue {
    broker: MemoryTransport,
    group: Arc<str>,
    topic: Arc<str>,
    /// The offset of the next message to deliver.
    next: i64,
    worker: Worker,
    frontier: Frontier,
}

impl Queue {
    fn all(broker: &MemoryTransport, consumer: &ConsumerSetup) -> Result<Vec<Self>, Error> {
        let ConsumerSetup { attempts, clock, holds, .. } = consumer;
        let dead_letters =
            DeadLetters::new(consumer.dead_letter.clone(), attempts.backoff, clock.clone(), holds.clone());
        let policy = consumer.failure_policy.clone();
        let config = WorkerConfig::default()
            .ordering(consumer.ordering)
            .batch(consumer.batch)
            .budget(Budget::new(consumer.budget)?)
            .failure_policy_with(move |error, delivery| policy.decide(error, delivery))
            .dead_letters(dead_letters);
        let queue = |(topic, handler): &(Arc<str>, TopicHandler)| {
            let processor = Processor::new(handler.clone(), attempts.clone(), clock.clone(), "memory");
            Self {
                broker: broker.clone(),
                group: consumer.group.clone(),
                topic: topic.clone(),
                next: broker.position(&consumer.group, topic),
                worker: Worker::new(processor.with_holds(holds.clone()), config.clone()),
                frontier: Frontier::default(),
            }
        };
        Ok(consumer.handlers.iter().map(queue).collect())
    }

    /// Delivers messages until all of them wait. Returns the error that stops the consumer.
    fn poll(&mut self, cx: &mut Context<'_>) -> Option<Error> {
        loop {
            let mut settled = Vec::new();
            while self.worker.has_room() {
                let Some(delivery) = self.next_delivery() else { break };
                let ticket = self.frontier.deliver(self.next);
                self.next += 1;
                settled.extend(self.worker.push(delivery, ticket, cx));
            }
            while let Poll::Ready(Some(one)) = self.worker.poll_settled(cx) {
                settled.push(one);
            }
            if settled.is_empty() {
                return None;
            }
            // All of them are acknowledged, also those that ended beside the one that stops the consumer.
            let mut stopped = None;
            for one in settled {
                stopped = stopped.or(self.settle(one));
            }
            self.worker.flush();
            if stopped.is_some() {
                return stopped;
            }
        }
    }

    fn next_delivery(&self) -> Option<Delivery> {
        let state = self.broker.state();
        let message = state.logs.get(&self.topic)?.get(usize::try_from(self.next).ok()?)?;
        Some(Delivery::new(message.clone(), self.group.clone()).at(Position::at(0, self.next)))
    }

    fn settle(&mut self, Settled { tag, result }: Settled) -> Option<Error> {
        match result {
            Settlement::Done(_) | Settlement::DeadLettered => self.frontier.complete(tag),
            Settlement::Stopped(error) => return Some(error),
            // The position stays before the delivery.
            _ => {}
        }
        if let Some(offset) = self.frontier.offset() {
            let place = (self.group.clone(), self.topic.clone());
            self.broker.state().positions.insert(place, offset);
        }
        None
    }
}

impl MemoryTransport {
    fn position(&self, group: &Arc<str>, topic: &Arc<str>) -> i64 {
        let place = (group.clone(), topic.clone());
        self.state().positions.get(&place).copied().unwrap_or_default()
    }
}
