//! Provisioning: topics are created as declared, and differences to existing topics are returned.

mod admin;

use rdkafka::{
    admin::{NewTopic, TopicReplication},
    error::KafkaError,
    types::RDKafkaErrorCode,
};
use serde::Deserialize;
use std::{collections::BTreeMap, error::Error as StdError, fmt, sync::Arc, time::Duration};

use crate::{
    KafkaConfig,
    error::classify,
    topic_name::{self, dlq_topic},
};
use admin::{Clients, Closing};
use comms_core::{Error, ErrorKind, clock::Clock};

/// The pause between two attempts.
const PAUSE: Duration = Duration::from_millis(200);
/// The retention of a dead-letter topic: 30 days.
const DEAD_LETTER_RETENTION_MS: u64 = 30 * 24 * 3_600 * 1_000;

/// The declaration of a topic, for [`provision`].
///
/// ```
/// use comms_kafka::TopicSpec;
/// let orders = TopicSpec::new("orders", 6, 3).config("min.insync.replicas", "2");
/// assert_eq!(orders.dead_letters().name, "orders.dlq");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct TopicSpec {
    /// The name of the topic.
    pub name: String,
    /// The number of partitions, which is the largest number of group members that share the topic. At least 1. Kafka
    /// cannot reduce the number, and a larger number moves keys to other partitions.
    pub partitions: i32,
    /// The number of replicas of each partition. At least 1. With 3 replicas and `min.insync.replicas` 2 the topic
    /// survives the loss of one broker.
    pub replication: i32,
    /// The settings of the topic at its creation (<https://kafka.apache.org/documentation/#topicconfigs>). Default
    /// empty: the broker's defaults.
    #[serde(default)]
    pub config: BTreeMap<String, String>,
}

impl TopicSpec {
    /// Declares a topic with the broker's default settings.
    pub fn new(name: impl Into<String>, partitions: i32, replication: i32) -> Self {
        Self { name: name.into(), partitions, replication, config: BTreeMap::new() }
    }

    /// Sets [`TopicSpec::partitions`].
    #[must_use]
    pub fn partitions(self, partitions: i32) -> Self {
        Self { partitions, ..self }
    }

    /// Sets [`TopicSpec::replication`].
    #[must_use]
    pub fn replication(self, replication: i32) -> Self {
        Self { replication, ..self }
    }

    /// Adds one setting to [`TopicSpec::config`], or replaces its value.
    #[must_use]
    pub fn config(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.config.insert(key.into(), value.into());
        self
    }

    /// Declares the dead-letter topic of this topic, named by [`dlq_topic`]. It has the same number of partitions and
    /// replicas, is never compacted (every dead letter of a key is kept), and keeps dead letters for 30 days.
    #[must_use]
    pub fn dead_letters(&self) -> Self {
        Self::new(dlq_topic(&self.name), self.partitions, self.replication)
            .config("cleanup.policy", "delete")
            .config("retention.ms", DEAD_LETTER_RETENTION_MS.to_string())
    }

    fn check(&self) -> Result<(), Error> {
        topic_name::check(&self.name)?;
        if self.partitions < 1 || self.replication < 1 {
            let Self { name, partitions, replication, .. } = self;
            let text = format!(
                "topic {name}: partitions ({partitions}) and replication ({replication}) must be at least 1"
            );
            return Err(Error::invalid(text));
        }
        Ok(())
    }

    fn new_topic(&self) -> NewTopic<'_> {
        let topic = NewTopic::new(&self.name, self.partitions, TopicReplication::Fixed(self.replication));
        self.config.iter().fold(topic, |topic, (key, value)| topic.set(key, value))
    }
}

/// A difference between an existing topic and its declaration, returned by [`provision`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopicDifference {
    /// The name of the topic.
    pub topic: String,
    /// The setting that differs: `partitions` or `replication`.
    pub setting: &'static str,
    /// The declared value.
    pub declared: i32,
    /// The value on the cluster.
    pub actual: i32,
}

impl fmt::Display for TopicDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { topic, setting, declared, actual } = self;
        write!(f, "topic {topic} has {setting} {actual}, but {setting} {declared} is declared")
    }
}

