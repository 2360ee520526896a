//! The backplane of a single process.

use std::{
    collections::{HashMap, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant},
};

use comms_core::{Error, async_trait, bytes::Bytes, clock::Clock, shutdown::ShutdownSignal};

use super::{
    Backplane, History, Position, Publication, Published, Receiver, Retention, presence::PresenceTable,
};

/// The default of [`Memory::max_bytes`].
const MAX_BYTES: usize = 64 * 1024 * 1024;
/// What a message occupies besides its content and its identity.
const OVERHEAD: usize = 128;
/// What a topic occupies besides its name and its messages.
const TOPIC_OVERHEAD: usize = 256;

/// A backplane of the hubs of one process, with the history in its memory.
///
/// Several hubs with clones of one `Memory` behave as nodes of one system; tests use this. The history ends with the
/// process: after a restart clients get `recovered: false`.
///
/// The history of all topics together occupies at most [`max_bytes`](Self::max_bytes), by default 64 MiB. Above this
/// the topics that were published to longest ago are forgotten first.
///
/// ```
/// use comms_core::clock::Clock;
/// use comms_ws::backplane::Memory;
///
/// let memory = Memory::new(Clock::system()).max_bytes(16 * 1024 * 1024);
/// ```
#[derive(Clone)]
pub struct Memory(Arc<Shared>);

struct Shared {
    clock: Clock,
    max_bytes: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    receivers: Vec<Weak<dyn Receiver>>,
    /// The topics that were published to.
    topics: HashMap<Arc<str>, Log>,
    /// The epochs of topics without a log are derived from it. A topic that is forgotten changes it, so that positions of a
    /// forgotten log do not fit to the next one.
    seed: u64,
    /// The topics in the order of their last publication, with the number of that publication.
    used: VecDeque<(Arc<str>, u64)>,
    uses: u64,
    bytes: usize,
    claims: HashMap<String, Instant>,
    claims_by_age: VecDeque<(Instant, String)>,
    presence: PresenceTable,
}

/// The history of one topic.
struct Log {
    top: Position,
    messages: VecDeque<Stored>,
    offsets: HashMap<Arc<str>, u64>,
    bytes: usize,
    last_use: u64,
}

struct Stored {
    at: Instant,
    id: Arc<str>,
    body: Bytes,
}

