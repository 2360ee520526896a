//! A publisher that delivers messages to handlers in this process: consumer groups without a broker.
//!
//! [`Subscriber`] has the promise and its limits.

mod blocked_keys;
mod builder;

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use comms_core::{
    Delivery, Error, ErrorKind, Message, Publisher, async_trait,
    clock::Clock,
    transport::{Acks, Holds, Lanes, Processor, Receipt, Verdict},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio_util::sync::CancellationToken;

use crate::parked::Refusal;
use blocked_keys::{BatchBlocks, BlockedKeys, Lane};
pub use builder::SubscriberBuilder;

/// The time that each held message adds to the pause between two attempts of a held message.
const HOLD_PER_MESSAGE: Duration = Duration::from_millis(5);
/// The longest pause between two attempts of a held message.
const HOLD_LIMIT: Duration = Duration::from_secs(5 * 60);

/// Delivers messages to handlers by topic, as one consumer group.
///
/// Pass it to [`Relay::builder`](crate::Relay::builder) as the publisher. A message to a topic without a handler counts
/// as delivered.
///
/// # The problem
/// A team without a broker needs the delivery of a broker (order by key, retries, a place for messages
/// that cannot be handled, other keys that continue meanwhile), and wants to keep its handlers when it adds a broker.
///
/// # The promise
/// A message is handed to its handler until the handler succeeds, fails for good, or has used up the attempts
/// ([`AttemptConfig`](comms_core::transport::AttemptConfig)). Messages of one (topic, key) are handled one after the
/// other, messages of other keys at the same time. After a message was refused, later messages of its key do not run:
/// they are refused too, so that the relay parks them in order. With [`transactional`](comms_core::transactional) each
/// message has its effect once.
///
/// A failure whose cause lies outside the message (a peer or a guard refuses, a deployment fault) holds the key: no
/// attempt is counted, and other keys continue. After
/// [`AttemptConfig::hold_in_place`](comms_core::transport::AttemptConfig::hold_in_place) the relay parks the key as
/// *held*, so that its cursor moves on, and delivers the message again from time to time until the cause is gone.
///
/// # Limits
/// Effects of a handler outside its transaction may be repeated. The relay's cursor waits for the slowest
/// message in flight, see [`RelayBuilder::in_flight`](crate::RelayBuilder::in_flight).
///
/// # Example
/// ```
/// use comms_core::{Delivery, Outcome, handler_fn};
/// let print = handler_fn(|delivery: Delivery| async move {
///     println!("{}", delivery.origin());
///     Ok(Outcome::Done)
/// });
/// let subscriber = comms_outbox::Subscriber::builder("audit").on("order.placed", print).build()?;
/// assert_eq!(subscriber.topics(), ["order.placed"]);
/// # Ok::<(), comms_core::Error>(())
/// ```
pub struct Subscriber {
    shared: Arc<Shared>,
    lanes: Lanes<Lane, Item>,
}

struct Shared {
    group: Arc<str>,
    routes: HashMap<Arc<str>, Route>,
    blocked_keys: Arc<BlockedKeys>,
    holds: Holds,
    hold_retry: Duration,
    stop: CancellationToken,
    room: Arc<Semaphore>,
    capacity: u32,
    flush_limit: Duration,
    clock: Clock,
}

struct Route {
    processor: Processor,
    consumed: metrics::Counter,
}

/// A message that waits or runs.
struct Item {
    message: Message,
    /// The lane, and the ticket of the message in it; `None` without a key.
    lane: Option<(Lane, u64)>,
    blocks: Arc<BatchBlocks>,
    result_sender: oneshot::Sender<Result<Receipt, Error>>,
    permit: OwnedSemaphorePermit,
}

impl Subscriber {
    /// Returns the topics with a handler, sorted, for [`RelayBuilder::topics`](crate::RelayBuilder::topics).
    #[must_use]
    pub fn topics(&self) -> Vec<String> {
        let mut topics: Vec<_> = self.shared.routes.keys().map(ToString::to_string).collect();
        topics.sort();
        topics
    }

    /// Returns a token that stops the subscriber. Cancel it when the shutdown of the relay begins.
    ///
    /// Cancellation ends running attempts (their transactions roll back) and waits between attempts. The relay gets
    /// `NotExecuted` for the messages that are not handled, and its next session delivers them again.
    #[must_use]
    pub fn stop_token(&self) -> CancellationToken {
        self.shared.stop.clone()
    }

    /// Returns the list of held deliveries. A delivery that is held for longer than
    /// [`AttemptConfig::hold_in_place`](comms_core::transport::AttemptConfig::hold_in_place) is parked as held, and
    /// stays on this list until it is delivered again.
    #[must_use]
    pub fn holds(&self) -> &Holds {
        &self.shared.holds
    }

    /// Cancels [`Subscriber::stop_token`].
    pub fn stop(&self) {
        self.shared.stop.cancel();
    }
}

impl Shared {
    /// Returns how long the relay holds a message before the next attempt. The pause grows with the number of held
    /// messages.
    fn hold_duration(&self, error: &Error) -> Duration {
        let held = u32::try_from(self.holds.len()).unwrap_or(u32::MAX);
        let wait = self.hold_retry.saturating_add(HOLD_PER_MESSAGE.saturating_mul(held));
        error.retry_after.map_or(wait, |least| least.max(wait)).min(HOLD_LIMIT)
    }

    async fn run(self: Arc<Self>, item: Item) {
        let Item { message, lane, blocks, result_sender, permit } = item;
        // The relay has dropped the acknowledgements, so another relay delivers the messages that have not begun.
        let result = match result_sender.is_closed() {
            true => Err(Error::not_executed(
                "the relay dropped the delivery, because it lost its lease or was stopped",
            )),
            false => self.deliver(message, lane.as_ref(), &blocks).await,
        };
        if let Some((lane, _)) = &lane {
            self.blocked_keys.leave(lane);
        }
        // Before the result is sent: once the relay has it, only the acknowledgements keep the blocks.
        drop(blocks);
        drop(permit);
        // The receiver is gone if the relay was dropped.
        let _ = result_sender.send(result);
    }

    async fn deliver(
        &self,
        message: Message,
        lane: Option<&(Lane, u64)>,
        blocks: &BatchBlocks,
    ) -> Result<Receipt, Error> {
        // The topic has no handler: the message counts as delivered, as in a consumer group of a broker.
        let Some(route) = self.routes.get(message.topic()) else { return Ok(Receipt::default()) };
        if let Some(reason) = lane.and_then(|(lane, ticket)| self.blocked_keys.refusal(lane, *ticket)) {
            return Err(Error::invalid(Refusal::behind(&reason)));
        }
        route.consumed.increment(1);
        let delivery = Delivery::new(message, self.group.clone());
        match route.processor.process(delivery, self.stop.cancelled(), self.stop.cancelled()).await {
            Verdict::Done(_) => Ok(Receipt::default()),
            Verdict::DeadLetter { error, attempts } => {
                Err(refuse(Refusal::after_attempts(attempts, &error), lane, blocks))
            }
            Verdict::Held { error, .. } => {
                let hold = Some(self.hold_duration(&error));
                Err(refuse(Refusal { hold, ..Refusal::after_attempts(0, &error) }, lane, blocks))
            }
            Verdict::Abandoned => Err(Error::not_executed("the subscriber is stopping")),
            Verdict::Stop(error) => {
                // The messages behind it must not run either.
                self.stop.cancel();
                Err(error)
            }
        }
    }
}

/// Makes the error for a refused message, and blocks its key: later messages of the key are refused until the relay has
/// parked them behind this one.
fn refuse(refusal: Refusal, lane: Option<&(Lane, u64)>, blocks: &BatchBlocks) -> Error {
    if let Some((lane, _)) = lane {
        blocks.block(lane.clone(), &refusal.reason);
    }
    let kind = refusal.kind.filter(|_| refusal.hold.is_some()).unwrap_or(ErrorKind::Invalid);
    Error::new(kind, refusal)
}

#[async_trait]
impl Publisher for Subscriber {
    fn enqueue(&self, batch: &mut VecDeque<Message>) -> Acks {
        let blocks = Arc::new(BatchBlocks::new(self.shared.blocked_keys.clone()));
        let mut receivers = Vec::new();
        while !batch.is_empty() {
            let Ok(permit) = self.shared.room.clone().try_acquire_owned() else { break };
            let Some(message) = batch.pop_front() else { break };
            let lane = message.key_bytes().map(|key| (message.topic().into(), key));
            let entered = lane.clone().map(|lane| self.shared.blocked_keys.enter(lane));
            let (result_sender, receiver) = oneshot::channel();
            self.lanes
                .push(lane, Item { message, lane: entered, blocks: blocks.clone(), result_sender, permit });
            receivers.push(receiver);
        }
        Box::pin(async move {
            let mut results = Vec::with_capacity(receivers.len());
            for receiver in receivers {
                let lost = |_| Err(Error::not_executed("the delivery ended without a result"));
                results.push(receiver.await.unwrap_or_else(lost));
            }
            // From here on the relay has received which keys were refused.
            drop(blocks);
            results
        })
    }

    async fn ready(&self) -> Result<(), Error> {
        self.shared.room.acquire().await.map(drop).map_err(Error::fatal)
    }

    async fn flush(&self) -> Result<(), Error> {
        let idle = self.shared.room.acquire_many(self.shared.capacity);
        match self.shared.clock.timeout(self.shared.flush_limit, idle).await {
            Ok(idle) => idle.map(drop).map_err(Error::fatal),
            Err(_) => Err(Error::indeterminate(format!(
                "deliveries did not end within the flush limit of {:?}",
                self.shared.flush_limit
            ))),
        }
    }
}

impl std::fmt::Debug for Subscriber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subscriber").field("group", &self.shared.group).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
