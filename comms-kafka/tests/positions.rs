//! Tests of positions against a real broker: start times, moved groups, new partitions, and the lag behind aborted
//! transactions.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "the tests run in real time")]

#[allow(dead_code, reason = "each test binary uses its own part")]
mod common;

use common::*;
use comms_core::ErrorKind;
use comms_kafka::{Consumer, KafkaConfig, Start, TopicSpec, seek};
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewPartitions},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer as _},
    producer::{BaseProducer, BaseRecord, Producer as _},
};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Returns the settings for the broker of the tests, with a short session timeout and quick statistics.
fn config() -> KafkaConfig {
    common::config().librdkafka("session.timeout.ms", "6000").librdkafka("statistics.interval.ms", "200")
}

async fn topic(name: &str, partitions: i32) -> String {
    let spec = TopicSpec::new(unique(name), partitions, 1);
    provision(&config(), std::slice::from_ref(&spec), LIMIT).await.unwrap();
    spec.name
}

fn consumer(group: &str, topic: &str, seen: &Seen, start: Start) -> Consumer {
    Consumer::builder(&config(), group).on(topic, seen.handler()).start_at(start).build().unwrap()
}

fn at(millis: u64) -> Start {
    Start::Time(UNIX_EPOCH + Duration::from_millis(millis))
}

