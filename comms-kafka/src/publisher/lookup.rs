//! The look-up of the limits of topics (`max.message.bytes`).
//!
//! The limit of a topic is read once, before the first message to the topic is sent. The thread of the look-up lives as
//! long as messages wait for a limit. While the cluster is unreachable it repeats the requests.

use rdkafka::{
    admin::{AdminClient, AdminOptions, ResourceSpecifier},
    client::DefaultClientContext,
    error::KafkaError,
    producer::Producer as _,
};
use std::{
    sync::{Arc, Weak},
    thread,
    time::Duration,
};

use super::{
    producers::Producers,
    registry::TopicRegistry,
    topic::{Route, Topic},
};
use crate::error::classify;
use comms_core::Error;

type Admin = AdminClient<DefaultClientContext>;

/// The time limit of a metadata request.
const METADATA_TIMEOUT: Duration = Duration::from_secs(2);
/// The time limit of a request for the settings of a topic that the cluster has described.
const SETTINGS_TIMEOUT: Duration = Duration::from_millis(500);
/// The pause between two requests to a cluster that is unreachable.
const PAUSE: Duration = Duration::from_millis(100);
const LIMIT: &str = "max.message.bytes";

/// Starts the look-up thread. A topic whose limit is below `batch_bytes` gets unbatched messages, any other full
/// batches. If the thread cannot create its client, all topics get full batches.
pub(super) fn start(topics: Arc<TopicRegistry>, producers: &Arc<Producers>, batch_bytes: usize) {
    let producers = Arc::downgrade(producers);
    let body = move || {
        if let Err(error) = run(&topics, &producers, batch_bytes) {
            tracing::warn!(error = %error.chain(), "the {LIMIT} of topics cannot be read, sending full batches");
            use_full_batches(&topics, &producers);
        }
    };
    if let Err(error) = thread::Builder::new().name("kafka-limits".to_owned()).spawn(body) {
        tracing::warn!(%error, "the thread kafka-limits cannot be started, messages to new topics wait");
    }
}

/// Blocks until no message waits for a limit, or the publisher is dropped.
fn run(topics: &TopicRegistry, producers: &Weak<Producers>, batch_bytes: usize) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(Error::internal)?;
    let mut admin: Option<Admin> = None;
    loop {
        let unknown = topics.without_limit();
        let Some(producers) = producers.upgrade().filter(|_| !unknown.is_empty()) else { return Ok(()) };
        let admin = match &mut admin {
            Some(admin) => admin,
            None => admin.insert(producers.settings.create().map_err(classify)?),
        };
        for topic in &unknown {
            if !fetch_metadata(&producers, topic) {
                // The cluster is unreachable, so the requests for the other topics would fail, too.
                thread::park_timeout(PAUSE);
                break;
            }
            let route = match runtime.block_on(limit(admin, &topic.name)) {
                Ok(Some(limit)) if limit < batch_bytes => {
                    tracing::info!(topic = %topic.name, limit, batch_bytes,
                        "the topic's {LIMIT} is below batch.size, sending one message per batch");
                    Route::Unbatched
                }
                Ok(_) => Route::Batched,
                Err(error) => {
                    tracing::warn!(topic = %topic.name, error = %error.chain(),
                        "the topic's {LIMIT} cannot be read, sending full batches");
                    Route::Batched
                }
            };
            topic.set_route(&*producers, route);
        }
    }
}

/// Requests the metadata of `topic` through each producer, and returns whether the cluster responded. A producer that
/// has cached the topic as missing learns here that it exists.
fn fetch_metadata(producers: &Producers, topic: &Topic) -> bool {
    producers
        .all()
        .iter()
        .all(|producer| producer.client().fetch_metadata(Some(&topic.name), METADATA_TIMEOUT).is_ok())
}

/// Returns the limit of `topic`, or `None` if the cluster names no limit.
async fn limit(admin: &Admin, topic: &str) -> Result<Option<usize>, Error> {
    let options = AdminOptions::new().request_timeout(Some(SETTINGS_TIMEOUT));
    let described = admin.describe_configs([&ResourceSpecifier::Topic(topic)], &options).await;
    let resource = described.map_err(classify)?.pop().transpose();
    let resource = resource.map_err(|code| classify(KafkaError::AdminOp(code)))?;
    let value = resource.as_ref().and_then(|resource| resource.get(LIMIT)?.value.as_deref());
    value.map(str::parse).transpose().map_err(|e| Error::internal(e).context(LIMIT))
}

fn use_full_batches(topics: &TopicRegistry, producers: &Weak<Producers>) {
    while let Some(producers) = producers.upgrade() {
        let unknown = topics.without_limit();
        if unknown.is_empty() {
            return;
        }
        unknown.iter().for_each(|topic| topic.set_route(&*producers, Route::Batched));
    }
}
