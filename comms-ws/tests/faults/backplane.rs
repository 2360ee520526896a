//! A backplane with faults, around one in memory.

use std::{
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use comms_core::{Error, async_trait, bytes::Bytes, clock::Clock, shutdown::ShutdownSignal};
use comms_ws::backplane::{
    Backplane, History, Memory, Position, Publication, Published, Receiver, Retention,
};
use rand_xoshiro::{
    Xoshiro256PlusPlus,
    rand_core::{Rng, SeedableRng},
};

/// How an access ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Access {
    #[default]
    Works,
    /// It fails at once.
    Fails,
    /// It never ends, not even after the fault.
    Hangs,
}

/// The current faults. Clones of a backplane share them.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Faults {
    /// One of so many deliveries is lost, comes twice, or comes later than others. 0: none.
    pub(crate) loses: u32,
    pub(crate) repeats: u32,
    pub(crate) reorders: u32,
    pub(crate) publish: Access,
    pub(crate) subscribe: Access,
    pub(crate) history: Access,
    pub(crate) presence: Access,
    /// A topic whose presence cannot be reported.
    pub(crate) broken: Option<&'static str>,
    /// A stored publication whose answer is lost.
    pub(crate) loses_answers: u32,
    /// Whether each access waits for a moment.
    pub(crate) is_slow: bool,
}

/// A backplane with faults.
#[derive(Clone)]
pub(crate) struct Faulty(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    held: Arc<Held>,
}

/// The bytes of the messages that were read from the history and are not dropped yet.
#[derive(Default)]
struct Held {
    now: AtomicUsize,
    most: AtomicUsize,
}

/// A message from the history, counted until it is dropped.
struct Counted {
    body: Bytes,
    held: Arc<Held>,
}

impl Counted {
    fn count(body: Bytes, held: &Arc<Held>) -> Bytes {
        let now = held.now.fetch_add(body.len(), Relaxed) + body.len();
        held.most.fetch_max(now, Relaxed);
        Bytes::from_owner(Self { body, held: held.clone() })
    }
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.held.now.fetch_sub(self.body.len(), Relaxed);
    }
}

struct State {
    clock: Clock,
    memory: Memory,
    faults: Faults,
    random: Xoshiro256PlusPlus,
    receivers: Vec<Arc<Unreliable>>,
    /// The topic whose history cannot be read.
    broken: Option<String>,
}

/// Takes the deliveries of the backplane in memory, and passes them to a hub with faults.
struct Unreliable {
    hub: Weak<dyn Receiver>,
    backplane: Weak<Shared>,
    late: Mutex<Vec<(String, Option<Position>, Bytes)>>,
}

impl Faulty {
    pub(crate) fn new(seed: u64) -> Self {
        Self::with_clock(seed, Clock::system())
    }

    pub(crate) fn with_clock(seed: u64, clock: Clock) -> Self {
        let state = State {
            memory: Memory::new(clock.clone()),
            clock,
            faults: Faults::default(),
            random: Xoshiro256PlusPlus::seed_from_u64(seed),
            receivers: Vec::new(),
            broken: None,
        };
        Self(Arc::new(Shared { state: Mutex::new(state), held: Arc::default() }))
    }

    pub(crate) fn set(&self, faults: Faults) {
        self.0.state.lock().unwrap().faults = faults;
    }

    /// Ends the faults, and reports the interruption to the hubs, as a backplane does when its connection is up again.
    pub(crate) fn recover(&self) {
        self.set(Faults::default());
        let receivers = self.0.state.lock().unwrap().receivers.clone();
        for receiver in receivers {
            receiver.pass_late();
            receiver.hub.upgrade().unwrap().interrupted();
        }
    }

    /// Delivers a message at a position that the history does not have, as a program that writes to the server of the
    /// backplane could.
    pub(crate) fn forge(&self, topic: &str, position: Position) {
        for receiver in &self.0.state.lock().unwrap().receivers {
            receiver.hub.upgrade().unwrap().deliver(topic, Some(position), Bytes::from_static(b"{}"));
        }
    }

    /// Sets the topic whose history cannot be read.
    pub(crate) fn break_history(&self, topic: Option<&str>) {
        self.0.state.lock().unwrap().broken = topic.map(str::to_owned);
    }

    /// Returns the bytes of the messages from the history that are held now, and the most that were held at a time.
    pub(crate) fn held(&self) -> (usize, usize) {
        (self.0.held.now.load(Relaxed), self.0.held.most.load(Relaxed))
    }

    /// Loses the whole history. Each topic begins a new epoch.
    pub(crate) fn change_epoch(&self) {
        let mut state = self.0.state.lock().unwrap();
        let memory = Memory::new(state.clock.clone());
        for receiver in &state.receivers {
            let receiver: Weak<dyn Receiver> = Arc::downgrade(&(receiver.clone() as Arc<dyn Receiver>));
            memory.attach(receiver).unwrap();
        }
        state.memory = memory;
    }

