//! A publisher that delivers to handlers in this process: consumer groups without a broker.
//!
//! The problem: a team without a broker yet wants what a broker gives: order by key, retries, a place for
//! what cannot be handled, other keys that flow meanwhile; and the same handlers when the broker comes.
//!
//! The promise: a message is handed to its handler until it succeeds or is hopeless ([`Attempts`]); messages of
//! one (destination, key) one after the other, other keys at the same time; after one that was hopeless, later
//! ones of its key do not run, they are refused too, so that the relay parks them in order. With
//! [`transactional`](comms_core::transactional) each message has its effect once.
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
    Acks, Delivery, Error, Lanes, Message, Processor, Publisher, Receipt, Verdict, async_trait,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio_util::sync::CancellationToken;

use crate::parked::Refusal;
use blocks::{Blocks, Page};
pub use builder::SubscriberBuilder;

type Lane = (Arc<str>, Bytes);

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

    /// Cancels [`Subscriber::stopper`].
    pub fn stop(&self) {
        self.shared.stop.cancel();
    }
}

impl Shared {
    async fn run(self: Arc<Self>, item: Item) {
        let Item { message, lane, page, answer, room } = item;
        let result = self.deliver(message, lane.as_ref(), &page).await;
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
        let Some(route) = self.routes.get(&message.destination) else { return Ok(Receipt::default()) };
        if let Some(reason) = lane.and_then(|(lane, ticket)| self.blocks.refusal(lane, *ticket)) {
            return Err(Error::invalid(Refusal::behind(&reason)));
        }
        route.consumed.increment(1);
        let origin = format!("outbox/{}/{}", message.destination, message.id);
        let delivery = Delivery::new(message, self.group.clone(), origin);
        match route.processor.process(delivery, self.stop.cancelled(), self.stop.cancelled()).await {
            Verdict::Done(_) => Ok(Receipt::default()),
            Verdict::DeadLetter { error, attempts } => {
                let refusal = Refusal::tried(attempts, &error);
                if let Some((lane, _)) = lane {
                    page.block(lane.clone(), &refusal.reason);
                }
                Err(Error::invalid(refusal))
            }
            Verdict::Held { error, attempts } => {
                let refusal = Refusal::held(attempts, &error);
                if let Some((lane, _)) = lane {
                    page.block(lane.clone(), &refusal.reason);
                }
                Err(Error::invalid(refusal))
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

#[async_trait]
impl Publisher for Subscriber {
    fn enqueue(&self, batch: &mut VecDeque<Message>) -> Acks {
        let page = Arc::new(Page::new(self.shared.blocks.clone()));
        let mut answers = Vec::new();
        while !batch.is_empty() {
            let Ok(room) = self.shared.room.clone().try_acquire_owned() else { break };
            let Some(message) = batch.pop_front() else { break };
            let lane = message.key.clone().map(|key| (message.destination.clone(), key));
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
