//! Builds a consumer, refusing what could not work.

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use super::{Consumer, Limits, dead_letter::dlq_topic};
use crate::{KafkaConfig, record};
use comms_core::{
    Error, Handler, Publisher,
    clock::Clock,
    health::{Component, Heartbeat},
    transport::{AttemptConfig, BoxHandler, Holds, Processor},
};

/// Settings that the pass-through may replace.
const DEFAULTS: &[(&str, &str)] = &[
    // A new group reads what is there: nothing published before its first start is lost to it.
    ("auto.offset.reset", "earliest"),
    ("isolation.level", "read_committed"),
    // The client's 1000 ms between fetches of a full queue costs three quarters of the throughput.
    ("fetch.queue.backoff.ms", "10"),
    // A broker answers at once when there is something; this is how long a resumed partition may have to
    // wait behind an empty answer.
    ("fetch.wait.max.ms", "100"),
    ("queued.max.messages.kbytes", "16384"),
    // Lag and readiness are read off the client's statistics.
    ("statistics.interval.ms", "5000"),
];
/// With the classic group protocol: a killed member's partitions move after 10 s, and a rebalance is noticed
/// after 1 s (it has two rounds, and each waits for the slowest member). KIP-848
/// (`group.protocol=consumer`) leaves these to the broker and refuses them.
const CLASSIC: &[(&str, &str)] = &[
    ("session.timeout.ms", "10000"),
    ("heartbeat.interval.ms", "1000"),
    ("partition.assignment.strategy", "cooperative-sticky"),
];
/// The client's `max.poll.interval.ms`, if nobody set another.
const MAX_POLL_INTERVAL_MS: u64 = 300_000;

/// Collects what a [`Consumer`] needs. Made by [`Consumer::builder`].
#[must_use]
pub struct ConsumerBuilder {
    config: KafkaConfig,
    group: Arc<str>,
    handlers: Vec<(Arc<str>, BoxHandler)>,
    attempts: AttemptConfig,
    dead_letter: Option<Arc<dyn Publisher>>,
    holds: Option<Holds>,
    limits: Limits,
    clock: Clock,
    health: Option<Component>,
    heartbeat: Option<Heartbeat>,
}

impl ConsumerBuilder {
    pub(super) fn new(config: KafkaConfig, group: Arc<str>) -> Self {
        let limits = Limits {
            records: 4_096,
            bytes: 32 * 1024 * 1024,
            gap: 100_000,
            commit_interval: Duration::from_secs(1),
            drain: Duration::from_secs(10),
        };
        Self {
            config,
            group,
            handlers: Vec::new(),
            attempts: AttemptConfig::default(),
            dead_letter: None,
            holds: None,
            limits,
            clock: Clock::system(),
            health: None,
            heartbeat: None,
        }
    }

    /// Records of `topic` go to `handler`. At least one; each topic once. What `handler` cannot decode it
    /// answers with `Invalid`, and the raw record becomes a dead letter.
    pub fn on(mut self, topic: impl Into<Arc<str>>, handler: impl Handler) -> Self {
        self.handlers.push((topic.into(), BoxHandler::new(handler)));
        self
    }

    /// How often and for how long a record is attempted, and how long it may be held. Default [`AttemptConfig::default`].
    /// A held record waits in its lane, so [`AttemptConfig::hold_in_place`] is not used.
    pub fn attempts(self, attempts: AttemptConfig) -> Self {
        Self { attempts, ..self }
    }

    /// Publishes the dead letters, to [`dlq_topic`](super::dlq_topic)s. Must be set. While a dead letter cannot be
    /// written, its record is held. A dead letter that is too large is written without its payload, or as a reference to
    /// the record.
    pub fn dead_letter(self, publisher: Arc<dyn Publisher>) -> Self {
        Self { dead_letter: Some(publisher), ..self }
    }

    /// Records in the lanes, waiting and running: also the most handlers at the same time. Default 4,096.
    pub fn max_in_flight(mut self, records: usize) -> Self {
        self.limits.records = records;
        self
    }

    /// Bytes in the lanes. Default 32 MiB. One record may go over it. The client fetches ahead up to 16 MiB
    /// more (`queued.max.messages.kbytes`).
    pub fn max_in_flight_bytes(mut self, bytes: usize) -> Self {
        self.limits.bytes = bytes;
        self
    }

    /// Records of a partition that may be behind its first open one before the partition waits for it: what
    /// a crash makes come again at most. Default 100,000.
    pub fn max_gap(mut self, records: usize) -> Self {
        self.limits.gap = records;
        self
    }

