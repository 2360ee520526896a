//! The builder of a consumer, with the checks of its settings.

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use super::{Consumer, Limits};
use crate::{
    KafkaConfig,
    topic_name::{self, dlq_topic},
};
use comms_core::{
    Error, Handler, Publisher,
    clock::Clock,
    health::{Component, Heartbeat},
    transport::{AttemptConfig, BoxHandler, Holds, Processor},
};

/// Settings that `KafkaConfig::librdkafka` may replace.
const DEFAULTS: &[(&str, &str)] = &[
    // A new group also reads the records that were published before its first start.
    ("auto.offset.reset", "earliest"),
    ("isolation.level", "read_committed"),
    // With the client's default, 1000 ms between fetches of a full queue, the throughput is a quarter.
    ("fetch.queue.backoff.ms", "10"),
    // A broker responds at once if it has records. This is the longest wait of a resumed partition for an empty
    // response.
    ("fetch.wait.max.ms", "100"),
    ("queued.max.messages.kbytes", "16384"),
    // Lag and readiness come from the client's statistics.
    ("statistics.interval.ms", "5000"),
];
/// Settings of the classic group protocol. The partitions of a killed member move after 10 s, and a member notices a
/// rebalance after 1 s (a rebalance has two rounds, and each waits for the slowest member). With KIP-848
/// (`group.protocol=consumer`) the broker has these settings, and the client refuses them.
const CLASSIC: &[(&str, &str)] = &[
    ("session.timeout.ms", "10000"),
    ("heartbeat.interval.ms", "1000"),
    ("partition.assignment.strategy", "cooperative-sticky"),
];
/// The client's default of `max.poll.interval.ms`.
const MAX_POLL_INTERVAL_MS: u64 = 300_000;

/// The builder of a [`Consumer`], created by [`Consumer::builder`].
///
/// At least one handler ([`ConsumerBuilder::on`]) and the publisher of dead letters ([`ConsumerBuilder::dead_letter`])
/// are required. All other settings have defaults.
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

impl Consumer {
    /// Creates a builder for a consumer of the cluster of `config` in `group`. The members of a group share the
    /// partitions of its topics.
    pub fn builder(config: &KafkaConfig, group: impl Into<Arc<str>>) -> ConsumerBuilder {
        ConsumerBuilder::new(config.clone(), group.into())
    }
}

