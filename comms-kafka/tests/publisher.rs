//! Tests of the publisher against a real broker: limits of topics, missing topics, dropped acknowledgements.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "the tests run in real time")]

#[allow(dead_code, reason = "each test binary uses its own part")]
mod common;

use common::*;
use comms_core::{Error, ErrorKind, Message, MessageParts, Publisher, clock::Clock};
use comms_kafka::{Consumer, KafkaConfig, KafkaPublisher, TopicSpec};
use rdkafka::{
    admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer as _},
};
use std::{collections::VecDeque, time::Duration};

async fn topic(name: &str, max_message_bytes: Option<usize>) -> String {
    let spec = TopicSpec::new(unique(name), 1, 1);
    let spec = match max_message_bytes {
        Some(bytes) => spec.config("max.message.bytes", bytes.to_string()),
        None => spec,
    };
    provision(&config(), std::slice::from_ref(&spec), LIMIT).await.unwrap();
    spec.name
}

/// Returns a message with `bytes` random bytes, which do not compress.
fn sized(topic: &str, key: &str, n: usize, bytes: usize) -> Message {
    let clock = Clock::system();
    let payload = std::iter::repeat_with(|| clock.random::<16>()).flatten().take(bytes).collect::<Vec<u8>>();
    Message::new(MessageParts { payload: Some(&payload), ..message(topic, key, n).parts() })
}

/// Publishes `batch`, and returns the kind of each error.
async fn kinds(publisher: &dyn Publisher, batch: Vec<Message>) -> Vec<Option<ErrorKind>> {
    let mut batch = VecDeque::from(batch);
    let results = tokio::time::timeout(LIMIT, publisher.enqueue(&mut batch)).await.unwrap();
    assert!(batch.is_empty());
    results.into_iter().map(|result| result.err().map(|error| error.kind)).collect()
}

/// Returns the first `n` messages of `topic`, in the order of their offsets.
async fn read(topic: &str, n: usize) -> Vec<Message> {
    let (config, seen) = (config(), Seen::default());
    let consumer = Consumer::builder(&config, unique("reader")).on(topic, seen.handler());
    let consumer = Running::start(consumer.dead_letter(publisher(&config)).build().unwrap());
    seen.len(n).await;
    consumer.stop().await;
    let mut seen: Vec<_> = seen.lock().clone();
    seen.sort_by_key(|delivery| delivery.position.offset);
    seen.into_iter().map(|delivery| delivery.message).collect()
}

/// Returns the ids of the first `n` messages of `topic`.
async fn ids(topic: &str, n: usize) -> Vec<String> {
    read(topic, n).await.iter().map(|message| message.id().to_owned()).collect()
}

/// The fixture of the conformance suite.
struct Fixture(KafkaConfig);

impl comms_core::testing::publisher::PublisherFixture for Fixture {
    type Publisher = KafkaPublisher;

    async fn publisher(&self) -> Result<KafkaPublisher, Error> {
        KafkaPublisher::new(&self.0, Clock::system())
    }

    async fn topic(&self, name: &str) -> Result<(), Error> {
        provision(&self.0, &[TopicSpec::new(name, 1, 1)], LIMIT).await.map(drop)
    }

    async fn arrived(&self, topic: &str) -> Result<Vec<Message>, Error> {
        let (owned, brokers) = (topic.to_owned(), self.0.brokers.clone());
        let ends = tokio::task::spawn_blocking(move || {
            let client: BaseConsumer =
                rdkafka::ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap();
            client.fetch_watermarks(&owned, 0, LIMIT).unwrap()
        });
        let (first, end) = ends.await.map_err(Error::internal)?;
        Ok(if first == end { Vec::new() } else { read(topic, usize::try_from(end - first).unwrap()).await })
    }

    fn bound(&self) -> Option<usize> {
        Some(100)
    }

