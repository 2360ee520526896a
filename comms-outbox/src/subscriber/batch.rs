//! A batch of messages on its way to the handlers, and its results on their way back to the relay.

use std::sync::Arc;

use comms_core::{
    Error, Message,
    transport::{Acks, Receipt},
};
use tokio::sync::{
    OwnedSemaphorePermit,
    mpsc::{Sender, WeakSender},
    oneshot,
};

/// The input of the [`Dispatcher`](super::dispatcher::Dispatcher). Each command has the slot of its batch.
pub(super) enum Command {
    Deliver(Batch),
    /// The relay has received, or dropped, the results with which these messages were refused.
    Release {
        generation: u64,
        refused: Vec<Message>,
        _slot: Slot,
    },
    /// The relay has dropped the acknowledgements of this batch without its results.
    Dropped {
        batch: u32,
        _slot: Slot,
    },
}

/// The place of a batch in the channel of commands: a batch sends at most [`COMMANDS`] commands. So the channel has room
/// for each of them, and no command is lost or waits.
pub(super) type Slot = Arc<OwnedSemaphorePermit>;

/// The most commands of one batch.
pub(super) const COMMANDS: usize = 3;

/// Messages of one call of `enqueue`.
pub(super) struct Batch {
    /// Unique among the batches without results.
    pub(super) id: u32,
    pub(super) messages: Vec<Message>,
    pub(super) results: oneshot::Sender<Results>,
    /// The room of its messages, until they have results.
    pub(super) room: OwnedSemaphorePermit,
    pub(super) slot: Slot,
}

/// The results of a batch.
pub(super) struct Results {
    pub(super) results: Vec<Result<Receipt, Error>>,
    /// Dropped when the relay has received the results.
    pub(super) refused: Option<Refused>,
}

/// The refused messages of a batch. Later messages of their keys are refused until this value is dropped.
pub(super) struct Refused {
    pub(super) generation: u64,
    pub(super) messages: Vec<Message>,
    pub(super) slot: Slot,
    pub(super) commands: WeakSender<Command>,
}

impl Drop for Refused {
    fn drop(&mut self) {
        let refused = std::mem::take(&mut self.messages);
        if let Some(commands) = self.commands.upgrade() {
            let _slot = self.slot.clone();
            // The send fails if the subscriber was dropped.
            let _ = commands.try_send(Command::Release { generation: self.generation, refused, _slot });
        }
    }
}

/// A batch whose results the relay has not received yet. Dropping it tells the dispatcher that the relay has given up.
struct Waiting {
    batch: u32,
    slot: Slot,
    commands: WeakSender<Command>,
    received: bool,
}

impl Waiting {
    fn end(mut self) {
        self.received = true;
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if !self.received
            && let Some(commands) = self.commands.upgrade()
        {
            let _ = commands.try_send(Command::Dropped { batch: self.batch, _slot: self.slot.clone() });
        }
    }
}

/// Hands `messages` to the dispatcher, and returns their acknowledgements.
pub(super) fn send(
    id: u32,
    messages: Vec<Message>,
    room: OwnedSemaphorePermit,
    slot: OwnedSemaphorePermit,
    commands: &Sender<Command>,
) -> Acks {
    let (count, slot) = (messages.len(), Arc::new(slot));
    let (results, receiver) = oneshot::channel();
    let waiting = Waiting { batch: id, slot: slot.clone(), commands: commands.downgrade(), received: false };
    // If the dispatcher has ended, the batch is dropped, and the receiver resolves to an error.
    let _ = commands.try_send(Command::Deliver(Batch { id, messages, results, room, slot }));
    Box::pin(async move {
        let received = receiver.await;
        waiting.end();
        match received {
            Ok(Results { results, refused }) => {
                // From here on the relay has received which keys were refused.
                drop(refused);
                results
            }
            Err(_) => {
                let lost = || Error::not_executed("the delivery ended without a result");
                (0..count).map(|_| Err(lost())).collect()
            }
        }
    })
}
