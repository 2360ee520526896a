//! The backplane of a single process: `topics.rs` has the histories within their limit, `log.rs` the history of one topic,
//! `claims.rs` the claims, `presence.rs` the principals that are present in topics.

mod claims;
mod log;
mod presence;
mod topics;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use comms_core::{Error, async_trait, clock::Clock, shutdown::ShutdownSignal};

use super::{Backplane, History, Position, Publication, Published, Receiver, Retention};
use claims::Claims;
use presence::PresenceTable;
use topics::Topics;

/// The default of [`Memory::max_bytes`].
const MAX_BYTES: usize = 64 * 1024 * 1024;

/// A backplane of the hubs of one process, with the history in its memory.
///
/// Several hubs with clones of one `Memory` behave as nodes of one system; tests use this. The history ends with the
/// process: after a restart clients get `recovered: false`.
///
/// The history of all topics together occupies at most [`max_bytes`](Self::max_bytes), by default 64 MiB. Above this
/// the topics that were published to longest ago lose their messages first: a client that has every message goes on, and
/// others get `recovered: false`. At most an eighth of the memory is used for such topics; more are forgotten, and their
/// clients get a frame `missed` with the next message.
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
    state: Mutex<State>,
}

struct State {
    receivers: Vec<Weak<dyn Receiver>>,
    topics: Topics,
    claims: Claims,
    presence: PresenceTable,
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
        let topics = Topics::new(max_bytes, u64::from_be_bytes(clock.random()));
        let (claims, presence) = Default::default();
        let state = State { receivers: Vec::new(), topics, claims, presence };
        Self(Arc::new(Shared { clock, state: Mutex::new(state) }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Backplane for Memory {
    fn attach(&self, receiver: Weak<dyn Receiver>) -> Result<(), Error> {
        self.lock().receivers.push(receiver);
        Ok(())
    }

    async fn publish(&self, publication: Publication<'_>) -> Result<Published, Error> {
        let Publication { topic, id, body, retention } = publication;
        let now = self.0.clock.now();
        // The lock is held during the delivery, so that each topic is delivered in the order of its offsets.
        let mut state = self.lock();
        let published = match retention {
            None => Published::New(None),
            Some(retention) => state.topics.store(topic, id, &body, retention, now),
        };
        if let Published::New(position) = published {
            state.receivers.retain(|receiver| {
                receiver.upgrade().inspect(|r| r.deliver(topic, position, body.clone())).is_some()
            });
        }
        Ok(published)
    }

    async fn subscribe(&self, topic: &str, retention: Option<Retention>) -> Result<Option<Position>, Error> {
        if retention.is_none() {
            return Ok(None);
        }
        Ok(Some(self.lock().topics.top(topic)))
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
        Ok(self.lock().topics.history(topic, retention, since, max_bytes, now))
    }

    async fn claim(&self, key: &str, lifetime: Duration) -> Result<bool, Error> {
        let now = self.0.clock.now();
        Ok(self.lock().claims.claim(key, now, lifetime))
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
