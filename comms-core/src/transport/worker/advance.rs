//! Goes on with the work that has begun.

use std::task::{Context, Poll};

use tokio::sync::OwnedSemaphorePermit;

use super::{
    Batches, Settled, Settlement, Worker,
    keys::Queued,
    pending::AttemptEnd,
    push::Begun,
    running::{End, Ended},
};

impl Worker {
    /// Returns the next settlement. Resolves to `None` if no delivery is in the worker.
    ///
    /// With a batch handler the call begins a batch of the gathered deliveries if no other batch runs. So call it after
    /// the pushes of a chunk, and not after each push.
    ///
    /// While it is pending, the task is woken when a delivery may be settled, and when there is room again after
    /// [`has_room`](Self::has_room) was `false`.
    pub fn poll_settled(&mut self, cx: &mut Context<'_>) -> Poll<Option<Settled>> {
        self.mark = None;
        let settled = self.advance(cx);
        // The owner may take its time before its next push.
        self.mark = None;
        if settled.is_some() {
            return Poll::Ready(settled);
        }
        self.spare = None;
        if self.ready.is_empty() && !self.batches.as_ref().is_some_and(Batches::waits_for_permit) {
            self.acquire = None;
        }
        if self.is_empty() {
            return Poll::Ready(None);
        }
        let is_woken = self.running.woken_or_wake(cx.waker());
        if is_woken || (!self.share.has_room() && self.share.room_or_wake(cx.waker())) {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// Goes on until a delivery is settled, or all of them wait.
    fn advance(&mut self, cx: &mut Context<'_>) -> Option<Settled> {
        loop {
            if let Some(settled) = self.settled.pop_front() {
                return Some(settled);
            }
            let ended = self.running.poll().map(|ended| self.ended(ended)).is_ready();
            // After each attempt that ends, one may begin, with the same permit.
            let next = self.next_ready(cx);
            let has_begun = next.is_some();
            if let Some((Queued { delivery, place }, permit)) = next
                && let Some(settled) = self.begin(delivery, Begun::Kept(place), permit)
            {
                return Some(settled);
            }
            if !ended && !has_begun && !self.poll_batch(cx) && !self.sweep(cx) {
                return None;
            }
        }
    }

    /// Returns a delivery that may run, with a permit.
    fn next_ready(&mut self, cx: &mut Context<'_>) -> Option<(Queued, OwnedSemaphorePermit)> {
        if self.ready.is_empty() {
            return None;
        }
        let permit = self.permit(cx)?;
        self.ready.pop_front().map(|queued| (queued, permit))
    }

    /// Returns a permit for the next inline poll. If none is free, the task is woken when there is one.
    pub(super) fn permit(&mut self, cx: &mut Context<'_>) -> Option<OwnedSemaphorePermit> {
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
        permit
    }

    /// Keeps the permit of an attempt that has ended for the next one, if no other worker waits for it.
    pub(super) fn spare_permit(&mut self, permit: Option<OwnedSemaphorePermit>) {
        if self.shared.config.budget.has_permit() {
            self.spare = permit;
        }
    }

    fn ended(&mut self, ended: Ended) {
        let Ended { place, end } = ended;
        let (attempt, result, started) = match end {
            End::Settled(settlement) => return self.finish(place, settlement),
            End::Attempt(AttemptEnd { attempt, result, started, permit }) => {
                self.spare_permit(permit);
                (attempt, result, started)
            }
        };
        let processor = &self.shared.processor;
        let result = result.unwrap_or_else(|| Err(processor.expired(&attempt)));
        let now = processor.clock.now();
        let took = now.saturating_duration_since(started);
        self.mark = Some(now);
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
}
