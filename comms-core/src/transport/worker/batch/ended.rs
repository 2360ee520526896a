//! Takes the results of a batch.

use std::time::Duration;

use super::Held;
use crate::{
    BatchResults, Error,
    handler::BatchAttempt,
    transport::{
        Disposition,
        worker::{
            Settlement, Worker,
            keys::{KeyId, Queued, State},
            pending::AttemptEnd,
        },
    },
};

impl Worker {
    pub(super) fn attempt_of_batch_ended(
        &mut self,
        batch: Vec<Queued>,
        held: Option<Held>,
        ended: AttemptEnd<BatchAttempt>,
    ) {
        let AttemptEnd { attempt, result, started, permit } = ended;
        self.spare_permit(permit);
        let processor = &self.shared.processor;
        let result = result.unwrap_or_else(|| Err(processor.expired(&attempt)));
        let took = processor.clock.now().saturating_duration_since(started);
        // The attempt ends before the next one of the same deliveries may begin.
        drop(attempt);
        self.batch_ended(batch, held, result, took);
    }

    pub(super) fn batch_ended(
        &mut self,
        batch: Vec<Queued>,
        held: Option<Held>,
        result: Result<BatchResults, Error>,
        took: Duration,
    ) {
        if let Some(first) = batch.first() {
            self.meter.attempted_batch(&first.delivery, result.as_ref().err(), took);
        }
        match result {
            Ok(results) => self.each_ended(batch, results),
            Err(error) => self.batch_failed(batch, held, error),
        }
    }

    fn each_ended(&mut self, batch: Vec<Queued>, results: BatchResults) {
        let mut failed = false;
        for (queued, result) in batch.into_iter().zip(results) {
            match result {
                Ok(outcome) => self.settle(queued.place, Settlement::Done(outcome)),
                Err(error) => {
                    failed = true;
                    self.attempt_alone(queued, Some(error));
                }
            }
        }
        if failed {
            self.leave_out_busy();
        }
    }

    fn batch_failed(&mut self, mut batch: Vec<Queued>, held: Option<Held>, error: Error) {
        let single = if batch.len() == 1 { batch.pop() } else { None };
        if let Some(single) = single {
            // No neighbour can have caused the failure.
            drop(held);
            self.attempt_alone(single, Some(error));
            return self.leave_out_busy();
        }
        match error.kind.disposition() {
            _ if self.stopped => {
                batch.into_iter().for_each(|queued| self.settle(queued.place, Settlement::Abandoned));
            }
            Disposition::Stop => self.stop_at(batch, error),
            Disposition::Hold => self.hold_batch(batch, held, &error),
            Disposition::Retry | Disposition::DeadLetter => self.attempt_each_alone(batch, &error),
        }
    }

    fn stop_at(&mut self, batch: Vec<Queued>, error: Error) {
        let mut error = Some(error);
        for queued in batch {
            let result = match error.take() {
                Some(error) => {
                    Settlement::Stopped(error.context(format_args!("at {}", queued.delivery.origin())))
                }
                None => Settlement::Abandoned,
            };
            self.settle(queued.place, result);
        }
        self.stop();
    }

    /// Attempts the whole batch again after a wait, which counts no attempt of a delivery.
    fn hold_batch(&mut self, batch: Vec<Queued>, held: Option<Held>, error: &Error) {
        let Some(first) = batch.first() else { return };
        let processor = &self.shared.processor;
        let (guard, failures) = held.map_or((None, 0), |held| (Some(held.guard), held.failures));
        let failures = failures.saturating_add(1);
        let guard = processor.holds().register(&first.delivery, error, guard);
        let delay = processor.delay(failures, error);
        let goes_on = !processor.is_over(&guard) && !processor.is_elsewhere(&guard, delay);
        match &mut self.batches {
            Some(batches) if goes_on => {
                let timer = Box::pin(processor.clock.sleep(delay));
                batches.wait(batch, Held { guard, failures }, timer);
            }
            // Each delivery is held, and ends its hold, by itself.
            _ => {
                drop(guard);
                self.attempt_each_alone(batch, error);
            }
        }
    }

    /// Attempts each delivery of a failed batch alone, those of one key in their order. The failure is an attempt of
    /// none of them, because a neighbour may have caused it.
    fn attempt_each_alone(&mut self, batch: Vec<Queued>, error: &Error) {
        if let Some(first) = batch.first() {
            tracing::warn!(
                origin = %first.delivery.origin(), group = %first.delivery.group, deliveries = batch.len(),
                error = %error.chain(), "the batch failed, so its deliveries are attempted one by one"
            );
        }
        for mut queued in batch {
            queued.place.is_alone = true;
            self.attempt_alone(queued, None);
        }
        self.leave_out_busy();
    }

    /// Takes a delivery to its settlement alone, after its failure or from the beginning. If an earlier delivery of its
    /// key has failed, it waits behind that one: its own error may be the consequence, and is ignored.
    pub(super) fn attempt_alone(&mut self, queued: Queued, failed: Option<Error>) {
        if let Some(key) = self.keys.find(&queued.delivery.message) {
            return self.wait_behind(key, queued);
        }
        let Queued { delivery, mut place } = queued;
        place.key = self.keys.occupy(&delivery.message);
        self.begin_slow(delivery, place, failed);
    }

    /// Adds a delivery behind one of its key that is attempted alone, or that has blocked the key.
    pub(super) fn wait_behind(&mut self, key: KeyId, mut queued: Queued) {
        match self.keys.state(key) {
            _ if self.stopped => self.settle(queued.place, Settlement::Abandoned),
            State::Blocked(reason) => self.settle(queued.place, Settlement::Behind(reason)),
            State::Busy => {
                queued.place.key = Some(key);
                self.keys.queue(key, queued);
            }
        }
    }

    /// Takes the gathered deliveries of busy keys out of the next batch.
    pub(in crate::transport::worker) fn leave_out_busy(&mut self) {
        let (Some(batches), keys) = (&mut self.batches, &mut self.keys) else { return };
        for queued in batches.take_if(|queued| keys.find(&queued.delivery.message).is_some()) {
            if let Some(key) = self.keys.find(&queued.delivery.message) {
                self.wait_behind(key, queued);
            }
        }
    }

    /// Lets a key continue whose delivery was attempted alone.
    pub(in crate::transport::worker) fn continue_key(&mut self, key: KeyId) {
        let Some(batches) = &mut self.batches else {
            if let Some(next) = self.keys.next(key) {
                self.ready.push_back(next);
            }
            return;
        };
        if let Some(Queued { delivery, place }) = self.keys.next_alone(key) {
            return self.begin_slow(delivery, place, None);
        }
        for mut queued in self.keys.free(key) {
            queued.place.key = None;
            batches.gather(queued);
        }
    }
}