    async fn access(&self, kind: impl Fn(&Faults) -> Access) -> Result<Memory, Error> {
        let (memory, access, is_slow, wait) = {
            let mut state = self.0.state.lock().unwrap();
            let wait = Duration::from_micros(state.random.next_u64() % 3_000);
            (state.memory.clone(), kind(&state.faults), state.faults.is_slow, wait)
        };
        if is_slow {
            tokio::time::sleep(wait).await;
        }
        match access {
            Access::Works => Ok(memory),
            Access::Fails => Err(Error::indeterminate("the server of the backplane is away")),
            Access::Hangs => std::future::pending().await,
        }
    }
}

impl Shared {
    fn chance(&self, one_of: impl Fn(&Faults) -> u32) -> bool {
        let mut state = self.state.lock().unwrap();
        let one_of = one_of(&state.faults);
        one_of > 0 && state.random.next_u64().is_multiple_of(u64::from(one_of))
    }
}

impl Receiver for Unreliable {
    fn deliver(&self, topic: &str, position: Option<Position>, body: Bytes) {
        let (Some(hub), Some(backplane)) = (self.hub.upgrade(), self.backplane.upgrade()) else { return };
        if backplane.chance(|faults| faults.loses) {
            return;
        }
        if backplane.chance(|faults| faults.reorders) {
            return self.late.lock().unwrap().push((topic.to_owned(), position, body));
        }
        hub.deliver(topic, position, body.clone());
        if backplane.chance(|faults| faults.repeats) {
            hub.deliver(topic, position, body);
        }
        if backplane.chance(|faults| faults.reorders) {
            self.pass_late();
        }
    }

    fn interrupted(&self) {}
}

impl Unreliable {
    fn pass_late(&self) {
        let Some(hub) = self.hub.upgrade() else { return };
        let late = std::mem::take(&mut *self.late.lock().unwrap());
        for (topic, position, body) in late.into_iter().rev() {
            hub.deliver(&topic, position, body);
        }
    }
}

#[async_trait]
impl Backplane for Faulty {
    fn attach(&self, hub: Weak<dyn Receiver>) -> Result<(), Error> {
        let late = Mutex::default();
        let receiver = Arc::new(Unreliable { hub, backplane: Arc::downgrade(&self.0), late });
        let mut state = self.0.state.lock().unwrap();
        state.memory.attach(Arc::downgrade(&(receiver.clone() as Arc<dyn Receiver>)))?;
        state.receivers.push(receiver);
        Ok(())
    }

    async fn publish(&self, publication: Publication<'_>) -> Result<Published, Error> {
        let published = self.access(|faults| faults.publish).await?.publish(publication).await?;
        match self.0.chance(|faults| faults.loses_answers) {
            true => Err(Error::indeterminate("no answer")),
            false => Ok(published),
        }
    }

    async fn subscribe(&self, topic: &str, retention: Option<Retention>) -> Result<Option<Position>, Error> {
        self.access(|faults| faults.subscribe).await?.subscribe(topic, retention).await
    }

    fn unsubscribe(&self, _topic: &str) {}

    async fn history(
        &self,
        topic: &str,
        retention: Retention,
        since: Position,
        max_bytes: usize,
    ) -> Result<History, Error> {
        let memory = self.access(|faults| faults.history).await?;
        if self.0.state.lock().unwrap().broken.as_deref() == Some(topic) {
            return Err(Error::indeterminate("the history of the topic cannot be read"));
        }
        let mut read = memory.history(topic, retention, since, max_bytes).await?;
        for (_, body) in read.messages.iter_mut().flatten() {
            *body = Counted::count(std::mem::take(body), &self.0.held);
        }
        Ok(read)
    }

    async fn claim(&self, key: &str, lifetime: Duration) -> Result<bool, Error> {
        self.access(|_| Access::Works).await?.claim(key, lifetime).await
    }

    async fn set_present(
        &self,
        topic: &str,
        node: u64,
        principals: &[Arc<str>],
        lifetime: Duration,
    ) -> Result<(), Error> {
        let access = |faults: &Faults| match faults.broken {
            Some(broken) if broken == topic => Access::Fails,
            _ => faults.presence,
        };
        let memory = self.access(access).await?;
        memory.set_present(topic, node, principals, lifetime).await
    }

    async fn present(&self, topic: &str, max: usize) -> Result<Vec<String>, Error> {
        self.access(|faults| faults.presence).await?.present(topic, max).await
    }

    async fn run(&self, _shutdown: ShutdownSignal) {}
}
