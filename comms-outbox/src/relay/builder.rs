//! The settings of a relay.

use std::{
    sync::{Arc, Mutex, atomic::AtomicBool},
    time::Duration,
};

use comms_core::{Error, Publisher, clock::Clock, health, resilience::Backoff, transport::Holds};

use super::{
    context::{RelayContext, Settings},
    metrics::Metrics,
    run::Relay,
    start::Start,
    store::{CURSOR_OF_PROJECTION, Store},
};
use crate::CommitSignal;

/// Builder of a [`Relay`]. Every setting has a default.
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
    poll_interval: Duration,
    drain: Duration,
    start: Start,
    parked_limit: usize,
    commit_signal: CommitSignal,
    clock: Clock,
    health: Option<health::Component>,
    heartbeat: Option<health::Heartbeat>,
    holds: Option<Holds>,
    on_standby: Option<Box<dyn Fn() + Send + Sync>>,
}

impl Relay {
    /// Returns a builder of a relay from `store` (`postgres::RelayStore` or `sqlite::RelayStore`) to `publisher`.
    pub fn builder(store: impl Store, publisher: Arc<dyn Publisher>) -> RelayBuilder {
        Self::of(Arc::new(store), publisher)
    }

    /// Returns a builder of a relay from `store` to `publisher`.
    pub(crate) fn of(store: Arc<dyn Store>, publisher: Arc<dyn Publisher>) -> RelayBuilder {
        RelayBuilder {
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
            poll_interval: Duration::from_millis(50),
            drain: Duration::from_secs(10),
            start: Start::Oldest,
            parked_limit: 0,
            commit_signal: CommitSignal::new(),
            clock: Clock::system(),
            health: None,
            heartbeat: None,
            holds: None,
            on_standby: None,
        }
    }
}

impl RelayBuilder {
    /// Sets the name of the relay and of its cursor, for example `kafka` or the name of a consumer group. Default
    /// `default`.
    ///
    /// Relays with the same name share one cursor, and one of them runs at a time. Relays with different names each
    /// publish every message. A new name begins at the row that [`start`](Self::start) selects.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Publishes only messages to these topics. Default: all topics.
    ///
    /// The cursor stores the topics that it covers. A topic that is added begins at the row that [`start`](Self::start)
    /// selects. If no running process names a topic that the cursor covers, its rows wait and readiness is degraded,
    /// until a process names the topic again or `Tables::cover_only` removes it from the cursor.
    pub fn topics<T: Into<String>>(mut self, topics: impl IntoIterator<Item = T>) -> Self {
        self.topics = Some(topics.into_iter().map(Into::into).collect());
        self
    }

    /// Sets where the relay begins to read a topic that its cursor did not cover before; for a new relay, every topic.
    /// Default [`Start::Oldest`].
    pub fn start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// Sets the owner of the lease. Default: a random name.
    ///
    /// The same owner takes the lease again at once, so the name must be unique among running processes. It may be
    /// stable over restarts (the pod name of a stateful set). With the default, the successor of a process that was
    /// killed waits until the lease has expired.
    pub fn owner(mut self, owner: impl Into<String>) -> Self {
        self.owner = Some(owner.into());
        self
    }

    /// Sets the length of the lease: how long other relays wait after this one has crashed. The relay renews the lease
    /// after a third of it. Default 5 s, 300 ms to 1 h.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// Sets the most rows of one read. Default 500, at most 10,000.
    pub fn page(mut self, rows: u32) -> Self {
        self.page = rows;
        self
    }

    /// Sets how many bytes one read returns before it ends, counted over key, headers, payload, source, id and topic. The
    /// last row of a read may exceed the limit. Default 8 MiB.
    pub fn page_bytes(mut self, bytes: usize) -> Self {
        self.page_bytes = bytes;
        self
    }

    /// Sets how many keys may be parked or held before the relay reports itself as degraded. Default 0.
    pub fn parked_limit(mut self, keys: usize) -> Self {
        self.parked_limit = keys;
        self
    }

    /// Sets how many rows may be with the publisher before the relay stops reading. The last page may exceed the limit.
    /// Default 10,000.
    ///
    /// A key that is retried for minutes keeps the cursor in place. Other keys continue until this many rows are read
    /// behind it.
    pub fn in_flight(mut self, rows: usize) -> Self {
        self.in_flight = rows;
        self
    }

    /// Sets how many bytes may be with the publisher before the relay stops reading. The last page may exceed the
    /// limit. Default 64 MiB.
    pub fn in_flight_bytes(mut self, bytes: usize) -> Self {
        self.in_flight_bytes = bytes;
        self
    }

