//! Topics as they are declared.
//!
//! **Promise.** After [`provision`] every topic of the list exists and each of its partitions has a leader.
//! A topic that exists already is never changed: fewer partitions or another replication than declared are reported.
//! (More partitions would move keys; another replication is the operator's.)
//!
//! **What breaks it.** Topics that are deleted later, and brokers that create topics on first use
//! (`auto.create.topics.enable`): the first client then decides the number of partitions.

use rdkafka::{
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    error::KafkaError,
    types::RDKafkaErrorCode,
};
use serde::Deserialize;
use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use crate::{KafkaConfig, consumer::dlq_topic, error::classify, record};
use comms_core::{Error, ErrorKind};

type Admin = AdminClient<DefaultClientContext>;

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

/// Creates the `topics` that are missing, waits until they can be used, and returns where those that existed differ
/// from their declaration (also logged). While the cluster is away or coming up it is asked again, for `timeout`
/// ([`Duration::MAX`] waits without end). Dropping the future ends the wait.
///
/// A topic that this process may not create, and that exists, is in order.
///
/// # Errors
/// Returns `Invalid` for a declaration or settings that cannot be used, `Misconfigured` if the cluster refuses a topic (no
/// permission, a policy, an unknown setting), and `NotExecuted` or `Indeterminate` if the cluster cannot be reached
/// within `timeout`.
pub async fn provision(
    config: &KafkaConfig,
    topics: &[TopicSpec],
    timeout: Duration,
) -> Result<Vec<Difference>, Error> {
    topics.iter().try_for_each(TopicSpec::check)?;
    let settings = config.client(&[], &[])?;
    // In this order: the handle goes before the one that is dropped elsewhere.
    let (_closing, admin) = Closing::of(settings.create().map_err(classify)?);
    let mut last = Error::not_executed("no answer from the cluster");
    let attempts = async {
        loop {
            match attempt(&admin, topics).await {
                Err(error) if matches!(error.kind, ErrorKind::NotExecuted | ErrorKind::Indeterminate) => {
                    last = error;
                }
                end => return end,
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    let result = tokio::time::timeout(timeout, attempts).await;
    let differences = result.map_err(|_| last.context(format_args!("topics not ready in {timeout:?}")))??;
    differences.iter().for_each(|difference| tracing::warn!("{difference}"));
    Ok(differences)
}

/// A client whose drop blocks, and so happens on a thread of its own.
struct Closing(Option<Arc<Admin>>);

impl Closing {
    fn of(admin: Admin) -> (Self, Arc<Admin>) {
        let admin = Arc::new(admin);
        (Self(Some(admin.clone())), admin)
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        let admin = self.0.take();
        // Without a thread the client is dropped here.
        let _ = std::thread::Builder::new().name("kafka-admin-close".to_owned()).spawn(move || drop(admin));
    }
}

async fn attempt(admin: &Arc<Admin>, topics: &[TopicSpec]) -> Result<Vec<Difference>, Error> {
    let options = AdminOptions::new().request_timeout(Some(REQUEST)).operation_timeout(Some(REQUEST));
    let new: Vec<_> = topics.iter().map(TopicSpec::new_topic).collect();
    let mut refused = None;
    for created in admin.create_topics(&new, &options).await.map_err(classify)? {
        match created {
            Ok(topic) => tracing::info!(topic, "topic created"),
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((topic, code)) => {
                refused.get_or_insert(refusal(code).context(format_args!("create topic {topic}")));
            }
        }
    }
    let wanted = topics.to_vec();
    let admin = admin.clone();
    let compared = tokio::task::spawn_blocking(move || {
        wanted.iter().map(|topic| compare(&admin, topic)).collect::<Result<Vec<_>, _>>()
    });
    let compared =
        compared.await.map_err(|e| Error::indeterminate(e).context("read the topics' metadata"))?;
    // The reason why a topic could not be made says more than that it is not there.
    let compared = compared.map_err(|missing| refused.unwrap_or(missing))?;
    Ok(compared.into_iter().flatten().collect())
}

fn refusal(code: RDKafkaErrorCode) -> Error {
    let error = KafkaError::AdminOp(code);
    match code {
        // A cluster whose other brokers are not up yet answers the same.
        RDKafkaErrorCode::InvalidReplicationFactor => Error::not_executed(error),
        _ => classify(error),
    }
}

/// Returns how the topic differs from `wanted`; `NotExecuted` until each partition has a leader. Blocks.
fn compare(admin: &Admin, wanted: &TopicSpec) -> Result<Vec<Difference>, Error> {
    let metadata = admin.inner().fetch_metadata(Some(&wanted.name), REQUEST).map_err(classify)?;
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
