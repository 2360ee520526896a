//! Topics as they are declared.
//!
//! **Promise.** After [`provision`] every topic of the list exists and each of its partitions has a leader.
//! A topic that exists already is never changed: fewer partitions or another replication than declared are reported.
//! (More partitions would move keys; another replication is the operator's.)
//!
//! **What breaks it.** Topics that are deleted later, and brokers that create topics on first use
//! (`auto.create.topics.enable`): the first client then decides the number of partitions.

mod admin;

use rdkafka::{
    admin::{NewTopic, TopicReplication},
    error::KafkaError,
    types::RDKafkaErrorCode,
};
use serde::Deserialize;
use std::{collections::BTreeMap, error::Error as StdError, fmt, sync::Arc, time::Duration};

use crate::{KafkaConfig, consumer::dlq_topic, error::classify, record};
use admin::{Clients, Closing};
use comms_core::{Error, ErrorKind};

/// One request to the cluster takes at most this long; then there is another.
const REQUEST: Duration = Duration::from_secs(5);
/// The wait between two looks.
const PAUSE: Duration = Duration::from_millis(200);
/// Dead letters are kept for thirty days.
const DEAD_LETTER_RETENTION_MS: u64 = 30 * 24 * 3_600 * 1_000;

/// The declaration of a topic.
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
    /// The name.
    pub name: String,
    /// How many partitions: the most members of a group that can share it. Cannot shrink, and growing
    /// moves keys.
    pub partitions: i32,
    /// Copies of each partition; 3 with `min.insync.replicas` 2 survives the loss of one broker.
    pub replication: i32,
    /// Settings for its creation (<https://kafka.apache.org/documentation/#topicconfigs>). Default none.
    #[serde(default)]
    pub config: BTreeMap<String, String>,
}

impl TopicSpec {
    /// A topic with the broker's settings.
    pub fn new(name: impl Into<String>, partitions: i32, replication: i32) -> Self {
        Self { name: name.into(), partitions, replication, config: BTreeMap::new() }
    }

    /// The same with a setting.
    #[must_use]
    pub fn config(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.config.insert(key.into(), value.into());
        self
    }

    /// The topic for the dead letters of this one: as many partitions, never compacted (two dead letters of
    /// one key are two), kept for 30 days.
    #[must_use]
    pub fn dead_letters(&self) -> Self {
        Self::new(dlq_topic(&self.name), self.partitions, self.replication)
            .config("cleanup.policy", "delete")
            .config("retention.ms", DEAD_LETTER_RETENTION_MS.to_string())
    }

    fn check(&self) -> Result<(), Error> {
        record::check_topic(&self.name)?;
        if self.partitions < 1 || self.replication < 1 {
            let text = format!("topic {}: partitions and replication are at least 1", self.name);
            return Err(Error::invalid(text));
        }
        Ok(())
    }

    fn new_topic(&self) -> NewTopic<'_> {
        let topic = NewTopic::new(&self.name, self.partitions, TopicReplication::Fixed(self.replication));
        self.config.iter().fold(topic, |topic, (key, value)| topic.set(key, value))
    }
}

/// Where a topic is not as declared.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Difference {
    /// The topic.
    pub topic: String,
    /// `partitions` or `replication`.
    pub setting: &'static str,
    /// As declared.
    pub wanted: i32,
    /// As it is.
    pub found: i32,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { topic, setting, wanted, found } = self;
        write!(f, "topic {topic} has {setting} {found}, declared is {wanted}")
    }
}

/// The cause of a `Misconfigured` error of [`provision`]: the cluster has fewer brokers than the topic is to have copies.
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
    /// The topic.
    pub topic: String,
    /// The declared number of copies.
    pub replication: i32,
    /// The brokers that the cluster has now, if it names them.
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