    /// Time between commits. Default 1 s. What is handled and not committed comes again after a crash.
    pub fn commit_interval(mut self, interval: Duration) -> Self {
        self.limits.commit_interval = interval;
        self
    }

    /// How long what has begun may take to end, at shut-down and when partitions move. Default 10 s.
    pub fn drain(mut self, drain: Duration) -> Self {
        self.limits.drain = drain;
        self
    }

    /// Time and jitter. Default the system's. With a manual clock a drain ends early only when it is moved.
    pub fn clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// Lists held deliveries in `holds`, which several consumers may share. Default: a list of this consumer's own, read
    /// with [`Consumer::holds`].
    pub fn holds(self, holds: Holds) -> Self {
        Self { holds: Some(holds), ..self }
    }

    /// Sets `component` by the state of the consumer, once a second: unready, with the reason, while this is not a member
    /// of its group in good standing or a partition stands still because of a deployment fault (a codec that this
    /// build lacks, a position that is gone with `auto.offset.reset=error`); degraded, with the reason, by
    /// [`Holds::state`]; else ready.
    pub fn health(self, component: Component) -> Self {
        Self { health: Some(component), ..self }
    }

    /// Beaten by the poll thread at each turn, also while the broker is away. A turn takes at most the drain and
    /// two commits, when partitions move, and librdkafka gives a broker that hangs a minute for each: let the
    /// heartbeat's limit be minutes.
    pub fn heartbeat(self, heartbeat: Heartbeat) -> Self {
        Self { heartbeat: Some(heartbeat), ..self }
    }

    /// The consumer. It connects when it runs.
    ///
    /// # Errors
    /// `Invalid` where something is missing, contradictory or refused; the text says what to do.
    pub fn build(self) -> Result<Consumer, Error> {
        let publisher = self.dead_letter.clone().ok_or_else(|| {
            Error::invalid("a consumer needs a place for records that cannot be handled: set dead_letter")
        })?;
        if self.group.is_empty() {
            return Err(Error::invalid("a consumer needs the name of its group"));
        }
        self.check_limits()?;
        let holds = self.holds.clone().unwrap_or_else(|| Holds::new(self.clock.clone()));
        let routes = self.routes(&holds)?;
        let classic =
            self.config.librdkafka.get("group.protocol").is_none_or(|protocol| protocol == "classic");
        let defaults = [DEFAULTS, if classic { CLASSIC } else { &[] }].concat();
        let promises = [
            ("group.id", &*self.group),
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
        ];
        Ok(Consumer {
            settings: self.config.client(&defaults, &promises)?,
            dead_letters: publisher,
            backoff: self.attempts.backoff,
            holds,
            group: self.group,
            routes,
            limits: self.limits,
            clock: self.clock,
            health: self.health,
            heartbeat: self.heartbeat,
            lag: Arc::default(),
        })
    }

    fn routes(&self, holds: &Holds) -> Result<HashMap<Arc<str>, Processor>, Error> {
        let mut routes = HashMap::new();
        let mut attempts = self.attempts.clone();
        attempts.hold_in_place = None;
        for (topic, handler) in &self.handlers {
            record::check_topic(&dlq_topic(topic))?;
            let processor = Processor::new(handler.clone(), attempts.clone(), self.clock.clone(), "kafka")
                .with_holds(holds.clone());
            if routes.insert(topic.clone(), processor).is_some() {
                return Err(Error::invalid(format!("topic {topic} has two handlers: join them into one")));
            }
        }
        if routes.is_empty() {
            return Err(Error::invalid("a consumer needs a topic: add one with `on`"));
        }
        Ok(routes)
    }

    fn check_limits(&self) -> Result<(), Error> {
        let Limits { records, bytes, gap, commit_interval, drain } = self.limits;
        if records == 0 || bytes == 0 || gap == 0 || commit_interval.is_zero() {
            return Err(Error::invalid(
                "max_in_flight, its bytes, max_gap and commit_interval are above zero",
            ));
        }
        let poll = self.config.number("max.poll.interval.ms")?.unwrap_or(MAX_POLL_INTERVAL_MS);
        if drain >= Duration::from_millis(poll) {
            return Err(Error::invalid(format!("drain must be below max.poll.interval.ms ({poll} ms)")));
        }
        Ok(())
    }
}

impl fmt::Debug for ConsumerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsumerBuilder")
            .field("group", &self.group)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}
