//! A publisher in memory.

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

/// How long [`Publisher::flush`] waits.
const FLUSH_LIMIT: Duration = Duration::from_secs(30);

type Judge = dyn Fn(&Message) -> Result<(), Error> + Send + Sync;

/// A [`Publisher`] that keeps the messages it takes, in order, and fails, waits and delays as configured. Clones share
/// one state.
///
/// A message counts as sent when [`Publisher::enqueue`] returns, so dropped acknowledgements drop no message.
///
/// ```
/// use comms_core::{Error, Message, Publisher, testing::MemoryPublisher};
/// # use comms_core::Headers;
/// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
/// # let message = |key: &'static str| Message { source: "s".into(), id: key.into(), topic: "t".into(),
/// #     key: Some(key.into()), headers: Headers::new(), payload: None };
/// let publisher = MemoryPublisher::new();
/// publisher.judge(|message| match message.key.as_deref() {
///     Some(b"bad") => Err(Error::invalid("no such thing")),
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
    parked: watch::Sender<bool>,
    room: Arc<Semaphore>,
    bound: u32,
}

struct State {
    judge: Arc<Judge>,
    delay: Option<(Duration, Clock)>,
    down: Option<String>,
    messages: Vec<Message>,
}

impl MemoryPublisher {
    /// Takes up to 100,000 messages at a time, and answers at once.
    #[must_use]
    pub fn new() -> Self {
        Self::of(100_000)
    }

    /// Takes up to `bound` messages (at least one) before it has answered for them.
    #[must_use]
    pub fn bounded(bound: u16) -> Self {
        Self::of(u32::from(bound.max(1)))
    }

    fn of(bound: u32) -> Self {
        let state = State { judge: Arc::new(|_| Ok(())), delay: None, down: None, messages: Vec::new() };
        let room = Arc::new(Semaphore::new(bound as usize));
        Self(Arc::new(Shared { state: Mutex::new(state), parked: watch::Sender::new(false), room, bound }))
    }

    /// From now on `judge` says what becomes of a message: an error refuses it.
    pub fn judge(&self, judge: impl Fn(&Message) -> Result<(), Error> + Send + Sync + 'static) {
        self.state().judge = Arc::new(judge);
    }

    /// From now on answers come `delay` later, by `clock`.
    pub fn delay(&self, delay: Duration, clock: Clock) {
        self.state().delay = Some((delay, clock));
    }

    /// From now on no answer comes, until [`MemoryPublisher::release`].
    pub fn park(&self) {
        self.0.parked.send_replace(true);
    }

    /// Gives the answers that are waiting, and those to come.
    pub fn release(&self) {
        self.0.parked.send_replace(false);
    }

    /// From now on it can never take another: `ready` is `Fatal`, and so is every answer.
    pub fn break_down(&self, reason: &str) {
        self.state().down = Some(reason.to_owned());
    }

    /// Everything taken and not refused, in the order it was taken.
    #[must_use]
    pub fn messages(&self) -> Vec<Message> {
        self.state().messages.clone()
    }

    /// The events of type `E` among them.
    ///
    /// # Errors
    /// `Invalid` where one does not decode.
    pub fn events<E: Event + Serialize + DeserializeOwned>(&self) -> Result<Vec<E>, Error> {
        decoded(&self.state().messages)
    }

    /// Messages taken that it has not answered for yet.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.0.bound as usize - self.0.room.available_permits()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn decoded<E: Event + Serialize + DeserializeOwned>(
    messages: &[Message],
) -> Result<Vec<E>, Error> {
    messages.iter().filter(|message| event::is::<E>(message)).map(event::decode).collect()
}

impl State {
    fn take(&mut self, message: Message) -> Result<Receipt, Error> {
        if let Some(reason) = &self.down {
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
        let (mut results, mut places) = (Vec::new(), Vec::new());
        let mut state = self.state();
        while !batch.is_empty() {
            let Ok(place) = self.0.room.clone().try_acquire_owned() else { break };
            let Some(message) = batch.pop_front() else { break };
            results.push(state.take(message));
            places.push(place);
        }
        let (delay, mut parked) = (state.delay.clone(), self.0.parked.subscribe());
        drop(state);
        // On a task of its own: the room comes back also where the acknowledgements are dropped.
        let answer = tokio::spawn(async move {
            if let Some((delay, clock)) = delay {
                clock.sleep(delay).await;
            }
            let _ = parked.wait_for(|parked| !parked).await;
            drop(places);
            results
        });
        Box::pin(async move { answer.await.unwrap_or_default() })
    }

    async fn ready(&self) -> Result<(), Error> {
        if let Some(reason) = &self.state().down {
            return Err(Error::fatal(reason.clone()));
        }
        self.0.room.acquire().await.map(drop).map_err(Error::fatal)
    }

    async fn flush(&self) -> Result<(), Error> {
        // The system clock: the wait must end also while the test's manual clock stands still.
        match Clock::system().timeout(FLUSH_LIMIT, self.0.room.acquire_many(self.0.bound)).await {
            Ok(all) => all.map(drop).map_err(Error::fatal),
            Err(_) => Err(Error::indeterminate(format!("answers took longer than {FLUSH_LIMIT:?}"))),
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
