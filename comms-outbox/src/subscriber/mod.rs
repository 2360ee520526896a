//! A publisher that delivers messages to handlers in this process: consumer groups without a broker.
//!
//! [`Subscriber`] has the promise and its limits.

mod batch;
mod builder;
mod dispatcher;
mod held;
mod open;
mod shared;

use std::{
    collections::VecDeque,
    future::{poll_fn, ready},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use comms_core::{
    Error, Message, Publisher, async_trait,
    transport::{Acks, Holds},
};
use tokio::{
    sync::{
        OwnedSemaphorePermit,
        mpsc::{self, Sender},
    },
    task::unconstrained,
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use batch::{COMMANDS, Command};
pub use builder::SubscriberBuilder;
use dispatcher::Dispatcher;
use shared::Shared;

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
    task: Mutex<Option<DispatcherTask>>,
    batches: AtomicU32,
}

/// The task that runs the handlers. Dropping it cancels them.
struct DispatcherTask {
    commands: Sender<Command>,
    _task: AbortOnDropHandle<()>,
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

impl Subscriber {
    /// Begins the end: no further attempt begins, waits between attempts end, and running attempts are cancelled after
    /// the drain time. Then [`Subscriber::stop_token`] is cancelled.
    pub(crate) fn begin_drain(&self) {
        self.shared.drain.cancel();
    }

    /// Removes the deliveries that are parked as held from the list of holds, because this process does not deliver them
    /// again.
    pub(crate) fn release_holds(&self) {
        self.shared.held.release(&self.shared.holds);
    }

    /// Waits until the subscriber has stopped, and its attempts are cancelled.
    pub(crate) async fn ended(&self) {
        let started = self.task.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        if started {
            self.shared.ended.cancelled().await;
        }
    }

    /// Returns the input of the task that runs the handlers. Starts the task if it does not run: at the first call, or
    /// if the runtime of an earlier call has ended.
    fn commands(&self) -> Sender<Command> {
        let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(task) = task.as_ref().filter(|task| !task.commands.is_closed()) {
            return task.commands.clone();
        }
        let (commands, receiver) = mpsc::channel(COMMANDS * self.shared.capacity as usize);
        let mut dispatcher = Dispatcher::new(self.shared.clone(), receiver, commands.downgrade());
        // A worker polls handlers inline, which would use up the cooperative budget of the task.
        let body = unconstrained(poll_fn(move |cx| dispatcher.poll(cx)));
        let running = AbortOnDropHandle::new(tokio::spawn(body));
        *task = Some(DispatcherTask { commands: commands.clone(), _task: running });
        commands
    }

    /// Takes room for at most `most` messages.
    fn take_room(&self, most: usize) -> Option<OwnedSemaphorePermit> {
        let room = &self.shared.room;
        loop {
            let count = u32::try_from(most.min(room.available_permits())).unwrap_or(u32::MAX);
            if count == 0 {
                return None;
            }
            // The attempt fails if another caller took room in between.
            if let Ok(permit) = room.clone().try_acquire_many_owned(count) {
                return Some(permit);
            }
        }
    }
}

#[async_trait]
impl Publisher for Subscriber {
    fn enqueue(&self, batch: &mut VecDeque<Message>) -> Acks {
        let (Some(room), Ok(slot)) =
            (self.take_room(batch.len()), self.shared.slots.clone().try_acquire_owned())
        else {
            return Box::pin(ready(Vec::new()));
        };
        let messages = batch.drain(..room.num_permits()).collect();
        let id = self.batches.fetch_add(1, Ordering::Relaxed);
        batch::send(id, messages, room, slot, &self.commands())
    }

    async fn ready(&self) -> Result<(), Error> {
        for limit in [&self.shared.slots, &self.shared.room] {
            drop(limit.acquire().await.map_err(Error::fatal)?);
        }
        Ok(())
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
