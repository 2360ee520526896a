//! Goes on with the batches.

use std::task::{Context, Poll};

use super::{AttemptEnd, Batches, Current, Held, Running, Waiting};
use crate::{
    handler::BatchAttempt,
    transport::worker::{Settlement, Worker, keys::Queued},
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
    /// Goes on with the current batch, or begins the next one. Returns whether anything happened.
    pub(in crate::transport::worker) fn poll_batch(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(batches) = &mut self.batches else { return false };
        match batches.next(cx) {
            Next::Wait => false,
            Next::Begin => {
                let Some(permit) = self.permit(cx) else { return false };
                let Some((batch, held)) = self.batches.as_mut().map(|batches| batches.begin()) else {
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
        match &mut self.current {
            Current::None if self.gathered.is_empty() => Next::Wait,
            Current::None => Next::Begin,
            Current::Waiting(Waiting { timer, .. }) => {
                if timer.as_mut().is_some_and(|timer| timer.as_mut().poll(cx).is_pending()) {
                    return Next::Wait;
                }
                *timer = None;
                Next::Begin
            }
            Current::Running(running) => {
                let Poll::Ready(ended) = running.poll(cx) else { return Next::Wait };
                match std::mem::replace(&mut self.current, Current::None) {
                    Current::Running(running) => Next::Ended(Box::new(running), ended),
                    _ => Next::Wait,
                }
            }
        }
    }

    /// Takes the batch that begins, with its hold if it is attempted again.
    fn begin(&mut self) -> (Vec<Queued>, Option<Held>) {
        match std::mem::replace(&mut self.current, Current::None) {
            Current::Waiting(waiting) => (waiting.batch, Some(waiting.held)),
            _ => (self.take(), None),
        }
    }
}
