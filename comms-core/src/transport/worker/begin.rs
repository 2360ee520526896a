//! Begins attempts.

use std::{
    future::Future,
    pin::Pin,
    sync::atomic,
    task::{Context, Poll},
    time::Instant,
};

use tokio::sync::OwnedSemaphorePermit;

use super::{
    Settled, Settlement, Worker,
    keys::Place,
    pending::PendingAttempt,
    push::Begun,
    running::{Running, Slow, Work},
    slow::Shared,
    task::Task,
};
use crate::{Delivery, Error};

impl Worker {
    /// Begins an attempt and polls it once.
    pub(super) fn begin(
        &mut self,
        delivery: Delivery,
        begun: Begun,
        permit: OwnedSemaphorePermit,
    ) -> Option<Settled> {
        let Shared { processor, .. } = &*self.shared;
        let start = self.mark.take().unwrap_or_else(|| processor.clock.now());
        let mut attempt = processor.begin(delivery);
        if self.blocks_thread(start)
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let place = begun.place(self, attempt.delivery());
            let task = Task::spawn(&runtime, self.shared.processor.clone(), attempt, permit, start);
            self.running.insert_new(Running { place, work: Work::Task(task) });
            return None;
        }
        let polled = Pin::new(&mut attempt).poll(&mut Context::from_waker(self.running.next_waker()));
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
            self.running.insert(Running { place, work: Work::Attempt(pending) });
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
    pub(super) fn blocks_thread(&mut self, now: Instant) -> bool {
        let blocks = self.handoff.is_active(now);
        if blocks != self.blocks {
            self.blocks = blocks;
            self.shared.blocks.store(blocks, atomic::Ordering::Relaxed);
        }
        blocks
    }

    /// Hands a delivery to a future that takes it to its settlement: after the failure `failed`, or from the beginning.
    pub(super) fn begin_slow(&mut self, mut delivery: Delivery, place: Place, failed: Option<Error>) {
        // The delivery may wait for long, and must not keep the memory of other messages alive.
        delivery.message = delivery.message.compact();
        if let Some(key) = place.key {
            self.keys.wait_long(key);
        }
        if failed.is_none() && !place.is_counted {
            self.meter.received(&delivery);
        }
        let (shared, stopping) = (self.shared.clone(), self.stopping.subscribe());
        let slow = Slow::new(async move { shared.settle(delivery, failed, stopping).await });
        self.running.insert_new(Running { place, work: Work::Slow(slow) });
    }
}
