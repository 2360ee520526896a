//! Batches that were accepted and have deliveries without a result.

use std::collections::HashMap;

use comms_core::{Error, Message, transport::Receipt};
use tokio::sync::{OwnedSemaphorePermit, mpsc::WeakSender, oneshot};

use super::batch::{Batch, Command, Refused, Results, Slot};

/// The open batches of a dispatcher.
#[derive(Default)]
pub(super) struct OpenBatches(HashMap<u32, Open>);

struct Open {
    messages: Vec<Message>,
    results: Vec<Option<Result<Receipt, Error>>>,
    /// The number of messages without a result.
    left: usize,
    refused: Vec<Message>,
    sender: oneshot::Sender<Results>,
    room: OwnedSemaphorePermit,
    slot: Slot,
}

/// Returns the tag of a delivery: its batch and its index in the batch.
pub(super) const fn tag(batch: u32, index: u32) -> u64 {
    (batch as u64) << 32 | index as u64
}

/// Returns the batch and the index of a tag.
const fn place(tag: u64) -> (u32, usize) {
    ((tag >> 32) as u32, (tag & u32::MAX as u64) as usize)
}

impl OpenBatches {
    /// Adds a batch, and returns its messages.
    pub(super) fn open(&mut self, batch: Batch) -> Vec<Message> {
        let Batch { id, messages, results: sender, room, slot } = batch;
        let left = messages.len();
        let results = std::iter::repeat_with(|| None).take(left).collect();
        let open =
            Open { messages: messages.clone(), results, left, refused: Vec::new(), sender, room, slot };
        self.0.insert(id, open);
        messages
    }

    pub(super) fn contains(&self, batch: u32) -> bool {
        self.0.contains_key(&batch)
    }

    /// Returns the message of a delivery without a result.
    pub(super) fn message(&self, tag: u64) -> Option<&Message> {
        let (batch, index) = place(tag);
        self.0.get(&batch)?.messages.get(index)
    }

    /// Records that the message of `tag` was refused, so that its key is blocked.
    pub(super) fn refuse(&mut self, tag: u64) {
        let (batch, index) = place(tag);
        if let Some(open) = self.0.get_mut(&batch) {
            open.refused.extend(open.messages.get(index).cloned());
        }
    }

    /// Records a result. The last one sends the results of the batch.
    pub(super) fn settle(
        &mut self,
        tag: u64,
        result: Result<Receipt, Error>,
        generation: u64,
        commands: &WeakSender<Command>,
    ) {
        let (batch, index) = place(tag);
        let Some(open) = self.0.get_mut(&batch) else { return };
        if let Some(slot @ None) = open.results.get_mut(index) {
            *slot = Some(result);
            open.left -= 1;
        }
        if open.left == 0
            && let Some(open) = self.0.remove(&batch)
        {
            open.send(generation, commands);
        }
    }

    /// Gives every delivery without a result the result that `result` makes, and sends the results of all batches.
    pub(super) fn settle_all(
        &mut self,
        result: impl Fn() -> Error,
        generation: u64,
        commands: &WeakSender<Command>,
    ) {
        for (_, mut open) in self.0.drain() {
            for slot in open.results.iter_mut().filter(|slot| slot.is_none()) {
                *slot = Some(Err(result()));
            }
            open.send(generation, commands);
        }
    }
}

impl Open {
    fn send(self, generation: u64, commands: &WeakSender<Command>) {
        let (slot, commands) = (self.slot, commands.clone());
        let refused = (!self.refused.is_empty()).then(|| Refused {
            generation,
            messages: self.refused,
            slot,
            commands,
        });
        // The room is free before the relay has the results.
        drop(self.room);
        // The send fails if the relay has dropped the acknowledgements.
        let _ = self.sender.send(Results { results: self.results.into_iter().flatten().collect(), refused });
    }
}
