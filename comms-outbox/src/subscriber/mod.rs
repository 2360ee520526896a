//! A publisher that delivers to handlers in this process: consumer groups without a broker.
//!
//! The problem: a team without a broker yet wants what a broker gives: order by key, retries, a place for
//! what cannot be handled, other keys that flow meanwhile; and the same handlers when the broker comes.
//!
//! The promise: a message is handed to its handler until it succeeds or is hopeless ([`AttemptConfig`]); messages of
//! one (destination, key) one after the other, other keys at the same time; after one that was hopeless, later
//! ones of its key do not run, they are refused too, so that the relay parks them in order. With
//! [`transactional`](comms_core::transactional) each message has its effect once.
//!
//! A failure that is not the message's fault (a peer or a guard refuses, a deployment fault) holds the key: no attempt
//! is counted, other keys go on. After [`AttemptConfig::hold_in_place`] the relay parks the key as *held*, so that its cursor
//! moves on, and presents the message again from time to time until the cause is gone.
//!
//! What breaks it: what a handler does outside its transaction. The relay's cursor waits for the slowest
//! message in flight; see [`RelayBuilder::in_flight`](crate::RelayBuilder::in_flight).

mod blocks;
mod builder;

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use comms_core::{
    Delivery, Error, ErrorKind, Message, Publisher, async_trait,
    transport::{Acks, Holds, Lanes, Processor, Receipt, Verdict},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio_util::sync::CancellationToken;

use crate::parked::Refusal;
use blocks::{Blocks, Page};
pub use builder::SubscriberBuilder;

type Lane = (Arc<str>, Bytes);

/// What each held message adds to the time between two attempts of a held message.
const HOLD_EACH: Duration = Duration::from_millis(5);
/// The longest time between two attempts.
const HOLD_LIMIT: Duration = Duration::from_secs(5 * 60);

/// Delivers messages to handlers by destination, as one consumer group.
///
/// ```
/// use comms_core::{Delivery, Outcome, handler_fn};
/// let print = handler_fn(|delivery: Delivery| async move {
///     println!("{}", delivery.origin);
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
    blocks: Arc<Blocks>,
    holds: Holds,
    hold_retry: Duration,
    stop: CancellationToken,
    room: Arc<Semaphore>,
    bound: u32,
    flush_limit: Duration,
}

struct Route {
    processor: Processor,
    consumed: metrics::Counter,
}

/// A message in a lane.
struct Item {
    message: Message,
    /// With the ticket that says when it was taken.
    lane: Option<(Lane, u64)>,
    page: Arc<Page>,
    answer: oneshot::Sender<Result<Receipt, Error>>,
    room: OwnedSemaphorePermit,
}

impl Subscriber {
    /// A subscriber of `group`: half of the inbox key of everything it delivers.
    pub fn builder(group: impl Into<Arc<str>>) -> SubscriberBuilder {
        SubscriberBuilder::new(group.into())
    }

    /// What it has handlers for, sorted: for [`RelayBuilder::destinations`](crate::RelayBuilder::destinations).
    #[must_use]
    pub fn topics(&self) -> Vec<String> {
        let mut topics: Vec<_> = self.shared.routes.keys().map(ToString::to_string).collect();
        topics.sort();
        topics
    }

    /// Cancelling this ends waits between tries and running tries (their transactions roll back); what was
    /// taken is answered as not handled, and comes again from the cursor. Cancel it when the relay's
    /// shut-down begins.
    #[must_use]
    pub fn stopper(&self) -> CancellationToken {
        self.shared.stop.clone()
    }

    /// The deliveries that are being held. One that is held for longer than
    /// [`AttemptConfig::hold_in_place`](comms_core::transport::AttemptConfig::hold_in_place) is parked as held, and stays on this list until
    /// it comes again.
    #[must_use]
    pub fn holds(&self) -> &Holds {
        &self.shared.holds
    }

    /// Cancels [`Subscriber::stopper`].
    pub fn stop(&self) {
        self.shared.stop.cancel();
    }
}

impl Shared {
    /// When a held message is attempted again: the more are held, the later.
    fn hold(&self, error: &Error) -> Duration {
        let held = u32::try_from(self.holds.len()).unwrap_or(u32::MAX);
        let wait = self.hold_retry.saturating_add(HOLD_EACH.saturating_mul(held));
        error.retry_after.map_or(wait, |least| least.max(wait)).min(HOLD_LIMIT)
    }