    /// Sets the longest pause between two reads while the outbox has no new rows. Default 50 ms.
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.poll_interval = interval;
        self
    }

    /// Sets how long the relay waits for acknowledgements at shutdown and after a failed session. After a lost lease it
    /// does not wait. Default 10 s.
    pub fn drain(mut self, limit: Duration) -> Self {
        self.drain = limit;
        self
    }

    /// Sets the signal that units of work of this process send after a commit, so that the relay reads at once.
    /// Default: a signal without a sender, so that the relay only polls.
    pub fn commit_signal(mut self, signal: CommitSignal) -> Self {
        self.commit_signal = signal;
        self
    }

    /// Sets the clock of all waits, time limits and durations. Default: the system clock. The database checks the
    /// validity of the lease by the database's clock.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Reports the readiness of the relay to `health`.
    ///
    /// The relay is ready while the database answers, also while another relay has the lease. It is degraded, with the
    /// reason, while a topic is held, while the process with the lease does not name a topic that the cursor covers, or
    /// while more than [`parked_limit`](Self::parked_limit) keys are parked or held.
    pub fn health(mut self, health: health::Component) -> Self {
        self.health = Some(health);
        self
    }

    /// Beats `heartbeat` in each turn of the loop, also while the database or the broker is away.
    ///
    /// One turn may contain a wait for the lease, the drain, and several calls to the database of up to 10 s each. Set
    /// the limit of the heartbeat to minutes.
    pub fn heartbeat(mut self, heartbeat: health::Heartbeat) -> Self {
        self.heartbeat = Some(heartbeat);
        self
    }

    /// Reports the relay as degraded while [`Holds::state`] is degraded.
    pub(crate) fn holds(mut self, holds: Holds) -> Self {
        self.holds = Some(holds);
        self
    }

    /// Calls `call` whenever the relay finds that another owner has the lease.
    pub(crate) fn on_standby(mut self, call: impl Fn() + Send + Sync + 'static) -> Self {
        self.on_standby = Some(Box::new(call));
        self
    }

    /// Builds the relay.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](comms_core::ErrorKind::Invalid) if
    /// - the name or the owner is empty or longer than 200 bytes, or the name begins with `projection:`,
    /// - the list of topics is empty,
    /// - the lease is not between 300 ms and 1 h,
    /// - the page is not between 1 and 10,000 rows,
    /// - `page_bytes`, `in_flight` or `in_flight_bytes` is 0, or
    /// - the poll interval is 0.
    pub fn build(self) -> Result<Relay, Error> {
        let refuse_if = |wrong: bool, text: &str| if wrong { Err(Error::invalid(text)) } else { Ok(()) };
        let owner = self.owner.unwrap_or_else(|| self.clock.uuid_v7().to_string());
        refuse_if(self.name.is_empty() || self.name.len() > 200, "a relay's name must have 1 to 200 bytes")?;
        refuse_if(
            self.name.starts_with(CURSOR_OF_PROJECTION),
            "a relay's name must not begin with \"projection:\": the cursors of projections do",
        )?;
        refuse_if(owner.is_empty() || owner.len() > 200, "a relay's owner must have 1 to 200 bytes")?;
        refuse_if(
            self.topics.as_ref().is_some_and(Vec::is_empty),
            "a relay needs at least one topic: leave topics() out to publish all topics",
        )?;
        refuse_if(self.lease < Duration::from_millis(300), "a relay's lease must be at least 300 ms")?;
        refuse_if(self.lease > Duration::from_secs(3600), "a relay's lease must be at most 1 h")?;
        refuse_if(!(1..=10_000).contains(&self.page), "a relay's page must have 1 to 10,000 rows")?;
        refuse_if(
            self.in_flight == 0 || self.in_flight_bytes == 0 || self.page_bytes == 0,
            "a relay's in_flight, in_flight_bytes and page_bytes must be at least 1",
        )?;
        refuse_if(
            self.poll_interval.is_zero(),
            "a relay's poll interval must not be 0: use at least 1 ms, or the relay keeps a core busy",
        )?;
        let backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5))?;
        let context = RelayContext {
            metrics: Metrics::new(&self.name),
            reads_succeed: AtomicBool::new(true),
            oldest_unsettled: Mutex::new(None),
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
                poll_interval: self.poll_interval,
                drain: self.drain,
            },
            store: self.store,
            publisher: self.publisher,
            commit_signal: self.commit_signal,
            clock: self.clock,
            health: self.health,
            heartbeat: self.heartbeat,
            holds: self.holds,
            on_standby: self.on_standby,
            backoff,
        };
        Ok(Relay { context })
    }
}