/// Publishes `n` records whose timestamps are 1, 2, ... seconds after `first`.
fn publish_at(topic: &str, first: u64, n: u64) {
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", &config().brokers).create().unwrap();
    for second in 0..n {
        let (millis, payload) = (first + second * 1_000, second.to_string());
        let record = BaseRecord::to(topic).key("k").payload(&payload).timestamp(millis as i64);
        producer.send(record).unwrap();
    }
    producer.flush(LIMIT).unwrap();
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Apache Kafka; run scripts/test"]
async fn a_group_starts_at_a_time_and_is_moved_to_another() {
    let (topic, group, first) = (topic("time", 1).await, unique("g"), now() - 100_000);
    publish_at(&topic, first, 10);
    let seen = Seen::default();
    let running = Running::start(consumer(&group, &topic, &seen, at(first + 6_500)));
    seen.len(3).await;
    let error = seek(&config(), &group, &topic, Start::Earliest).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Conflict, "{}", error.chain());
    running.stop().await;
    assert_eq!(seen.by_key()["k"], [7, 8, 9]);

    for (start, expected) in [(at(first + 4_000), 4..10), (Start::Earliest, 0..10)] {
        seek(&config(), &group, &topic, start).await.unwrap();
        let again = Seen::default();
        let running = Running::start(consumer(&group, &topic, &again, Start::Latest));
        again.len(expected.len()).await;
        running.stop().await;
        assert_eq!(again.by_key()["k"], expected.collect::<Vec<_>>());
    }
    let missing = seek(&config(), &group, &unique("missing"), Start::Earliest).await.unwrap_err();
    assert_eq!(missing.kind, ErrorKind::Misconfigured, "{}", missing.chain());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Apache Kafka; run scripts/test"]
async fn a_running_consumer_moves_its_partitions() {
    let (topic, group) = (topic("moved", 3).await, unique("g"));
    let messages = |range: std::ops::Range<usize>| range.map(|n| message(&topic, &format!("k{}", n % 30), n));
    publish(&*publisher(&config()), messages(0..300)).await;
    let seen = Seen::default();
    let running = consumer(&group, &topic, &seen, Start::Earliest);
    let handle = running.handle();
    let running = Running::start(running);
    seen.len(300).await;
    handle.seek(&topic, Start::Earliest).await.unwrap();
    seen.len(600).await;
    // The new runners also read what is published later, and a move to the end skips nothing of it.
    handle.seek(&topic, Start::Latest).await.unwrap();
    publish(&*publisher(&config()), messages(300..330)).await;
    seen.len(630).await;
    assert_eq!(handle.seek("other", Start::Latest).await.unwrap_err().kind, ErrorKind::NotFound);
    running.stop().await;
    assert_eq!(seen.lock().len(), 630);
    assert_eq!(handle.seek(&topic, Start::Latest).await.unwrap_err().kind, ErrorKind::NotExecuted);
    let again = Seen::default();
    let running = Running::start(consumer(&group, &topic, &again, Start::Earliest));
    publish(&*publisher(&config()), messages(330..331)).await;
    again.len(1).await;
    running.stop().await;
    assert_eq!(again.lock().len(), 1, "the position behind the last record was committed");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Apache Kafka; run scripts/test"]
async fn the_lag_is_zero_behind_an_aborted_transaction() {
    let (topic, group) = (topic("aborted", 1).await, unique("g"));
    publish(&*publisher(&config()), [message(&topic, "k", 0)]).await;
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", &config().brokers)
        .set("transactional.id", unique("tx"))
        .create()
        .unwrap();
    let aborted = topic.clone();
    let aborting = tokio::task::spawn_blocking(move || {
        producer.init_transactions(LIMIT).unwrap();
        producer.begin_transaction().unwrap();
        for n in 0..5 {
            producer.send(BaseRecord::to(&aborted).key("k").payload(&n.to_string())).unwrap();
        }
        producer.flush(LIMIT).unwrap();
        producer.abort_transaction(LIMIT).unwrap();
    });
    aborting.await.unwrap();
    let seen = Seen::default();
    let consumer = Consumer::builder(&config(), &*group);
    let slow = seen.handler_with(|_| async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        Ok(())
    });
    let consumer = consumer.on(&*topic, slow).build().unwrap();
    let (lag, age) = (consumer.lag(), consumer.lag_seconds());
    let running = Running::start(consumer);
    let until = async |what: &str, reached: &dyn Fn() -> bool| {
        let reached = tokio::time::timeout(LIMIT, async {
            while !reached() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        assert!(reached.await.is_ok(), "{what}: {} records, {} s", lag(), age());
    };
    until("the record and the transaction", &|| lag() == 7.0 && age() > 0.0).await;
    seen.len(1).await;
    until("no lag", &|| lag() == 0.0 && age() == 0.0).await;
    running.stop().await;
    assert_eq!(seen.lock().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Apache Kafka; run scripts/test"]
async fn partitions_that_are_added_later_are_read_from_their_first_record() {
    let (topic, group) = (topic("grown", 1).await, unique("g"));
    let config = config().librdkafka("topic.metadata.refresh.interval.ms", "1000");
    publish(&*publisher(&config), [message(&topic, "k", 0)]).await;
    let seen = Seen::default();
    let running = Consumer::builder(&config, &*group).on(&*topic, seen.handler()).build().unwrap();
    let running = Running::start(running);
    seen.len(1).await;
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", &config.brokers).create().unwrap();
    admin.create_partitions([&NewPartitions::new(&topic, 4)], &AdminOptions::new()).await.unwrap();
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", &config.brokers).create().unwrap();
    for partition in 0..4 {
        let payload = partition.to_string();
        producer.send(BaseRecord::to(&topic).key("k").partition(partition).payload(&payload)).unwrap();
    }
    producer.flush(LIMIT).unwrap();
    seen.len(5).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Apache Kafka; run scripts/test"]
async fn a_commit_in_an_open_transaction_is_not_taken_for_no_commit() {
    let (topic, group) = (topic("unstable", 1).await, unique("g"));
    let messages = |range: std::ops::Range<usize>| range.map(|n| message(&topic, "k", n));
    publish(&*publisher(&config()), messages(0..10)).await;
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", &config().brokers)
        .set("transactional.id", unique("tx"))
        .create()
        .unwrap();
    let (moved, of) = (topic.clone(), group.clone());
    let opening = tokio::task::spawn_blocking(move || {
        let member: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &config().brokers)
            .set("group.id", &of)
            .create()
            .unwrap();
        let mut offsets = TopicPartitionList::new();
        offsets.add_partition_offset(&moved, 0, Offset::Offset(4)).unwrap();
        producer.init_transactions(LIMIT).unwrap();
        producer.begin_transaction().unwrap();
        producer.send_offsets_to_transaction(&offsets, &member.group_metadata().unwrap(), LIMIT).unwrap();
        producer
    });
    let producer = opening.await.unwrap();
    let seen = Seen::default();
    let running = Running::start(consumer(&group, &topic, &seen, Start::Latest));
    let closing = tokio::task::spawn_blocking(move || {
        std::thread::sleep(Duration::from_secs(7));
        producer.commit_transaction(LIMIT).unwrap();
    });
    closing.await.unwrap();
    seen.len(6).await;
    running.stop().await;
    assert_eq!(seen.by_key()["k"], (4..10).collect::<Vec<_>>());
}
