//! Takes the deliveries of the owner.

use std::task::Context;

use super::{
    Settled, Settlement, Worker,
    keys::{KeyId, LONG_QUEUE, Place, Queued, State},
};
use crate::{Delivery, Message};

impl Worker {
    /// Takes a delivery, and begins it at once if its key is free. Returns the settlement if the handler finished in its
    /// first poll.
    ///
    /// With a batch handler the delivery is added to the next batch, and its settlement comes from
    /// [`poll_settled`](Self::poll_settled).
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
        if self.batches.is_some() && !is_held {
            self.gather(delivery, tag, cx);
            return None;
        }
        let permit = match self.ready.is_empty() && !is_held {
            true => self.spare.take().or_else(|| self.shared.config.budget.try_permit()),
            false => None,
        };
        match permit {
            Some(permit) => self.begin(delivery, Begun::New { tag }, permit),
            None => {
                let place = self.keep(&delivery.message, tag);
                match is_held {
                    true => {
                        self.begin_slow(delivery, place, None);
                        self.leave_out_busy();
                    }
                    false => self.push_ready(Queued { delivery, place }),
                }
                None
            }
        }
    }

    fn push_ready(&mut self, mut queued: Queued) {
        if self.ready.len() >= LONG_QUEUE {
            queued.compact();
        }
        self.ready.push_back(queued);
    }

    #[cold]
    fn push_behind(&mut self, delivery: Delivery, tag: u64, key: KeyId) -> Option<Settled> {
        if let State::Blocked(reason) = self.keys.state(key) {
            return Some(Settled { tag, result: Settlement::Behind(reason) });
        }
        let place = Place { key: Some(key), ..Place::new(tag, &delivery.message) };
        self.share.add(place.bytes);
        self.keys.queue(key, Queued { delivery, place });
        None
    }

    /// Counts a delivery that stays in the worker, and marks its key as busy.
    pub(super) fn keep(&mut self, message: &Message, tag: u64) -> Place {
        let place = Place { key: self.keys.occupy(message), ..Place::new(tag, message) };
        self.share.add(place.bytes);
        place
    }
}

/// A delivery that begins.
#[derive(Clone, Copy)]
pub(super) enum Begun {
    /// It comes from the owner, and is not counted yet.
    New { tag: u64 },
    /// It has waited in the worker.
    Kept(Place),
}

impl Begun {
    /// Returns the place of a delivery that stays in the worker.
    pub(super) fn place(self, worker: &mut Worker, delivery: &Delivery) -> Place {
        match self {
            Self::New { tag } => worker.keep(&delivery.message, tag),
            Self::Kept(place) => place,
        }
    }
}
