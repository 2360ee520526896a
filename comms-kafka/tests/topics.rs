//! Topics that change while a consumer runs: created later, or deleted and created anew.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "each test binary uses its own part")]
mod common;

use common::*;
use comms_kafka::{Consumer, KafkaConfig, TopicSpec, provision};
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer as _},
    producer::{BaseProducer, BaseRecord, Producer as _},
};
use std::time::Duration;

const BROKERS: &str = "COMMS_TEST_KAFKA_BROKERS";

fn brokers() -> String {
    std::env::var(BROKERS).unwrap_or_else(|_| panic!("{BROKERS} is not set: run scripts/test"))
}

fn config() -> KafkaConfig {
    KafkaConfig::new(brokers())
}

fn client() -> ClientConfig {
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", brokers());
    client
}

async fn create(spec: &TopicSpec) {
    provision(&config(), &[spec.clone(), spec.dead_letters()], LIMIT).await.unwrap();
}

/// Deletes the topic, and waits until the cluster does not know it any more.
async fn delete(topic: &str) {
    let admin: AdminClient<DefaultClientContext> = client().create().unwrap();
    admin.delete_topics(&[topic], &AdminOptions::new()).await.unwrap();
    let looker: BaseConsumer = client().create().unwrap();
    let known = || {
        let all = looker.fetch_metadata(None, LIMIT).unwrap();
        all.topics().iter().any(|found| found.name() == topic)
    };
    while known() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Writes records without an identity, as another program does.
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
    seen.lock().iter().map(|delivery| text(delivery.message.payload.as_ref().unwrap())).collect()
}

/// The consumer is there first: it begins with the topic's first record, within half a minute.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Apache Kafka; run scripts/test"]
async fn a_topic_that_is_created_later_is_read_from_its_first_record() {
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

/// The offsets begin again at 0, below what the group has committed. The records are others, so they are read, and none
/// has the identity of one from before.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Apache Kafka; run scripts/test"]
async fn a_topic_that_is_created_anew_is_read_from_its_first_record_and_with_new_identities() {
    let spec = TopicSpec::new(unique("anew"), 1, 1);
    create(&spec).await;
    let (seen, config) = (Seen::default(), config());
    let consumer = Consumer::builder(&config, unique("g")).dead_letter(publisher(&config));
    let running = Running::start(consumer.on(&*spec.name, seen.handler()).build().unwrap());
    write(&spec.name, &["a", "b", "c"]);
    seen.len(3).await;
    // The group has them.
    tokio::time::sleep(Duration::from_secs(2)).await;
    delete(&spec.name).await;
    create(&spec).await;
    write(&spec.name, &["d"]);
    seen.len(4).await;
    running.stop().await;
    // Records without a key have no order among each other.
    let mut read = payloads(&seen);
    read.sort_unstable();
    assert_eq!(read, ["a", "b", "c", "d"]);
    let mut ids = seen.ids();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 4, "{ids:?}");
}

/// The same publisher before and after: the broker knows nothing of its earlier batches.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Apache Kafka; run scripts/test"]
async fn a_publisher_goes_on_with_a_topic_that_is_created_anew() {
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

/// A dead letter goes where its key leads, not to the partition of its record.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Apache Kafka; run scripts/test"]
async fn a_topic_of_dead_letters_may_have_fewer_partitions() {
    let spec = TopicSpec::new(unique("narrow"), 6, 1);
    let mut dead_letters = spec.dead_letters();
    dead_letters.partitions = 1;
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
