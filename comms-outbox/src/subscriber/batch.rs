//! A batch of messages on its way to the handlers, and its results on their way back to the relay.

use comms_core::{
    Error, Message,
    transport::{Acks, Receipt},
};
use tokio::sync::{
    OwnedSemaphorePermit,
    mpsc::{UnboundedSender, WeakUnboundedSender},
    oneshot,
};

/// The input of the [`Dispatcher`](super::dispatcher::Dispatcher).
///
/// The channel is bounded by the permits of the batches: each batch has as many as it has messages, and sends at most
/// two further commands after its results.
pub(super) enum Command {
    Deliver(Batch),
    /// The relay has received, or dropped, the results with which these messages were refused.
    Release {
        generation: u64,
        refused: Vec<Message>,
    },
    /// The relay has dropped the acknowledgements of this batch without its results.
    Dropped(u32),
}

/// Messages of one call of `enqueue`.
pub(super) struct Batch {
    /// Unique among the batches without results.
    pub(super) id: u32,
    pub(super) messages: Vec<Message>,
    pub(super) results: oneshot::Sender<Results>,
    pub(super) permit: OwnedSemaphorePermit,
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
    pub(super) commands: WeakUnboundedSender<Command>,
}

impl Drop for Refused {
    fn drop(&mut self) {
        let refused = std::mem::take(&mut self.messages);
        if let Some(commands) = self.commands.upgrade() {
            // The send fails if the subscriber was dropped.
            let _ = commands.send(Command::Release { generation: self.generation, refused });
        }
    }
}

/// A batch whose results the relay has not received yet. Dropping it tells the dispatcher that the relay has given up.
struct Waiting {
    batch: u32,
    commands: WeakUnboundedSender<Command>,
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
            let _ = commands.send(Command::Dropped(self.batch));
        }
    }
}

/// Hands `messages` to the dispatcher, and returns their acknowledgements.
pub(super) fn send(
    id: u32,
    messages: Vec<Message>,
    permit: OwnedSemaphorePermit,
    commands: &UnboundedSender<Command>,
) -> Acks {
    let count = messages.len();
    let (results, receiver) = oneshot::channel();
    let waiting = Waiting { batch: id, commands: commands.downgrade(), received: false };
    // If the dispatcher has ended, the batch is dropped, and the receiver resolves to an error.
    let _ = commands.send(Command::Deliver(Batch { id, messages, results, permit }));
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
