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
/// batches. If the thread cannot be started or cannot create its client, all topics get full batches.
pub(super) fn start(topics: &Arc<TopicRegistry>, producers: &Arc<Producers>, batch_bytes: usize) {
    start_with(thread::Builder::new(), topics, producers, batch_bytes);
}

fn start_with(
    thread: thread::Builder,
    topics: &Arc<TopicRegistry>,
    producers: &Arc<Producers>,
    batch_bytes: usize,
) {
    let body = {
        let (topics, producers) = (topics.clone(), Arc::downgrade(producers));
        move || {
            if let Err(error) = run(&topics, &producers, batch_bytes) {
                tracing::warn!(error = %error.chain(), "the {LIMIT} of topics cannot be read, sending full batches");
                use_full_batches(&topics, &producers);
            }
        }
    };
    if let Err(error) = thread.name("kafka-limits".to_owned()).spawn(body) {
        tracing::warn!(%error, "the thread kafka-limits cannot be started, sending full batches");
        use_full_batches(topics, &Arc::downgrade(producers));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        KafkaConfig,
        publisher::{
            acks::PendingAcks,
            capacity::{Capacity, InFlight},
            reports::ReportHandler,
            topic::SentMessage,
        },
    };
    use comms_core::{Message, MessageParts, clock::Clock, transport::Receipt};
    use rdkafka::message::BorrowedMessage;

    struct IgnoreReports;

    impl ReportHandler for IgnoreReports {
        fn delivered(&self, _: SentMessage, _: Receipt) {}
        fn failed(&self, _: &KafkaError, _: &BorrowedMessage<'_>, _: SentMessage) {}
        fn client_error(&self) {}
        fn closed(&self) {}
    }

    #[test]
    fn topics_get_full_batches_if_the_thread_cannot_be_started() {
        // No broker listens at this address, so that no report arrives.
        let settings = KafkaConfig::new("127.0.0.1:1").client(&[], &[]).unwrap();
        let capacity = Arc::new(Capacity::new(InFlight { records: 10, bytes: 1_000 }));
        let producers = Producers::new(settings, capacity, Arc::new(IgnoreReports), Clock::system()).unwrap();
        let producers = Arc::new(producers);
        let topics = Arc::new(TopicRegistry::default());
        let topic = topics.topic("orders");
        let parts = MessageParts { source: "test", id: "1", topic: "orders", ..MessageParts::default() };
        let message = Message::new(parts);
        let (acks, _complete) = PendingAcks::new();
        assert!(topic.push(&*producers, message, acks.slot(1)) && topics.begin_lookup());

        // No address space has room for such a stack.
        start_with(thread::Builder::new().stack_size(usize::MAX / 2), &topics, &producers, 1_000_000);

        assert!(!topic.needs_limit(), "the message is still waiting");
        assert!(topics.begin_lookup(), "the failed look-up counts as running");
    }
}