    fn refusable(&self, message: Message) -> Option<Message> {
        let payload = vec![b'x'; 1_000_001];
        Some(Message::new(MessageParts { payload: Some(&payload), ..message.parts() }))
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Apache Kafka; run scripts/test"]
async fn the_publisher_passes_the_conformance_suite() {
    let config = config().librdkafka("queue.buffering.max.messages", "100");
    comms_core::testing::publisher::all(&Fixture(config)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Apache Kafka; run scripts/test"]
async fn a_topic_with_a_limit_below_batch_size_gets_its_messages_in_order() {
    // Without the look-up of the limit, a key loses its order in about every second round.
    for _ in 0..6 {
        publish_to_topic_with_low_limit().await;
    }
}

async fn publish_to_topic_with_low_limit() {
    let topic = topic("narrow", Some(20_000)).await;
    let config = config().librdkafka("linger.ms", "0");
    let publisher = publisher(&config);
    // Consecutive `enqueue` calls. Every second one fits into a batch below the limit.
    let mut acks = Vec::new();
    for page in 0..20 {
        let rows = if page % 2 == 0 { 0..95 } else { 95..100 };
        let mut batch: VecDeque<_> = rows.map(|n| sized(&topic, "k", page / 2 * 100 + n, 900)).collect();
        if page == 10 {
            batch.push_back(sized(&topic, "large", 0, 30_000));
        }
        acks.push(publisher.enqueue(&mut batch));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let mut refused = Vec::new();
    for acks in acks {
        refused.extend(tokio::time::timeout(LIMIT, acks).await.unwrap().into_iter().filter_map(Result::err));
    }
    let kinds: Vec<_> = refused.iter().map(|error| error.kind).collect();
    assert_eq!(kinds, [ErrorKind::Invalid], "only the record that is larger than the limit");
    let expected: Vec<_> = (0..1_000).map(|n| format!("k-{n}")).collect();
    assert!(ids(&topic, 1_000).await == expected, "out of order");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Apache Kafka; run scripts/test"]
async fn a_lowered_limit_neither_loses_nor_duplicates_messages() {
    let topic = topic("lowered", None).await;
    let publisher = publisher(&config());
    publish(&*publisher, [sized(&topic, "k", 0, 170)]).await;
    let admin: AdminClient<DefaultClientContext> =
        rdkafka::ClientConfig::new().set("bootstrap.servers", config().brokers).create().unwrap();
    let change = AlterConfig::new(ResourceSpecifier::Topic(&topic)).set("max.message.bytes", "20000");
    admin.alter_configs([&change], &AdminOptions::new()).await.unwrap().remove(0).unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    // Many batches, without waiting for acknowledgements between the `enqueue` calls.
    let acks: Vec<_> = (0..20)
        .map(|page| {
            let mut batch = (1..=500).map(|n| sized(&topic, "k", page * 500 + n, 170)).collect();
            publisher.enqueue(&mut batch)
        })
        .collect();
    for acks in acks {
        assert!(tokio::time::timeout(LIMIT, acks).await.unwrap().iter().all(Result::is_ok));
    }
    let mut expected: Vec<_> = (0..=10_000).map(|n| format!("k-{n}")).collect();
    let mut arrived = ids(&topic, 10_001).await;
    // A batch on the wire may overtake the refused one. No message is missing or duplicated.
    expected.sort();
    arrived.sort();
    assert!(arrived == expected, "{} of {}", arrived.len(), expected.len());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Apache Kafka; run scripts/test"]
async fn an_invalid_record_does_not_fail_its_batch() {
    // A compacted topic refuses records without a key.
    let spec = TopicSpec::new(unique("compacted"), 1, 1).config("cleanup.policy", "compact");
    provision(&config(), std::slice::from_ref(&spec), LIMIT).await.unwrap();
    let publisher = publisher(&config());
    let mut batch: Vec<_> = (0..10).map(|n| message(&spec.name, &format!("k{n}"), n)).collect();
    batch[4] = Message::new(MessageParts { key: None, ..batch[4].parts() });
    let mut expected = vec![None; 10];
    expected[4] = Some(ErrorKind::Invalid);
    assert_eq!(kinds(&*publisher, batch).await, expected);
    assert_eq!(ids(&spec.name, 9).await.len(), 9);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Apache Kafka; run scripts/test"]
async fn a_missing_topic_is_reported_and_does_not_delay_other_topics() {
    let (missing, there) = (unique("missing"), topic("there", None).await);
    let publisher = publisher(&config());
    let mut batch = VecDeque::from([message(&missing, "k", 0)]);
    let first = publisher.enqueue(&mut batch);
    publish(&*publisher, (0..100).map(|n| message(&there, "k", n))).await;
    let clock = Clock::system();
    let start = clock.now();
    let results = tokio::time::timeout(LIMIT, first).await.unwrap();
    assert_eq!(results[0].as_ref().unwrap_err().kind, ErrorKind::Misconfigured);
    assert!(clock.now() - start < Duration::from_secs(15), "{:?}", clock.now() - start);
    let spec = TopicSpec::new(&missing, 1, 1);
    provision(&config(), &[spec], LIMIT).await.unwrap();
    let accepted = tokio::time::timeout(Duration::from_secs(15), async {
        while kinds(&*publisher, vec![message(&missing, "k", 1)]).await != [None] {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    accepted.await.expect("messages are accepted after the topic is created");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Apache Kafka; run scripts/test"]
async fn dropped_acknowledgements_purge_queued_messages() {
    let topic = topic("dropped", None).await;
    let config = config().librdkafka("linger.ms", "2000");
    let publisher = publisher(&config);
    publish(&*publisher, [message(&topic, "k", 0)]).await;
    let batch = |n: usize| publisher.enqueue(&mut VecDeque::from([message(&topic, "k", n)]));
    // While another caller waits, the messages of a dropped call are published.
    let (dropped, held) = (batch(1), batch(2));
    drop(dropped);
    assert!(tokio::time::timeout(LIMIT, held).await.unwrap()[0].is_ok());
    drop(batch(3));
    publisher.flush().await.unwrap();
    assert!(tokio::time::timeout(LIMIT, batch(4)).await.unwrap()[0].is_ok());
    let ids = ids(&topic, 4).await;
    assert_eq!(ids, ["k-0", "k-1", "k-2", "k-4"]);
}