impl ConsumerBuilder {
    fn new(config: KafkaConfig, group: Arc<str>) -> Self {
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

    /// Handles the records of `topic` with `handler`. A consumer has at least one topic, and one handler per topic.
    ///
    /// If `handler` cannot decode a record, it returns [`ErrorKind::Invalid`](comms_core::ErrorKind::Invalid), and the
    /// record becomes a dead letter as it was received.
    pub fn on(mut self, topic: impl Into<Arc<str>>, handler: impl Handler) -> Self {
        self.handlers.push((topic.into(), BoxHandler::new(handler)));
        self
    }

    /// Sets the number, backoff and time limit of attempts, and the longest hold. Default [`AttemptConfig::default`].
    ///
    /// A held record waits in its lane, so [`AttemptConfig::hold_in_place`] is ignored.
    pub fn attempts(self, attempts: AttemptConfig) -> Self {
        Self { attempts, ..self }
    }

    /// Sets the publisher of dead letters. Required.
    ///
    /// The dead letters of a topic go to its [`dlq_topic`]. While a dead letter cannot be written, its record is held.
    /// If a dead letter is too large, it is written without the payload, or as a reference to the record.
    pub fn dead_letter(self, publisher: Arc<dyn Publisher>) -> Self {
        Self { dead_letter: Some(publisher), ..self }
    }

    /// Sets the largest number of records in the lanes, waiting and running. It also bounds the number of concurrent
    /// handlers. Default 4,096.
    pub fn max_in_flight(mut self, records: usize) -> Self {
        self.limits.records = records;
        self
    }

    /// Sets the largest number of bytes of the records in the lanes. Default 32 MiB.
    ///
    /// One record may exceed the bound. The client prefetches up to 16 MiB more (`queued.max.messages.kbytes`).
    pub fn max_in_flight_bytes(mut self, bytes: usize) -> Self {
        self.limits.bytes = bytes;
        self
    }

    /// Sets the largest number of records of a partition that are delivered from the first unfinished record on. At the
    /// bound the partition is paused until that record is finished. Default 100,000.
    ///
    /// The bound limits how many records a stuck record causes to be handled again after a crash.
    pub fn max_gap(mut self, records: usize) -> Self {
        self.limits.gap = records;
        self
    }

    /// Sets the time between commits. Default 1 s.
    ///
    /// Records that are handled but not committed are handled again after a crash.
    pub fn commit_interval(mut self, interval: Duration) -> Self {
        self.limits.commit_interval = interval;
        self
    }

    /// Sets the longest time for running attempts to finish, at shutdown and when partitions are revoked. Default 10 s.
    /// It must be below `max.poll.interval.ms`.
    pub fn drain(mut self, drain: Duration) -> Self {
        self.limits.drain = drain;
        self
    }

    /// Sets the source of time and randomness. Default [`Clock::system`]. With a manual clock the time limits of
    /// the shutdown pass only when the clock is advanced.
    pub fn clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// Sets the list of held deliveries, which several consumers may share. Default: a list for this consumer only,
    /// which [`Consumer::holds`] returns.
    pub fn holds(self, holds: Holds) -> Self {
        Self { holds: Some(holds), ..self }
    }

    /// Sets the health component that shows the state of the consumer. The state is updated once a second. Default:
    /// none.
    ///
    /// - Unready: the consumer is not a member of its group, or a deployment fault stops a partition (a codec that this
    ///   build lacks, or a position that no longer exists with `auto.offset.reset=error`). The state has the reason.
    /// - Degraded: [`Holds::state`] is degraded.
    /// - Ready: otherwise.
    pub fn health(self, component: Component) -> Self {
        Self { health: Some(component), ..self }
    }

    /// Sets the heartbeat of the poll thread. It beats at each iteration, also while the broker is away. Default: none.
    ///
    /// When partitions are revoked, one iteration takes up to the drain time and two commits, and librdkafka waits up
    /// to a minute for each commit if the broker hangs. Use a heartbeat with a limit of several minutes.
    pub fn heartbeat(self, heartbeat: Heartbeat) -> Self {
        Self { heartbeat: Some(heartbeat), ..self }
    }

    /// Checks the settings and creates the consumer. The consumer connects in [`Consumer::run`].
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](comms_core::ErrorKind::Invalid)
    /// - if the group is empty, no handler or no publisher of dead letters is set, a topic has two handlers, or the
    ///   name of a topic or of its dead-letter topic is not valid;
    /// - if a bound or the commit interval is zero, or the drain time is not below `max.poll.interval.ms`;
    /// - if [`KafkaConfig`] has no valid list of brokers, or a setting that is unknown, has an impossible value, or
    ///   carries a guarantee of this crate.
    pub fn build(self) -> Result<Consumer, Error> {
        let publisher = self.dead_letter.clone().ok_or_else(|| {
            let text = format!(
                "consumer of group {}: call `dead_letter` to set the publisher of dead letters",
                self.group
            );
            Error::invalid(text)
        })?;
        if self.group.is_empty() {
            return Err(Error::invalid(
                "the group of a consumer is empty: pass a name to `Consumer::builder`",
            ));
        }
        self.check_limits()?;
        let holds = self.holds.clone().unwrap_or_else(|| Holds::new(self.clock.clone()));
        let routes = self.routes(&holds)?;
        let classic =
            self.config.librdkafka.get("group.protocol").is_none_or(|protocol| protocol == "classic");
        let defaults = [DEFAULTS, if classic { CLASSIC } else { &[] }].concat();
        let guarantees = [
            ("group.id", &*self.group),
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
        ];
        Ok(Consumer {
            settings: self.config.client(&defaults, &guarantees)?,
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
            topic_name::check(&dlq_topic(topic))?;
            let processor = Processor::new(handler.clone(), attempts.clone(), self.clock.clone(), "kafka")
                .with_holds(holds.clone());
            if routes.insert(topic.clone(), processor).is_some() {
                let text =
                    format!("group {}: topic {topic} has two handlers, call `on` once per topic", self.group);
                return Err(Error::invalid(text));
            }
        }
        if routes.is_empty() {
            let text = format!("group {} has no topic: call `on` with a topic and its handler", self.group);
            return Err(Error::invalid(text));
        }
        Ok(routes)
    }

    fn check_limits(&self) -> Result<(), Error> {
        let Limits { records, bytes, gap, commit_interval, drain } = self.limits;
        if records == 0 || bytes == 0 || gap == 0 || commit_interval.is_zero() {
            return Err(Error::invalid(
                "max_in_flight, max_in_flight_bytes, max_gap and commit_interval must be above zero",
            ));
        }
        let poll = self.config.number("max.poll.interval.ms")?.unwrap_or(MAX_POLL_INTERVAL_MS);
        if drain >= Duration::from_millis(poll) {
            let text = format!("drain ({drain:?}) must be below max.poll.interval.ms ({poll} ms)");
            return Err(Error::invalid(text));
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
