//! What a subscriber and its task share, and how a settlement becomes a result for the relay.

use std::{collections::HashMap, sync::Arc, time::Duration};

use comms_core::{
    Error, ErrorKind,
    clock::Clock,
    transport::{Disposition, Holds, Ordering, Processor, Receipt, Settlement, Worker, WorkerConfig},
};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::held::HeldDeliveries;
use crate::parked::Refusal;

/// The time that each held message adds to the pause between two attempts of a held message.
const HOLD_PER_MESSAGE: Duration = Duration::from_millis(5);
/// The longest pause between two attempts of a held message.
const HOLD_LIMIT: Duration = Duration::from_secs(5 * 60);

pub(super) struct Shared {
    pub(super) group: Arc<str>,
    pub(super) routes: HashMap<Arc<str>, Route>,
    /// The processor of each worker.
    pub(super) processors: Vec<Processor>,
    pub(super) config: WorkerConfig,
    pub(super) holds: Holds,
    pub(super) held: HeldDeliveries,
    pub(super) hold_retry: Duration,
    /// Cancels running attempts.
    pub(super) stop: CancellationToken,
    /// Ends the subscriber within the drain time: no further attempt begins.
    pub(super) drain: CancellationToken,
    pub(super) drain_limit: Duration,
    /// Fires when `stop` has taken effect.
    pub(super) ended: CancellationToken,
    pub(super) room: Arc<Semaphore>,
    /// Batches that the relay has not received the results of. There is at least one message in each.
    pub(super) slots: Arc<Semaphore>,
    pub(super) capacity: u32,
    pub(super) flush_limit: Duration,
    pub(super) clock: Clock,
}

/// The handler of a topic.
pub(super) struct Route {
    /// The index of the worker.
    pub(super) worker: usize,
}

impl Shared {
    /// Creates a worker for each topic.
    pub(super) fn workers(&self) -> Vec<Worker> {
        let worker = |processor: &Processor| Worker::new(processor.clone(), self.config.clone());
        self.processors.iter().map(worker).collect()
    }

    /// Returns the result of a settlement for the relay. `first`: the number of the first attempt of this delivery, so
    /// that the relay adds only the attempts that it has not stored. `keyed`: the message has a key.
    pub(super) fn result(&self, settlement: Settlement, first: u32, keyed: bool) -> Result<Receipt, Error> {
        Err(match settlement {
            Settlement::Done(_) | Settlement::DeadLettered => return Ok(Receipt::default()),
            Settlement::Refused { error, attempts } => {
                let counted = attempts.saturating_add(1).saturating_sub(first);
                refuse(Refusal::after_attempts(counted, &error))
            }
            Settlement::Held { error, attempts } => {
                let counted = attempts.saturating_sub(first);
                let hold = Some(self.hold_duration(&error));
                refuse(Refusal { hold, ..Refusal::after_attempts(counted, &error) })
            }
            Settlement::Behind(reason) if keyed && self.config.ordering == Ordering::Key => {
                refuse(Refusal::behind(&reason))
            }
            // Another key, in the order of the topic: the relay delivers the message again after the refused one.
            Settlement::Behind(reason) => {
                Error::not_executed(format!("behind an earlier message of its topic: {reason}"))
            }
            Settlement::Stopped(error) if error.kind.disposition() == Disposition::Stop => error,
            Settlement::Stopped(error) => {
                Error::fatal(error).context("the failure policy stops the consumer")
            }
            _ => Error::not_executed("the delivery was abandoned before it had a result"),
        })
    }

    /// Returns how long the relay holds a message before the next attempt. The pause grows with the number of held
    /// messages.
    fn hold_duration(&self, error: &Error) -> Duration {
        let held = u32::try_from(self.holds.len()).unwrap_or(u32::MAX);
        let wait = self.hold_retry.saturating_add(HOLD_PER_MESSAGE.saturating_mul(held));
        error.retry_after.map_or(wait, |least| least.max(wait)).min(HOLD_LIMIT)
    }
}

/// Makes the error for a refused message. The relay parks or holds the message, and the later ones of its key behind it.
fn refuse(refusal: Refusal) -> Error {
    let kind = refusal.kind.filter(|_| refusal.hold.is_some()).unwrap_or(ErrorKind::Invalid);
    Error::new(kind, refusal)
}