impl Memory {
    /// Creates a backplane without messages. `clock` measures the age of messages.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self::with_max_bytes(clock, MAX_BYTES)
    }

    /// Returns an empty backplane whose history occupies at most `bytes`. Default 64 MiB.
    #[must_use]
    pub fn max_bytes(self, bytes: usize) -> Self {
        Self::with_max_bytes(self.0.clock.clone(), bytes)
    }

    fn with_max_bytes(clock: Clock, max_bytes: usize) -> Self {
        let state = State { seed: u64::from_be_bytes(clock.random()), ..State::default() };
        Self(Arc::new(Shared { clock, max_bytes, state: Mutex::new(state) }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Backplane for Memory {
    fn attach(&self, receiver: Weak<dyn Receiver>) {
        self.lock().receivers.push(receiver);
    }

    async fn publish(&self, publication: Publication<'_>) -> Result<Published, Error> {
        let Publication { topic, id, body, retention } = publication;
        let now = self.0.clock.now();
        // The lock is held during the delivery, so that each topic is delivered in the order of its offsets.
        let mut state = self.lock();
        let published = match retention {
            None => Published::New(None),
            Some(retention) => state.store(topic, id, &body, retention, now),
        };
        if let Published::New(position) = published {
            state.receivers.retain(|receiver| {
                receiver.upgrade().inspect(|r| r.deliver(topic, position, body.clone())).is_some()
            });
        }
        state.forget_above(self.0.max_bytes, &self.0.clock);
        Ok(published)
    }

    async fn subscribe(&self, topic: &str, retention: Option<Retention>) -> Result<Option<Position>, Error> {
        if retention.is_none() {
            return Ok(None);
        }
        Ok(Some(self.lock().top(topic)))
    }

    fn unsubscribe(&self, _topic: &str) {}

    async fn history(
        &self,
        topic: &str,
        retention: Retention,
        since: Position,
        max_bytes: usize,
    ) -> Result<History, Error> {
        let now = self.0.clock.now();
        let mut state = self.lock();
        let top = state.top(topic);
        let Some(log) = state.topics.get_mut(topic) else {
            return Ok(History { top, messages: (since == top).then(Vec::new) });
        };
        let freed = log.trim(retention, now);
        let history = log.after(since, max_bytes);
        state.bytes -= freed;
        Ok(history)
    }

    async fn claim(&self, key: &str, lifetime: Duration) -> Result<bool, Error> {
        let now = self.0.clock.now();
        let mut state = self.lock();
        while let Some((end, _)) = state.claims_by_age.front()
            && *end <= now
        {
            let Some((end, key)) = state.claims_by_age.pop_front() else { break };
            if state.claims.get(&key) == Some(&end) {
                state.claims.remove(&key);
            }
        }
        if state.claims.get(key).is_some_and(|end| *end > now) {
            return Ok(false);
        }
        let end = now + lifetime;
        state.claims.insert(key.to_owned(), end);
        state.claims_by_age.push_back((end, key.to_owned()));
        Ok(true)
    }

    async fn set_present(
        &self,
        topic: &str,
        node: u64,
        principals: &[Arc<str>],
        lifetime: Duration,
    ) -> Result<(), Error> {
        self.lock().presence.set(topic, node, principals, lifetime, self.0.clock.now());
        Ok(())
    }

    async fn present(&self, topic: &str, max: usize) -> Result<Vec<String>, Error> {
        Ok(self.lock().presence.of(topic, max, self.0.clock.now()))
    }

    async fn run(&self, _shutdown: ShutdownSignal) {}
}

impl State {
    fn store(
        &mut self,
        topic: &str,
        id: &str,
        body: &Bytes,
        retention: Retention,
        now: Instant,
    ) -> Published {
        self.uses += 1;
        let uses = self.uses;
        let log = self.log(topic);
        if let Some(offset) = log.offsets.get(id) {
            return Published::Duplicate(Position { offset: *offset, ..log.top });
        }
        log.last_use = uses;
        let added = log.push(id, body, now);
        let freed = log.trim(retention, now);
        let top = log.top;
        self.bytes = self.bytes + added - freed;
        let name = self.topics.get_key_value(topic).map(|(name, _)| name.clone());
        self.used.extend(name.map(|name| (name, uses)));
        Published::New(Some(top))
    }

    /// Returns the position of the last message of `topic`. A topic without messages has no log, so that clients cannot
    /// occupy memory by subscribing.
    fn top(&self, topic: &str) -> Position {
        self.topics.get(topic).map_or_else(|| self.start(topic), |log| log.top)
    }

    /// Returns the position before the first message of a topic without a log.
    fn start(&self, topic: &str) -> Position {
        let mut hasher = DefaultHasher::new();
        (self.seed, topic).hash(&mut hasher);
        Position { epoch: hasher.finish(), offset: 0 }
    }

    /// Returns the log of `topic`, which is created if there is none.
    fn log(&mut self, topic: &str) -> &mut Log {
        if !self.topics.contains_key(topic) {
            let bytes = topic.len() + TOPIC_OVERHEAD;
            let log = Log {
                top: self.start(topic),
                messages: VecDeque::new(),
                offsets: HashMap::new(),
                bytes,
                last_use: self.uses,
            };
            self.bytes += bytes;
            self.topics.insert(topic.into(), log);
        }
        // The topic was inserted above.
        #[allow(clippy::unwrap_used, reason = "the topic was inserted above")]
        self.topics.get_mut(topic).unwrap()
    }

    /// Forgets the topics that were used longest ago until at most `max_bytes` are kept.
    fn forget_above(&mut self, max_bytes: usize, clock: &Clock) {
        while self.bytes > max_bytes {
            let Some((topic, uses)) = self.used.pop_front() else { return };
            if self.topics.get(&topic).is_some_and(|log| log.last_use == uses) {
                self.bytes -= self.topics.remove(&topic).map_or(0, |log| log.bytes);
                self.seed = u64::from_be_bytes(clock.random());
            }
        }
        // Most entries are of topics that were used again since.
        if self.used.len() > 2 * self.topics.len() + 64 {
            let topics = &self.topics;
            self.used.retain(|(topic, uses)| topics.get(topic).is_some_and(|log| log.last_use == *uses));
        }
    }
}

impl Log {
    /// Appends a message. Returns the bytes that it occupies.
    fn push(&mut self, id: &str, body: &Bytes, now: Instant) -> usize {
        self.top.offset += 1;
        let stored = Stored { at: now, id: id.into(), body: body.clone() };
        let bytes = stored.bytes();
        self.offsets.insert(stored.id.clone(), self.top.offset);
        self.messages.push_back(stored);
        self.bytes += bytes;
        bytes
    }

    /// Removes the messages that the retention does not keep. Returns the bytes that they occupied.
    fn trim(&mut self, retention: Retention, now: Instant) -> usize {
        let before = self.bytes;
        while let Some(oldest) = self.messages.front()
            && (self.messages.len() > retention.messages
                || now.saturating_duration_since(oldest.at) > retention.age)
        {
            self.bytes -= oldest.bytes();
            self.offsets.remove(&oldest.id);
            self.messages.pop_front();
        }
        before - self.bytes
    }

    fn after(&self, since: Position, max_bytes: usize) -> History {
        let first = self.top.offset + 1 - self.messages.len() as u64;
        if since.epoch != self.top.epoch || since.offset > self.top.offset || since.offset + 1 < first {
            return History { top: self.top, messages: None };
        }
        let (mut messages, mut bytes) = (Vec::new(), 0);
        let skipped = (since.offset + 1 - first) as usize;
        for (offset, stored) in (since.offset + 1..).zip(self.messages.iter().skip(skipped)) {
            bytes += stored.body.len();
            if bytes > max_bytes && !messages.is_empty() {
                break;
            }
            messages.push((offset, stored.body.clone()));
        }
        History { top: self.top, messages: Some(messages) }
    }
}

impl Stored {
    fn bytes(&self) -> usize {
        self.body.len() + self.id.len() + OVERHEAD
    }
}