    async fn run(self: Arc<Self>, item: Item) {
        let Item { message, lane, page, answer, room } = item;
        // The relay dropped the acknowledgements: another one delivers what has not begun.
        let result = match answer.is_closed() {
            true => Err(Error::not_executed("the relay has lost its lease")),
            false => self.deliver(message, lane.as_ref(), &page).await,
        };
        if let Some((lane, _)) = &lane {
            self.blocks.leave(lane);
        }
        // Before the answer: once the relay has it, only the acknowledgements hold the page.
        drop(page);
        drop(room);
        // Nobody listens after the relay was dropped.
        let _ = answer.send(result);
    }

    async fn deliver(
        &self,
        message: Message,
        lane: Option<&(Lane, u64)>,
        page: &Page,
    ) -> Result<Receipt, Error> {
        // Not subscribed: nothing to do, as in a consumer group of a broker.
        let Some(route) = self.routes.get(&message.topic) else { return Ok(Receipt::default()) };
        if let Some(reason) = lane.and_then(|(lane, ticket)| self.blocks.refusal(lane, *ticket)) {
            return Err(Error::invalid(Refusal::behind(&reason)));
        }
        route.consumed.increment(1);
        let origin = format!("outbox/{}/{}", message.topic, message.id);
        let delivery = Delivery::new(message, self.group.clone(), origin);
        match route.processor.process(delivery, self.stop.cancelled(), self.stop.cancelled()).await {
            Verdict::Done(_) => Ok(Receipt::default()),
            Verdict::DeadLetter { error, attempts } => {
                Err(refuse(Refusal::tried(attempts, &error), lane, page))
            }
            Verdict::Held { error, .. } => {
                let hold = Some(self.hold(&error));
                Err(refuse(Refusal { hold, ..Refusal::tried(0, &error) }, lane, page))
            }
            Verdict::Abandoned => Err(Error::not_executed("the subscriber is stopping")),
            Verdict::Stop(error) => {
                // What waits behind it must not run either.
                self.stop.cancel();
                Err(error)
            }
        }
    }
}

/// Later messages of the key must not run either: they are refused until the relay has parked them behind this one.
fn refuse(refusal: Refusal, lane: Option<&(Lane, u64)>, page: &Page) -> Error {
    if let Some((lane, _)) = lane {
        page.block(lane.clone(), &refusal.reason);
    }
    let kind = refusal.kind.filter(|_| refusal.hold.is_some()).unwrap_or(ErrorKind::Invalid);
    Error::new(kind, refusal)
}

#[async_trait]
impl Publisher for Subscriber {
    fn enqueue(&self, batch: &mut VecDeque<Message>) -> Acks {
        let page = Arc::new(Page::new(self.shared.blocks.clone()));
        let mut answers = Vec::new();
        while !batch.is_empty() {
            let Ok(room) = self.shared.room.clone().try_acquire_owned() else { break };
            let Some(message) = batch.pop_front() else { break };
            let lane = message.key.clone().map(|key| (message.topic.clone(), key));
            let entered = lane.clone().map(|lane| self.shared.blocks.enter(lane));
            let (answer, answered) = oneshot::channel();
            self.lanes.push(lane, Item { message, lane: entered, page: page.clone(), answer, room });
            answers.push(answered);
        }
        Box::pin(async move {
            let mut results = Vec::with_capacity(answers.len());
            for answered in answers {
                let lost = |_| Err(Error::not_executed("the delivery ended without an answer"));
                results.push(answered.await.unwrap_or_else(lost));
            }
            // The relay knows from here on which keys failed.
            drop(page);
            results
        })
    }

    async fn ready(&self) -> Result<(), Error> {
        self.shared.room.acquire().await.map(drop).map_err(Error::fatal)
    }

    async fn flush(&self) -> Result<(), Error> {
        let all = self.shared.room.acquire_many(self.shared.bound);
        match tokio::time::timeout(self.shared.flush_limit, all).await {
            Ok(all) => all.map(drop).map_err(Error::fatal),
            Err(_) => Err(Error::indeterminate(format!(
                "deliveries took longer than {:?}",
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
