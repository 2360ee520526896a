//! Settles deliveries.

use std::sync::Arc;

use super::{Settled, Settlement, Worker, keys::Place};

impl Worker {
    /// Settles a delivery, and lets its key continue.
    pub(super) fn finish(&mut self, place: Place, settlement: Settlement) {
        let reason: Option<Arc<str>> = match &settlement {
            Settlement::Refused { error, .. } | Settlement::Held { error, .. } => {
                Some(error.chain().to_string().into())
            }
            _ => None,
        };
        // The later deliveries of the key must not run before this one: it is not acknowledged.
        let stops = matches!(settlement, Settlement::Stopped(_) | Settlement::Abandoned);
        self.settle(place, settlement);
        if stops && !self.stopped {
            self.stop();
        }
        let Some(key) = place.key else { return };
        match reason {
            Some(reason) => {
                for behind in self.keys.block(key, reason.clone()) {
                    self.settle(behind.place, Settlement::Behind(reason.clone()));
                }
            }
            None => self.continue_key(key),
        }
    }

    pub(super) fn settle(&mut self, place: Place, result: Settlement) {
        self.share.remove(place.bytes);
        self.settled.push_back(Settled { tag: place.tag, result });
    }
}