/// The cause of a `Misconfigured` error of [`provision`]: the cluster has fewer brokers than the declared replication
/// of a topic.
///
/// ```
/// # let error = comms_core::Error::invalid("no");
/// if let Some(found) = error.cause().downcast_ref::<comms_kafka::TooFewBrokers>() {
///     println!("{} needs {} brokers", found.topic, found.replication);
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TooFewBrokers {
    /// The name of the topic.
    pub topic: String,
    /// The declared number of replicas.
    pub replication: i32,
    /// The number of brokers, if the cluster's metadata could be read.
    pub brokers: Option<usize>,
}

impl fmt::Display for TooFewBrokers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { topic, replication, brokers } = self;
        write!(f, "topic {topic} is declared with replication {replication}, and the cluster has ")?;
        match brokers {
            Some(1) => f.write_str("1 broker"),
            Some(brokers) => write!(f, "{brokers} brokers"),
            None => f.write_str("fewer brokers"),
        }
    }
}

impl StdError for TooFewBrokers {}

/// Creates missing topics, waits until all `topics` are usable, and returns how existing topics differ from their
/// declaration.
///
/// While the cluster is unreachable or starting, the requests are repeated until `timeout`. [`Duration::MAX`] waits
/// without a limit. Dropping the future ends the wait. `clock` measures `timeout` and the pause of 200 ms between two
/// attempts.
///
/// **Promise.** After success every topic of `topics` exists, and each of its partitions has a leader. An existing
/// topic is never changed. Fewer partitions or another replication than declared are returned and logged. (More
/// partitions would move keys to other partitions, and a change of the replication is an operator's decision.) An
/// existing topic that this process may not create is not an error.
///
/// **What breaks it.** A topic that is deleted later. A broker that creates topics on first use
/// (`auto.create.topics.enable`): the first client then decides the number of partitions.
///
/// ```no_run
/// use comms_core::clock::Clock;
/// use comms_kafka::{KafkaConfig, TopicSpec, provision};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), comms_core::Error> {
/// let orders = TopicSpec::new("orders", 6, 3).config("min.insync.replicas", "2");
/// let (kafka, timeout) = (KafkaConfig::new("localhost:9092"), std::time::Duration::from_secs(30));
/// let topics = [orders.clone(), orders.dead_letters()];
/// for difference in provision(&kafka, &topics, timeout, &Clock::system()).await? {
///     println!("{difference}");
/// }
/// # Ok(()) }
/// ```
///
/// # Errors
/// - Returns [`ErrorKind::Invalid`] if a declaration or a setting of `config` can never be used. Another call fails,
///   too.
/// - Returns [`ErrorKind::Misconfigured`] if the cluster refuses a topic (no permission, a policy, an unknown setting,
///   a broker version without the request), or if a client cannot be created on this machine (for example because a
///   certificate cannot be read). Another call may succeed after an operator has changed the deployment.
///   If the cluster still has fewer brokers than the replication of a topic after `timeout`, the cause is
///   [`TooFewBrokers`].
/// - Returns [`ErrorKind::NotExecuted`] or [`ErrorKind::Indeterminate`] if the cluster is unreachable or not ready
///   within `timeout`. The text contains the client's last connection failure.
/// - Returns the kind of the error code that the cluster returns in any other case.
pub async fn provision(
    config: &KafkaConfig,
    topics: &[TopicSpec],
    timeout: Duration,
    clock: &Clock,
) -> Result<Vec<TopicDifference>, Error> {
    topics.iter().try_for_each(TopicSpec::check)?;
    let settings = config.client(&[], &[])?;
    // `clients` is declared last, so that it is dropped first, and the thread of `_closing` drops the last handle.
    let (_closing, clients) = Closing::new(Clients::new(&settings)?);
    let mut last = Error::not_executed("the cluster did not respond");
    let attempts = async {
        loop {
            match attempt(&clients, topics).await {
                Err(error) if is_transient(&error) => last = error,
                result => return result,
            }
            clock.sleep(PAUSE).await;
        }
    };
    let result = clock.timeout(timeout, attempts).await;
    let timed_out = |_| clients.explain(last).context(format_args!("topics not ready in {timeout:?}"));
    let differences = result.map_err(timed_out)??;
    differences.iter().for_each(|difference| tracing::warn!("{difference}"));
    Ok(differences)
}

