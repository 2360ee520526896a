//! Goes on with the batches.

use std::task::{Context, Poll};

use super::{AttemptEnd, Batches, Held, Open, Running, Waiting};
use crate::{
    handler::BatchAttempt,
    transport::worker::{
        Settlement, Worker,
        keys::{Keys, Queued},
    },
};

/// The next step of a worker with a batch handler.
enum Next {
    /// All batches wait.
    Wait,
    /// A batch may begin as soon as there is a permit.
    Begin,
    /// The attempt of a batch has ended.
    Ended(Box<Running>, Option<AttemptEnd<BatchAttempt>>),
}

impl Worker {
    /// Goes on with the open batches, or begins the next one. Returns whether anything happened.
    pub(in crate::transport::worker) fn poll_batch(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(batches) = &mut self.batches else { return false };
        match batches.next(cx) {
            Next::Wait => false,
            Next::Begin => {
                let Some(permit) = self.permit(cx) else { return false };
                let begun = self.batches.as_mut().and_then(|batches| batches.begin(&self.keys));
                let Some((batch, held)) = begun else {
                    self.spare = Some(permit);
                    return false;
                };
                self.begin_batch(batch, held, permit, cx);
                true
            }
            Next::Ended(running, ended) => {
                match ended {
                    Some(ended) => self.attempt_of_batch_ended(running.batch, running.held, ended),
                    // The runtime shuts down.
                    None => {
                        running
                            .batch
                            .into_iter()
                            .for_each(|queued| self.finish(queued.place, Settlement::Abandoned));
                    }
                }
                true
            }
        }
    }
}

impl Batches {
    fn next(&mut self, cx: &mut Context<'_>) -> Next {
        let mut is_due = false;
        for at in 0..self.open.len() {
            match self.open.get_mut(at) {
                Some(Open::Running(running)) => {
                    let Poll::Ready(ended) = running.poll(cx) else { continue };
                    self.keys_are_busy = false;
                    if let Open::Running(running) = self.open.swap_remove(at) {
                        return Next::Ended(Box::new(running), ended);
                    }
                }
                Some(Open::Waiting(Waiting { timer, .. })) => {
                    if timer.as_mut().is_some_and(|timer| timer.as_mut().poll(cx).is_pending()) {
                        continue;
                    }
                    *timer = None;
                    // The others are polled first: it may wait for their permits.
                    is_due = true;
                }
                None => {}
            }
        }
        if is_due || self.next_may_begin() { Next::Begin } else { Next::Wait }
    }

    /// Takes the batch that begins, with its hold if it is attempted again.
    fn begin(&mut self, keys: &Keys) -> Option<(Vec<Queued>, Option<Held>)> {
        let is_due = |open: &mut Open| matches!(open, Open::Waiting(waiting) if waiting.timer.is_none());
        if let Some(Open::Waiting(waiting)) = self.open.extract_if(.., is_due).next() {
            return Some((waiting.batch, Some(waiting.held)));
        }
        let batch = if self.open.is_empty() { self.take() } else { self.take_beside(keys)? };
        Some((batch, None))
    }
}
