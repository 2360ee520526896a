//! The settings of a relay, checked when it is made.

use std::{
    sync::{Arc, Mutex, atomic::AtomicBool},
    time::Duration,
};

use comms_core::{Error, Publisher, clock::Clock, health, resilience::Backoff};

use super::{Relay, Settings, Start, metrics::Metrics, store::Store};
use crate::Wake;

/// Makes a [`Relay`]. Every setting has a default.
#[must_use]
pub struct RelayBuilder {
    store: Arc<dyn Store>,
    publisher: Arc<dyn Publisher>,
    name: String,
    topics: Option<Vec<String>>,
    owner: Option<String>,
    lease: Duration,
    page: u32,
    page_bytes: usize,
    in_flight: usize,
    in_flight_bytes: usize,
    idle: Duration,
    drain: Duration,
    start: Start,
    parked_limit: usize,
    wake: Wake,
    clock: Clock,
    health: Option<health::Component>,
    heartbeat: Option<health::Heartbeat>,
}

impl RelayBuilder {
    pub(super) fn new(store: Arc<dyn Store>, publisher: Arc<dyn Publisher>) -> Self {
        Self {
            store,
            publisher,
            name: "default".to_owned(),
            topics: None,
            owner: None,
            lease: Duration::from_secs(5),
            page: 500,
            page_bytes: 8 * 1024 * 1024,
            in_flight: 10_000,
            in_flight_bytes: 64 * 1024 * 1024,
            idle: Duration::from_millis(50),
            drain: Duration::from_secs(10),
            start: Start::Oldest,
            parked_limit: 0,
            wake: Wake::new(),
            clock: Clock::system(),
            health: None,
            heartbeat: None,
        }
    }

    /// The name of its cursor: `kafka`, or a consumer group. Relays of one name take turns, relays of
    /// different names each carry everything. A new name begins at the oldest row there is. Default `default`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Only messages to these destinations. Default all.
    ///
    /// The cursor remembers the destinations that it stands for. One that is added begins where
    /// [`start`](Self::start) says; rows for one that the cursor stands for and no process names any more wait, and are
    /// reported, until a process names it again or `Tables::cover_only` gives it up.
    pub fn destinations<T: Into<String>>(mut self, topics: impl IntoIterator<Item = T>) -> Self {
        self.topics = Some(topics.into_iter().map(Into::into).collect());
        self
    }

    /// Where a destination begins that this relay did not stand for before: a new relay's too. Default
    /// [`Start::Oldest`].
    pub fn start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// The owner of the lease. The same owner takes the lease again at once, so the name must be unique among running
    /// processes, and may be stable over restarts (the pod name of a stateful set). Default: a random one, so that a
    /// process that was killed waits out its own lease.
    pub fn owner(mut self, owner: impl Into<String>) -> Self {
        self.owner = Some(owner.into());
        self
    }

    /// How long a dead relay keeps others waiting. Renewed at a third of it. Default 5 s, least 300 ms.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// The most rows of one read. Default 500.
    pub fn page(mut self, rows: u32) -> Self {
        self.page = rows;
        self
    }

    /// The most bytes of one read: key, headers, payload and names; one row more where a single one is larger.
    /// Default 8 MiB.
    pub fn page_bytes(mut self, bytes: usize) -> Self {
        self.page_bytes = bytes;
        self
    }

    /// The most parked or held keys beside which the relay is ready; with more of them it is degraded. Default 0.
    pub fn parked_limit(mut self, keys: usize) -> Self {
        self.parked_limit = keys;
        self
    }

    /// Rows with the publisher and not yet acknowledged, beyond which nothing more is read (a page may
    /// stand over). A key that is retried for minutes holds the cursor, not the other keys, until so many
    /// rows have been read behind it. Default 10,000.
    pub fn in_flight(mut self, rows: usize) -> Self {
        self.in_flight = rows;
        self
    }

    /// The same in bytes. Default 64 MiB.
    pub fn in_flight_bytes(mut self, bytes: usize) -> Self {
        self.in_flight_bytes = bytes;
        self
    }

    /// The longest sleep between two looks at an outbox where nothing happens. Default 50 ms.
    pub fn idle(mut self, idle: Duration) -> Self {
        self.idle = idle;
        self
    }

    /// How long a shut-down, or a recovery, waits for acknowledgements. Default 10 s.
    pub fn drain(mut self, limit: Duration) -> Self {
        self.drain = limit;
        self
    }

    /// The bell that commits of this process ring.
    pub fn wake(mut self, wake: Wake) -> Self {
        self.wake = wake;
        self
    }

    /// The clock of lease, backoff and lag. Default the system's.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Ready while the database answers, also while another relay has the lease. Degraded while a destination or more
    /// than [`parked_limit`](Self::parked_limit) keys are held or parked, with the reason.
    pub fn health(mut self, health: health::Component) -> Self {
        self.health = Some(health);
        self
    }

    /// Beaten at each turn of the loop, also while database or carrier are away. A turn may hold a lease's wait, the
    /// drain, and several calls to a database that takes 10 s for each: let the heartbeat's limit be minutes.
    pub fn heartbeat(mut self, heartbeat: health::Heartbeat) -> Self {
        self.heartbeat = Some(heartbeat);
        self
    }

    /// The relay.
    ///
    /// # Errors
    /// `Invalid` for a setting that makes no sense, with what would.
    pub fn build(self) -> Result<Relay, Error> {
        let refuse = |wrong: bool, text: &str| if wrong { Err(Error::invalid(text)) } else { Ok(()) };
        let owner = self.owner.unwrap_or_else(|| self.clock.uuid_v7().to_string());
        refuse(self.name.is_empty() || self.name.len() > 200, "a relay's name has 1 to 200 bytes")?;
        refuse(owner.is_empty() || owner.len() > 200, "a relay's owner has 1 to 200 bytes")?;
        refuse(
            self.topics.as_ref().is_some_and(Vec::is_empty),
            "a relay without a destination carries nothing",
        )?;
        refuse(self.lease < Duration::from_millis(300), "a relay's lease is at least 300 ms")?;
        refuse(self.lease > Duration::from_secs(3600), "a relay's lease is at most an hour")?;
        refuse(!(1..=10_000).contains(&self.page), "a relay's page has 1 to 10,000 rows")?;
        refuse(
            self.in_flight == 0 || self.in_flight_bytes == 0 || self.page_bytes == 0,
            "a relay with nothing in flight carries nothing",
        )?;
        refuse(self.idle.is_zero(), "a relay that never sleeps burns a core: idle is at least 1 ms")?;
        let backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5))?;
        Ok(Relay {
            metrics: Metrics::new(&self.name),
            works: AtomicBool::new(true),
            behind: Mutex::new(None),
            settings: Settings {
                name: self.name.into(),
                topics: self.topics.map(Into::into),
                owner,
                lease: self.lease,
                page: self.page,
                page_bytes: self.page_bytes,
                start: self.start,
                parked_limit: self.parked_limit,
                in_flight: self.in_flight,
                in_flight_bytes: self.in_flight_bytes,
                idle: self.idle,
                drain: self.drain,
            },
            store: self.store,
            publisher: self.publisher,
            wake: self.wake,
            clock: self.clock,
            health: self.health,
            heartbeat: self.heartbeat,
            backoff,
        })
    }
}
