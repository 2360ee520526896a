//! Tests with topics that are created, or deleted and created again, while a consumer or publisher runs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "the tests run in real time")]

#[allow(dead_code, reason = "each test binary uses its own part")]
mod common;

use common::*;
use comms_kafka::{Consumer, TopicSpec};
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer as _},
    producer::{BaseProducer, BaseRecord, Producer as _},
};
use std::time::Duration;

fn client() -> ClientConfig {
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", config().brokers);
    client
}

async fn create(spec: &TopicSpec) {
    provision(&config(), &[spec.clone(), spec.dead_letters()], LIMIT).await.unwrap();
}

/// Deletes the topic, and waits until it is gone from the cluster's metadata.
async fn delete(topic: &str) {
    let admin: AdminClient<DefaultClientContext> = client().create().unwrap();
    admin.delete_topics(&[topic], &AdminOptions::new()).await.unwrap();
    let metadata: BaseConsumer = client().create().unwrap();
    let exists = || {
        let all = metadata.fetch_metadata(None, LIMIT).unwrap();
        all.topics().iter().any(|found| found.name() == topic)
    };
    while exists() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Writes records without the identity headers, as another program does.
fn write(topic: &str, payloads: &[&str]) {
    let producer: BaseProducer = client().create().unwrap();
    for payload in payloads {
        producer
            .send(BaseRecord::<(), str>::to(topic).payload(*payload))
            .map_err(|(error, _)| error)
            .unwrap();
    }
    producer.flush(LIMIT).unwrap();
}

fn payloads(seen: &Seen) -> Vec<String> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    seen.lock().iter().map(|delivery| text(delivery.message.payload().unwrap())).collect()
}

/// The consumer starts first. It finds the topic within half a minute.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Apache Kafka; run scripts/test"]
async fn a_topic_created_after_the_consumer_is_read_from_its_first_record() {
    let spec = TopicSpec::new(unique("late"), 2, 1);
    let (seen, config) = (Seen::default(), config());
    let consumer = Consumer::builder(&config, unique("g")).dead_letter(publisher(&config));
    let running = Running::start(consumer.on(&*spec.name, seen.handler()).build().unwrap());
    tokio::time::sleep(Duration::from_secs(5)).await;
    create(&spec).await;
    write(&spec.name, &["first"]);
    seen.len(1).await;
    running.stop().await;
    assert_eq!(payloads(&seen), ["first"]);
}

/// The offsets of the new topic begin at 0, below the committed offset of the group. The consumer reads the new
/// records, and none of them has the identity of an old one.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Apache Kafka; run scripts/test"]
async fn a_recreated_topic_is_read_from_its_first_record_with_new_identities() {
    let spec = TopicSpec::new(unique("anew"), 1, 1);
    create(&spec).await;
    let (seen, config) = (Seen::default(), config());
    let consumer = Consumer::builder(&config, unique("g")).dead_letter(publisher(&config));
    let running = Running::start(consumer.on(&*spec.name, seen.handler()).build().unwrap());
    write(&spec.name, &["a", "b", "c"]);
    seen.len(3).await;
    // Wait until the offsets are committed.
    tokio::time::sleep(Duration::from_secs(2)).await;
    delete(&spec.name).await;
    create(&spec).await;
    write(&spec.name, &["d"]);
    seen.len(4).await;
    running.stop().await;
    // Records without a key have no order.
    let mut read = payloads(&seen);
    read.sort_unstable();
    assert_eq!(read, ["a", "b", "c", "d"]);
    let mut ids = seen.ids();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 4, "{ids:?}");
}

/// The broker has no state of the publisher's earlier batches.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Apache Kafka; run scripts/test"]
async fn a_publisher_continues_after_its_topic_is_recreated() {
    let spec = TopicSpec::new(unique("again"), 1, 1);
    create(&spec).await;
    let (seen, config) = (Seen::default(), config());
    let publisher = publisher(&config);
    publish(&*publisher, (0..3).map(|n| message(&spec.name, "old", n))).await;
    delete(&spec.name).await;
    create(&spec).await;
    publish(&*publisher, (0..3).map(|n| message(&spec.name, "new", n))).await;
    let consumer = Consumer::builder(&config, unique("g")).dead_letter(publisher);
    let running = Running::start(consumer.on(&*spec.name, seen.handler()).build().unwrap());
    seen.len(3).await;
    running.stop().await;
    assert_eq!(seen.ids(), ["new-0", "new-1", "new-2"]);
}

/// The key of a dead letter selects its partition, not the partition of its record.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Apache Kafka; run scripts/test"]
async fn a_dead_letter_topic_may_have_fewer_partitions() {
    let spec = TopicSpec::new(unique("narrow"), 6, 1);
    let dead_letters = spec.dead_letters().partitions(1);
    provision(&config(), &[spec.clone(), dead_letters.clone()], LIMIT).await.unwrap();
    let config = config();
    let refuse = Seen::default().handler_with(|_| async { Err(comms_core::Error::invalid("no")) });
    let consumer = Consumer::builder(&config, unique("g")).dead_letter(publisher(&config));
    let running = Running::start(consumer.on(&*spec.name, refuse).build().unwrap());
    publish(&*publisher(&config), (0..24).map(|n| message(&spec.name, &n.to_string(), n))).await;
    let seen = Seen::default();
    let reader = Consumer::builder(&config, unique("g")).dead_letter(publisher(&config));
    let reader = Running::start(reader.on(dead_letters.name, seen.handler()).build().unwrap());
    seen.len(24).await;
    reader.stop().await;
    running.stop().await;
}
