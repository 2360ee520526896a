//! Checks the settings of a consumer, and derives those of the client.

use std::{collections::HashMap, sync::Arc, time::Duration};

use rdkafka::ClientConfig;

use super::{ConsumerBuilder, limits::Limits};
use crate::{
    consumer::{Consumer, Settings, position::SeekOwner, prefetch, topic::Topic},
    topic_name::{self, dlq_topic},
};
use comms_core::{
    Error,
    transport::{Budget, FailurePolicy, Holds, Processor, WorkerConfig},
};

/// Settings that `KafkaConfig::librdkafka` may replace.
const DEFAULTS: &[(&str, &str)] = &[
    // A new group also reads the records that were published before its first start.
    ("auto.offset.reset", "earliest"),
    ("isolation.level", "read_committed"),
    // With the client's default, 1000 ms between fetches of a full queue, the throughput is a quarter.
    ("fetch.queue.backoff.ms", "10"),
    // A broker responds at once if it has records. This is the longest wait for an empty response.
    ("fetch.wait.max.ms", "100"),
    // The classic protocol notices new partitions when the metadata is refreshed.
    ("topic.metadata.refresh.interval.ms", "15000"),
    // Lag and readiness come from the client's statistics.
    ("statistics.interval.ms", "5000"),
    // The metrics that the client sends to the broker (KIP-714) cost a tenth of the CPU time of a record.
    ("enable.metrics.push", "false"),
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

impl ConsumerBuilder {
    /// Checks the settings and creates the consumer. The consumer connects in [`Consumer::run`].
    ///
    /// # Errors
    /// Returns [`ErrorKind::Invalid`](comms_core::ErrorKind::Invalid)
    /// - if the group is empty, no handler is set, a topic has two handlers, or the name of a topic or of its
    ///   dead-letter topic is not valid;
    /// - if a bound or the commit interval is zero, or the drain time is not below `max.poll.interval.ms`;
    /// - if [`KafkaConfig`](crate::KafkaConfig) has no valid list of brokers, or a setting that is unknown, has an
    ///   impossible value, or carries a guarantee of this crate.
    ///
    /// Returns [`ErrorKind::Misconfigured`](comms_core::ErrorKind::Misconfigured) if a setting needs a feature of this
    /// crate that this build lacks.
    pub fn build(self) -> Result<Consumer, Error> {
        if self.group.is_empty() {
            return Err(Error::invalid(
                "the group of a consumer is empty: pass a name to `Consumer::builder`",
            ));
        }
        self.check_limits()?;
        let holds = self.holds.clone().unwrap_or_else(|| Holds::new(self.clock.clone()));
        let topics = Arc::new(self.topics(&holds)?);
        let client = self.client()?;
        // Another client reads the number of partitions, unless its result would not be used.
        let set = self.config.librdkafka.contains_key(prefetch::SETTING);
        let probe = (!set).then(|| self.config.client(&[], &[])).transpose()?;
        let worker = self.worker.budget(Budget::new(self.budget)?);
        let worker = match self.dead_letter {
            Some(_) => worker,
            None => without_dead_letters(worker),
        };
        Ok(Consumer {
            settings: Settings {
                client,
                probe,
                group: self.group,
                topics,
                worker,
                dead_letters: self.dead_letter,
                backoff: self.attempts.backoff,
                limits: self.limits,
                start: self.start,
                fatal: self.fatal,
                clock: self.clock,
                health: self.health,
                heartbeat: self.heartbeat,
            },
            holds,
            assigned: Arc::default(),
            seeks: SeekOwner::default(),
            lag: Arc::default(),
        })
    }

    fn client(&self) -> Result<ClientConfig, Error> {
        let classic =
            self.config.librdkafka.get("group.protocol").is_none_or(|protocol| protocol == "classic");
        let defaults = [DEFAULTS, if classic { CLASSIC } else { &[] }].concat();
        let guarantees = [
            ("group.id", &*self.group),
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
        ];
        self.config.client(&defaults, &guarantees)
    }

    fn topics(&self, holds: &Holds) -> Result<HashMap<Arc<str>, Arc<Topic>>, Error> {
        let mut topics = HashMap::new();
        let mut attempts = self.attempts.clone();
        attempts.hold_in_place = None;
        for (name, handler) in &self.handlers {
            topic_name::check(&dlq_topic(name))?;
            let processor = Processor::new(handler.clone(), attempts.clone(), self.clock.clone(), "kafka")
                .with_holds(holds.clone());
            let topic = Arc::new(Topic::new(name.clone(), processor));
            if topics.insert(name.clone(), topic).is_some() {
                let text = format!(
                    "group {}: topic {name} has two handlers, call `on` or `on_batch` once per topic",
                    self.group
                );
                return Err(Error::invalid(text));
            }
        }
        if topics.is_empty() {
            let text = format!(
                "group {} has no topic: call `on` or `on_batch` with a topic and its handler",
                self.group
            );
            return Err(Error::invalid(text));
        }
        Ok(topics)
    }

    fn check_limits(&self) -> Result<(), Error> {
        let Limits { gap, commit_interval, commit_records, prefetch_bytes, drain } = self.limits;
        if gap == 0 || commit_interval.is_zero() || commit_records == 0 || prefetch_bytes == 0 {
            return Err(Error::invalid(
                "max_gap, commit_interval, commit_records and prefetch_bytes must be above zero",
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

/// Holds the records that would become dead letters.
fn without_dead_letters(worker: WorkerConfig) -> WorkerConfig {
    let decision = worker.failure_policy.clone();
    worker.failure_policy_with(move |error, delivery| match decision.decide(error, delivery) {
        FailurePolicy::DeadLetter => FailurePolicy::Hold,
        policy => policy,
    })
}
