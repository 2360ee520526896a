//! Begins the attempt of a batch.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::sync::OwnedSemaphorePermit;

use super::{Held, Open, Running, Work};
use crate::{
    Delivery,
    transport::{
        Processor,
        worker::{
            Worker,
            keys::{Place, Queued},
            pending::PendingAttempt,
            task::Task,
        },
    },
};

impl Worker {
    /// Adds a delivery to the next batch, and begins the batch if it is full.
    #[inline]
    pub(in crate::transport::worker) fn gather(
        &mut self,
        delivery: Delivery,
        tag: u64,
        cx: &mut Context<'_>,
    ) {
        let place = Place::new(tag, &delivery.message);
        self.share.add(place.bytes);
        let Some(batches) = &mut self.batches else { return };
        if batches.gather(Queued { delivery, place }) {
            self.poll_batch(cx);
        }
    }

    /// Begins the attempt of a batch and polls it once.
    pub(super) fn begin_batch(
        &mut self,
        batch: Vec<Queued>,
        held: Option<Held>,
        permit: OwnedSemaphorePermit,
        cx: &mut Context<'_>,
    ) {
        let start = self.mark.take().unwrap_or_else(|| self.shared.processor.clock.now());
        let (batch, deliveries) = self.opened(batch);
        let shared = self.shared.clone();
        let Some(handler) = shared.processor.batch_handler().filter(|_| !batch.is_empty()) else {
            // No envelope of the batch could be decoded.
            self.spare = Some(permit);
            return;
        };
        let mut attempt = handler.attempt(deliveries);
        if self.blocks_thread(start)
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let task = Task::spawn(&runtime, shared.processor.clone(), attempt, permit, start);
            return self.run_batch(Running { batch, held, work: Work::Task(task) });
        }
        let polled = Pin::new(&mut attempt).poll(cx);
        let now = shared.processor.clock.now();
        let took = now.saturating_duration_since(start);
        self.handoff.observe(took, now);
        self.mark = Some(now);
        match polled {
            Poll::Ready(result) => {
                drop(attempt);
                self.spare = Some(permit);
                self.batch_ended(batch, held, result, took);
            }
            Poll::Pending => {
                let (limit, clock) = (shared.processor.config.timeout, shared.processor.clock.clone());
                let pending = PendingAttempt::new(attempt, permit, (start, now), limit, clock);
                self.watch(pending.deadline());
                self.run_batch(Running { batch, held, work: Work::Attempt(pending) });
            }
        }
    }

    fn run_batch(&mut self, running: Running) {
        if let Some(batches) = &mut self.batches {
            batches.open.push(Open::Running(running));
        }
    }

    /// Returns the batch without the deliveries whose envelopes cannot be decoded, and what the handler gets of it. Such
    /// a delivery fails alone, and the later ones of its key wait behind it.
    fn opened(&mut self, batch: Vec<Queued>) -> (Vec<Queued>, Vec<Delivery>) {
        let mut deliveries = Vec::with_capacity(batch.len());
        let mut failed = false;
        let batch: Vec<_> = batch
            .into_iter()
            .filter_map(|mut queued| {
                if !std::mem::replace(&mut queued.place.is_counted, true) {
                    self.meter.received(&queued.delivery);
                }
                if failed && let Some(key) = self.keys.find(&queued.delivery.message) {
                    self.wait_behind(key, queued);
                    return None;
                }
                match Processor::opened(&queued.delivery) {
                    Ok(opened) => {
                        deliveries.push(opened);
                        Some(queued)
                    }
                    Err(error) => {
                        failed = true;
                        self.attempt_alone(queued, Some(error));
                        None
                    }
                }
            })
            .collect();
        if failed {
            self.leave_out_busy();
        }
        (batch, deliveries)
    }
}
