//! Interoperability with two other clients: the Python package confluent-kafka, and Kafka's command line tools in Java.
//! Each side reads what the other wrote, and all choose the same partition for a key.

#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]
#![allow(clippy::disallowed_methods, reason = "the tests run in real time")]

#[path = "../common/mod.rs"]
#[allow(dead_code, reason = "each test binary uses its own part")]
mod common;
mod confluent;
mod java;
mod records;

use std::collections::BTreeMap;

use comms_core::{Headers, Message, MessageParts};
use comms_kafka::{Consumer, TopicSpec};

use common::*;
use records::{ByPlace, Record, by_place, examples, is_identity, of_delivery, texts};

const PARTITIONS: i32 = 12;

async fn topic(name: &str) -> String {
    let spec = TopicSpec::new(unique(name), PARTITIONS, 1);
    provision(&config(), &[spec.clone(), spec.dead_letters()], LIMIT).await.unwrap();
    spec.name
}

/// Reads `count` records with the consumer of this crate.
async fn consume(topic: &str, count: usize) -> (Vec<Record>, Seen) {
    let (config, seen) = (config(), Seen::default());
    let consumer = Consumer::builder(&config, unique("peers")).on(topic, seen.handler());
    let running = Running::start(consumer.dead_letter(publisher(&config)).build().unwrap());
    seen.len(count).await;
    running.stop().await;
    let records = seen.lock().iter().map(of_delivery).collect();
    (records, seen)
}

/// Publishes `records` with the publisher of this crate, each with the number of its index as its id.
async fn produce(topic: &str, records: &[Record]) {
    let messages = records.iter().enumerate().map(|(n, record)| to_message(topic, n, record));
    publish(&*publisher(&config()), messages).await;
}

fn to_message(topic: &str, n: usize, record: &Record) -> Message {
    let mut headers = Headers::new();
    for (name, value) in &record.headers {
        headers.append(name, value.as_deref().unwrap_or_default());
    }
    Message::new(MessageParts {
        source: "peers",
        id: &n.to_string(),
        topic,
        key: record.key.as_deref(),
        headers: headers.view(),
        payload: record.value.as_deref(),
    })
}

/// Returns the partitions of each key.
fn partitions(records: &[Record]) -> BTreeMap<Vec<u8>, Vec<i32>> {
    let mut partitions = BTreeMap::<_, Vec<_>>::new();
    for record in records {
        let Some(key) = &record.key else { continue };
        let all = partitions.entry(key.clone()).or_default();
        all.push(record.place.unwrap().0);
        all.dedup();
    }
    partitions
}

/// Asserts that a peer has read `expected`, whose ids are their indexes. Returns the records without their identity.
fn assert_read_by_peer(mut read: Vec<Record>, expected: &[Record]) {
    assert_eq!(read.len(), expected.len());
    let number = |record: &Record| -> usize {
        let (name, id) = &record.headers[0];
        assert_eq!(name, "ce_id", "{record:?}");
        assert_eq!(record.headers[1], ("ce_source".to_owned(), Some(b"peers".to_vec())));
        std::str::from_utf8(id.as_ref().unwrap()).unwrap().parse().unwrap()
    };
    read.sort_by_key(number);
    for (record, expected) in read.into_iter().zip(expected) {
        let headers = record.headers.into_iter().filter(|(name, _)| !is_identity(name)).collect();
        assert_eq!(Record { headers, place: None, ..record }, expected.as_read());
    }
}

fn as_read(records: &[Record]) -> ByPlace {
    by_place(records.iter().map(Record::as_read))
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Apache Kafka and Python packages; run scripts/test"]
async fn records_of_confluent_kafka_are_consumed() {
    let topic = topic("from-confluent").await;
    let written = confluent::write(&config().brokers, &topic, &examples());
    assert_eq!(written.len(), examples().len());
    let (read, seen) = consume(&topic, written.len()).await;
    assert_eq!(by_place(read), as_read(&written));
    for delivery in seen.lock().iter() {
        let (id, source) = (delivery.message.id(), delivery.message.source());
        assert!(source == "kafka" && id.starts_with(&format!("{topic}-")), "{source} {id}");
    }
    println!("{} records of confluent-kafka were consumed", written.len());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Apache Kafka and Python packages; run scripts/test"]
async fn the_identity_of_a_record_of_confluent_kafka_is_read() {
    let topic = topic("identity").await;
    let record = Record::new(Some(b"k"), Some(b"v"));
    let record =
        record.header("ce_id", Some(b"7")).header("x", Some(b"y")).header("ce_source", Some(b"shop"));
    let written = confluent::write(&config().brokers, &topic, &[record]);
    let (read, seen) = consume(&topic, 1).await;
    assert_eq!(by_place(read), as_read(&written));
    let seen = seen.lock();
    assert_eq!((seen[0].message.id(), seen[0].message.source()), ("7", "shop"));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Apache Kafka and Python packages; run scripts/test"]
async fn published_messages_are_read_by_confluent_kafka() {
    let topic = topic("to-confluent").await;
    produce(&topic, &examples()).await;
    let read = confluent::read(&config().brokers, &topic, examples().len());
    assert_read_by_peer(read, &examples());
    println!("{} messages were read by confluent-kafka", examples().len());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Apache Kafka; run scripts/test"]
async fn records_of_the_console_producer_are_consumed() {
    let (topic, records) = (topic("from-java").await, texts());
    java::write(&config().brokers, &topic, &records);
    let (read, _) = consume(&topic, records.len()).await;
    let content = |records: &[Record]| -> Vec<_> {
        let mut records: Vec<_> = records.iter().map(Record::as_read).collect();
        records.iter_mut().for_each(|record| record.place = None);
        records.sort_by(|a, b| (&a.key, &a.value, &a.headers).cmp(&(&b.key, &b.value, &b.headers)));
        records
    };
    assert_eq!(content(&read), content(&records));
    println!("{} records of the console producer were consumed", records.len());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Apache Kafka; run scripts/test"]
async fn published_messages_are_read_by_the_console_consumer() {
    let (topic, records) = (topic("to-java").await, texts());
    produce(&topic, &records).await;
    assert_read_by_peer(java::read(&config().brokers, &topic, records.len()), &records);
    println!("{} messages were read by the console consumer", records.len());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Apache Kafka and Python packages; run scripts/test"]
async fn all_clients_choose_the_same_partition_for_a_key() {
    let (ours, python, java) = (topic("ours").await, topic("python").await, topic("java").await);
    // The console producer writes no empty key.
    let keyed = |record: &Record| record.key.as_ref().is_some_and(|key| !key.is_empty());
    let records: Vec<_> = texts().into_iter().filter(keyed).collect();
    produce(&ours, &records).await;
    confluent::write(&config().brokers, &python, &records);
    java::write(&config().brokers, &java, &records);
    let (ours, _) = consume(&ours, records.len()).await;
    let (python, _) = consume(&python, records.len()).await;
    let (java, _) = consume(&java, records.len()).await;
    let ours = partitions(&ours);
    assert!(ours.len() > 100 && ours.values().all(|all| all.len() == 1), "{ours:?}");
    assert_eq!(ours, partitions(&python), "the partitions of confluent-kafka");
    assert_eq!(ours, partitions(&java), "the partitions of the Java producer");
    println!("{} keys have the same partition in all clients", ours.len());
}
