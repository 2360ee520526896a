//! The backplane of a single process.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant},
};

use comms_core::{Error, async_trait, bytes::Bytes, clock::Clock, shutdown::ShutdownSignal};

use super::{Backplane, History, Position, Publication, Published, Receiver, Retention};

/// The default of [`Memory::max_bytes`].
const MAX_BYTES: usize = 64 * 1024 * 1024;
/// What a message occupies besides its content and its identity.
const OVERHEAD: usize = 128;

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
    topics: HashMap<Arc<str>, Log>,
    /// The topics in the order of their last publication, with the number of that publication.
    used: VecDeque<(Arc<str>, u64)>,
    uses: u64,
    bytes: usize,
    claims: HashMap<String, Instant>,
    claims_by_age: VecDeque<(Instant, String)>,
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
        Self(Arc::new(Shared { clock, max_bytes: MAX_BYTES, state: Mutex::default() }))
    }

    /// Returns an empty backplane whose history occupies at most `bytes`. Default 64 MiB.
    #[must_use]
    pub fn max_bytes(self, bytes: usize) -> Self {
        Self(Arc::new(Shared { clock: self.0.clock.clone(), max_bytes: bytes, state: Mutex::default() }))
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
            Some(retention) => state.store(topic, id, &body, retention, now, &self.0.clock),
        };
        if let Published::New(position) = published {
            state.receivers.retain(|receiver| {
                receiver.upgrade().inspect(|r| r.deliver(topic, position, body.clone())).is_some()
            });
        }
        state.forget_above(self.0.max_bytes);
        Ok(published)
    }

    async fn subscribe(&self, topic: &str, retention: Option<Retention>) -> Result<Option<Position>, Error> {
        if retention.is_none() {
            return Ok(None);
        }
        let mut state = self.lock();
        let position = state.log(topic, &self.0.clock).top;
        Ok(Some(position))
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
        let log = state.log(topic, &self.0.clock);
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
        clock: &Clock,
    ) -> Published {
        self.uses += 1;
        let uses = self.uses;
        let log = self.log(topic, clock);
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

    /// Returns the log of `topic`. A new log has an epoch of its own, so that positions of a forgotten one do not fit.
    fn log(&mut self, topic: &str, clock: &Clock) -> &mut Log {
        if !self.topics.contains_key(topic) {
            let epoch = u64::from_be_bytes(clock.random());
            let log = Log {
                top: Position { epoch, offset: 0 },
                messages: VecDeque::new(),
                offsets: HashMap::new(),
                bytes: 0,
                last_use: self.uses,
            };
            self.topics.insert(topic.into(), log);
        }
        // The topic was inserted above.
        #[allow(clippy::unwrap_used, reason = "the topic was inserted above")]
        self.topics.get_mut(topic).unwrap()
    }

    /// Forgets the topics that were used longest ago until at most `max_bytes` are kept.
    fn forget_above(&mut self, max_bytes: usize) {
        while self.bytes > max_bytes {
            let Some((topic, uses)) = self.used.pop_front() else { return };
            if self.topics.get(&topic).is_some_and(|log| log.last_use == uses) {
                self.bytes -= self.topics.remove(&topic).map_or(0, |log| log.bytes);
            }
        }
        // Entries of topics that were used again since are skipped here, so that the queue stays in proportion.
        while let Some((topic, uses)) = self.used.front()
            && self.topics.get(topic).is_none_or(|log| log.last_use != *uses)
        {
            self.used.pop_front();
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