/// Returns whether the next attempt may succeed without an operator. Too few brokers are transient, because the cluster
/// does not count brokers that are still starting.
fn is_transient(error: &Error) -> bool {
    matches!(error.kind, ErrorKind::NotExecuted | ErrorKind::Indeterminate)
        || error.cause().is::<TooFewBrokers>()
}

/// Requests the creation of `topics`, and compares the result with the declarations.
async fn attempt(clients: &Arc<Clients>, topics: &[TopicSpec]) -> Result<Vec<TopicDifference>, Error> {
    let new: Vec<_> = topics.iter().map(TopicSpec::new_topic).collect();
    let mut refused = None;
    for created in clients.create(&new).await? {
        match created {
            Ok(topic) => tracing::info!(topic, "topic created"),
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err(topic_and_code) => {
                refused.get_or_insert(topic_and_code);
            }
        }
    }
    let declared = topics.to_vec();
    let clients = clients.clone();
    let compared = tokio::task::spawn_blocking(move || {
        let compared = declared.iter().map(|topic| compare(&clients, topic)).collect::<Result<Vec<_>, _>>();
        // The reason of the refusal is more specific than the error that the topic is missing.
        compared.map_err(|missing| {
            refused.map_or(missing, |(topic, code)| refusal(&clients, &declared, topic, code))
        })
    });
    let compared =
        compared.await.map_err(|e| Error::indeterminate(e).context("read the topics' metadata"))??;
    Ok(compared.into_iter().flatten().collect())
}

/// Returns the error of the cluster's refusal to create `topic`. Blocks.
fn refusal(clients: &Clients, declared: &[TopicSpec], topic: String, code: RDKafkaErrorCode) -> Error {
    let replication = declared.iter().find(|spec| spec.name == topic).map_or(0, |spec| spec.replication);
    match code {
        RDKafkaErrorCode::InvalidReplicationFactor => {
            let metadata = clients.metadata(&topic).ok();
            let brokers = metadata.map(|metadata| metadata.brokers().len());
            Error::misconfigured(TooFewBrokers { topic, replication, brokers })
        }
        _ => classify(KafkaError::AdminOp(code)).context(format_args!("create topic {topic}")),
    }
}

/// Returns how the topic differs from `declared`, or `NotExecuted` until each partition has a leader. Blocks.
fn compare(clients: &Clients, declared: &TopicSpec) -> Result<Vec<TopicDifference>, Error> {
    let metadata = clients.metadata(&declared.name)?;
    let topic = metadata.topics().first();
    let code = topic.and_then(|topic| topic.error()).map(RDKafkaErrorCode::from);
    // A new topic is unknown until the metadata reaches the broker.
    if let Some(code) = code.filter(|code| !matches!(code, RDKafkaErrorCode::UnknownTopicOrPartition)) {
        return Err(
            classify(KafkaError::MetadataFetch(code)).context(format_args!("topic {}", declared.name))
        );
    }
    let partitions = topic.map_or(&[][..], |topic| topic.partitions());
    if partitions.is_empty() || partitions.iter().any(|partition| partition.leader() < 0) {
        return Err(Error::not_executed(format!("topic {} has partitions without a leader", declared.name)));
    }
    let count = i32::try_from(partitions.len()).unwrap_or(i32::MAX);
    let replicas = partitions.iter().map(|partition| partition.replicas().len()).min().unwrap_or(0);
    let replicas = i32::try_from(replicas).unwrap_or(i32::MAX);
    let difference = |setting, declared_value, actual| TopicDifference {
        topic: declared.name.clone(),
        setting,
        declared: declared_value,
        actual,
    };
    let fewer = (count < declared.partitions).then(|| difference("partitions", declared.partitions, count));
    let other =
        (replicas != declared.replication).then(|| difference("replication", declared.replication, replicas));
    Ok(fewer.into_iter().chain(other).collect())
}