/// Creates the `topics` that are missing, waits until they can be used, and returns where those that existed differ
/// from their declaration (also logged). While the cluster is away or coming up it is asked again, for `timeout`
/// ([`Duration::MAX`] waits without end). Dropping the future ends the wait.
///
/// A topic that this process may not create, and that exists, is in order.
///
/// # Errors
/// The error code of the cluster decides the kind:
/// - `Invalid`: the declaration or the settings can never be used; another attempt is useless.
/// - `Misconfigured`: the cluster refuses a topic (no permission, a policy, an unknown setting, a version that lacks the
///   request), or a client cannot be created on this machine (a certificate that cannot be read). An operator repairs it;
///   another call may succeed. If the cluster still has fewer brokers than a topic is to have copies at the end of
///   `timeout`, the cause is [`TooFewBrokers`].
/// - `NotExecuted` or `Indeterminate`: the cluster cannot be reached, or is not ready, within `timeout`. The text has the
///   client's last connection failure.
pub async fn provision(
    config: &KafkaConfig,
    topics: &[TopicSpec],
    timeout: Duration,
) -> Result<Vec<Difference>, Error> {
    topics.iter().try_for_each(TopicSpec::check)?;
    let settings = config.client(&[], &[])?;
    // In this order: the handle goes before the one that is dropped elsewhere.
    let (_closing, clients) = Closing::of(Clients::new(&settings)?);
    let mut last = Error::not_executed("no answer from the cluster");
    let attempts = async {
        loop {
            match attempt(&clients, topics).await {
                Err(error) if may_pass(&error) => last = error,
                end => return end,
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    let result = tokio::time::timeout(timeout, attempts).await;
    let late = |_| clients.explain(last).context(format_args!("topics not ready in {timeout:?}"));
    let differences = result.map_err(late)??;
    differences.iter().for_each(|difference| tracing::warn!("{difference}"));
    Ok(differences)
}

/// Whether the next attempt may end otherwise without an operator. Brokers that are not up yet count as missing.
fn may_pass(error: &Error) -> bool {
    matches!(error.kind, ErrorKind::NotExecuted | ErrorKind::Indeterminate)
        || error.cause().is::<TooFewBrokers>()
}

async fn attempt(clients: &Arc<Clients>, topics: &[TopicSpec]) -> Result<Vec<Difference>, Error> {
    let new: Vec<_> = topics.iter().map(TopicSpec::new_topic).collect();
    let mut refused = None;
    for created in clients.create(&new).await? {
        match created {
            Ok(topic) => tracing::info!(topic, "topic created"),
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err(refusal) => {
                refused.get_or_insert(refusal);
            }
        }
    }
    let wanted = topics.to_vec();
    let clients = clients.clone();
    let compared = tokio::task::spawn_blocking(move || {
        let compared = wanted.iter().map(|topic| compare(&clients, topic)).collect::<Result<Vec<_>, _>>();
        // The reason why a topic could not be created says more than that it is missing.
        compared.map_err(|missing| {
            refused.map_or(missing, |(topic, code)| refusal(&clients, &wanted, topic, code))
        })
    });
    let compared =
        compared.await.map_err(|e| Error::indeterminate(e).context("read the topics' metadata"))??;
    Ok(compared.into_iter().flatten().collect())
}

/// Why the cluster did not create `topic`. Blocks.
fn refusal(clients: &Clients, wanted: &[TopicSpec], topic: String, code: RDKafkaErrorCode) -> Error {
    let replication = wanted.iter().find(|spec| spec.name == topic).map_or(0, |spec| spec.replication);
    match code {
        RDKafkaErrorCode::InvalidReplicationFactor => {
            let metadata = clients.metadata(&topic).ok();
            let brokers = metadata.map(|metadata| metadata.brokers().len());
            Error::misconfigured(TooFewBrokers { topic, replication, brokers })
        }
        _ => classify(KafkaError::AdminOp(code)).context(format_args!("create topic {topic}")),
    }
}

/// Returns how the topic differs from `wanted`; `NotExecuted` until each partition has a leader. Blocks.
fn compare(clients: &Clients, wanted: &TopicSpec) -> Result<Vec<Difference>, Error> {
    let metadata = clients.metadata(&wanted.name)?;
    let topic = metadata.topics().first();
    let code = topic.and_then(|topic| topic.error()).map(RDKafkaErrorCode::from);
    // A topic that was just made is unknown for a moment.
    if let Some(code) = code.filter(|code| !matches!(code, RDKafkaErrorCode::UnknownTopicOrPartition)) {
        return Err(classify(KafkaError::MetadataFetch(code)).context(format_args!("topic {}", wanted.name)));
    }
    let partitions = topic.map_or(&[][..], |topic| topic.partitions());
    if partitions.is_empty() || partitions.iter().any(|partition| partition.leader() < 0) {
        return Err(Error::not_executed(format!("topic {} has partitions without a leader", wanted.name)));
    }
    let found = i32::try_from(partitions.len()).unwrap_or(i32::MAX);
    let replicas = partitions.iter().map(|partition| partition.replicas().len()).min().unwrap_or(0);
    let replicas = i32::try_from(replicas).unwrap_or(i32::MAX);
    let difference = |setting, wanted_value, found| Difference {
        topic: wanted.name.clone(),
        setting,
        wanted: wanted_value,
        found,
    };
    let fewer = (found < wanted.partitions).then(|| difference("partitions", wanted.partitions, found));
    let other =
        (replicas != wanted.replication).then(|| difference("replication", wanted.replication, replicas));
    Ok(fewer.into_iter().chain(other).collect())
}
