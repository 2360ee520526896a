//! A publisher that stores messages in memory.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::{Semaphore, watch};

use crate::{
    Error, Message, Publisher, async_trait,
    clock::Clock,
    event::{self, Event},
    transport::{Acks, Receipt},
};

/// The time limit of [`Publisher::flush`].
const FLUSH_LIMIT: Duration = Duration::from_secs(30);

type Judge = dyn Fn(&Message) -> Result<(), Error> + Send + Sync;

/// A [`Publisher`] that stores messages in memory, in order. A test configures refusals, delays and failures.
///
/// Clones share one state. A message counts as sent when [`Publisher::enqueue`] returns, so that dropped
/// acknowledgements drop no message.
///
/// ```
/// use comms_core::{Error, Message, MessageParts, Publisher, testing::MemoryPublisher};
/// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
/// # let message = |key: &str| Message::new(MessageParts { topic: "t", key: Some(key.as_bytes()), ..Default::default() });
/// let publisher = MemoryPublisher::new();
/// publisher.judge(|message| match message.key() {
///     Some(b"bad") => Err(Error::invalid("the key is refused")),
///     _ => Ok(()),
/// });
/// let acks = publisher.enqueue(&mut [message("good"), message("bad")].into()).await;
/// assert!(acks[0].is_ok() && acks[1].is_err());
/// assert_eq!(publisher.messages().len(), 1);
/// # });
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct MemoryPublisher(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// Whether acknowledgements wait for [`MemoryPublisher::release`].
    parked: watch::Sender<bool>,
    /// One permit for each message that can be taken.
    permits: Arc<Semaphore>,
    bound: u32,
}

struct State {
    judge: Arc<Judge>,
    delay: Option<(Duration, Clock)>,
    /// The reason of [`MemoryPublisher::break_down`].
    failure: Option<String>,
    messages: Vec<Message>,
}

impl MemoryPublisher {
    /// Creates a publisher that has at most 100,000 messages in flight and acknowledges messages at once.
    #[must_use]
    pub fn new() -> Self {
        Self::with_bound(100_000)
    }

    /// Creates a publisher that has at most `bound` messages in flight (at least one).
    #[must_use]
    pub fn bounded(bound: u16) -> Self {
        Self::with_bound(u32::from(bound.max(1)))
    }

    fn with_bound(bound: u32) -> Self {
        let state = State { judge: Arc::new(|_| Ok(())), delay: None, failure: None, messages: Vec::new() };
        let permits = Arc::new(Semaphore::new(bound as usize));
        Self(Arc::new(Shared { state: Mutex::new(state), parked: watch::Sender::new(false), permits, bound }))
    }

    /// Calls `judge` with each further message: an error refuses the message, and `Ok` accepts it. Default: all
    /// messages are accepted.
    pub fn judge(&self, judge: impl Fn(&Message) -> Result<(), Error> + Send + Sync + 'static) {
        self.state().judge = Arc::new(judge);
    }

    /// Delays the acknowledgements of further messages by `delay`, measured by `clock`. Default: no delay.
    pub fn delay(&self, delay: Duration, clock: Clock) {
        self.state().delay = Some((delay, clock));
    }

    /// Withholds all acknowledgements until [`MemoryPublisher::release`].
    pub fn park(&self) {
        self.0.parked.send_replace(true);
    }

    /// Releases the withheld acknowledgements, and withholds no further ones.
    pub fn release(&self) {
        self.0.parked.send_replace(false);
    }

    /// Puts the publisher into a failed state for good: `ready` and every further message fail with
    /// [`Fatal`](crate::ErrorKind::Fatal) and `reason`.
    pub fn break_down(&self, reason: &str) {
        self.state().failure = Some(reason.to_owned());
    }

    /// Returns the messages that were taken and not refused, in the order in which they were taken.
    #[must_use]
    pub fn messages(&self) -> Vec<Message> {
        self.state().messages.clone()
    }

    /// Returns the events of type `E` among [`MemoryPublisher::messages`].
    ///
    /// # Errors
    /// Returns [`Invalid`](crate::ErrorKind::Invalid) if a message of this type cannot be decoded.
    pub fn events<E: Event + Serialize + DeserializeOwned>(&self) -> Result<Vec<E>, Error> {
        decode_all(&self.state().messages)
    }

    /// Returns the number of messages that were taken and are neither acknowledged nor refused yet.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.0.bound as usize - self.0.permits.available_permits()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Decodes the messages of type `E`, and skips all others.
pub(super) fn decode_all<E: Event + Serialize + DeserializeOwned>(
    messages: &[Message],
) -> Result<Vec<E>, Error> {
    messages.iter().filter(|message| event::is::<E>(message)).map(event::decode).collect()
}

impl State {
    fn take(&mut self, message: Message) -> Result<Receipt, Error> {
        if let Some(reason) = &self.failure {
            return Err(Error::fatal(reason.clone()));
        }
        (self.judge)(&message)?;
        let offset = i64::try_from(self.messages.len()).unwrap_or(i64::MAX);
        self.messages.push(message);
        Ok(Receipt::at(0, offset))
    }
}

#[async_trait]
impl Publisher for MemoryPublisher {
    fn enqueue(&self, batch: &mut VecDeque<Message>) -> Acks {
        let (mut results, mut permits) = (Vec::new(), Vec::new());
        let mut state = self.state();
        while !batch.is_empty() {
            let Ok(permit) = self.0.permits.clone().try_acquire_owned() else { break };
            let Some(message) = batch.pop_front() else { break };
            results.push(state.take(message));
            permits.push(permit);
        }
        let (delay, mut parked) = (state.delay.clone(), self.0.parked.subscribe());
        drop(state);
        // A spawned task releases the permits even if the acknowledgements are dropped.
        let acknowledged = tokio::spawn(async move {
            if let Some((delay, clock)) = delay {
                clock.sleep(delay).await;
            }
            let _ = parked.wait_for(|parked| !parked).await;
            drop(permits);
            results
        });
        Box::pin(async move { acknowledged.await.unwrap_or_default() })
    }

    async fn ready(&self) -> Result<(), Error> {
        if let Some(reason) = &self.state().failure {
            return Err(Error::fatal(reason.clone()));
        }
        self.0.permits.acquire().await.map(drop).map_err(Error::fatal)
    }

    async fn flush(&self) -> Result<(), Error> {
        // The system clock: the wait must end also while the test's manual clock stands still.
        match Clock::system().timeout(FLUSH_LIMIT, self.0.permits.acquire_many(self.0.bound)).await {
            Ok(all) => all.map(drop).map_err(Error::fatal),
            Err(_) => Err(Error::indeterminate(format!(
                "flush: messages are still in flight after {FLUSH_LIMIT:?}"
            ))),
        }
    }
}

impl Default for MemoryPublisher {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryPublisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryPublisher").field("in_flight", &self.in_flight()).finish_non_exhaustive()
    }
}
