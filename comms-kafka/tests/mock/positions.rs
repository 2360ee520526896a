//! Positions that do not exist, moves while a topic is paused or the cluster fails, and the lag of records that are not
//! fetched.

use crate::common::{cluster::*, *};
use comms_kafka::{Consumer, Start};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use std::{collections::HashMap, time::Duration};

fn at(offset: i64) -> Start {
    Start::Offsets(HashMap::from([(("t".into(), 0), offset)]))
}

fn records(range: std::ops::Range<usize>) -> impl Iterator<Item = comms_core::Message> {
    range.map(|n| message("t", "k", n))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_behind_the_last_record_is_the_end() {
    let cluster = Cluster::new(&[("t", 1)]);
    publish(&*cluster.publisher(), records(0..10)).await;
    let seen = Seen::default();
    let consumer = cluster.consumer().on("t", seen.handler()).start_at(at(1_000)).build().unwrap();
    let handle = consumer.handle();
    let consumer = Running::start(consumer);
    // Returns when the partition is assigned, or has moved no partition because none is assigned yet.
    handle.seek("t", at(5_000)).await.unwrap();
    until("committed", || cluster.committed().0 == 10).await;
    publish(&*cluster.publisher(), records(10..11)).await;
    seen.len(1).await;
    handle.seek("t", at(5_000)).await.unwrap();
    publish(&*cluster.publisher(), records(11..12)).await;
    seen.len(2).await;
    consumer.stop().await;
    assert_eq!(seen.by_key()["k"], [10, 11]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_is_committed_without_waiting_for_a_record_or_an_interval() {
    let cluster = Cluster::new(&[("t", 1)]);
    publish(&*cluster.publisher(), records(0..10)).await;
    let seen = Seen::default();
    let consumer = cluster.consumer().on("t", seen.handler()).start_at(Start::Latest);
    let consumer = Running::start(consumer.commit_interval(LIMIT * 60).build().unwrap());
    until("committed", || cluster.committed().0 == 10).await;
    consumer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_topic_that_is_moved_goes_on_at_the_new_position() {
    let cluster = Cluster::new(&[("t", 1)]);
    let publisher = cluster.publisher();
    publish(&*publisher, records(0..10)).await;
    let seen = Seen::default();
    let consumer = cluster.consumer().on("t", seen.handler()).build().unwrap();
    let handle = consumer.handle();
    let consumer = Running::start(consumer);
    seen.len(10).await;
    handle.pause("t").unwrap();
    publish(&*publisher, records(10..20)).await;
    handle.seek("t", at(5)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(seen.lock().len(), 10, "the topic is still paused");
    handle.resume("t").unwrap();
    seen.len(25).await;
    handle.seek("t", at(18)).await.unwrap();
    handle.pause("t").unwrap();
    handle.resume("t").unwrap();
    seen.len(27).await;
    consumer.stop().await;
    let expected: Vec<_> = (0..10).chain(5..20).chain(18..20).collect();
    assert_eq!(seen.by_key()["k"], expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_that_the_cluster_refuses_changes_nothing() {
    let cluster = Cluster::new(&[("t", 1)]);
    let publisher = cluster.publisher();
    publish(&*publisher, records(0..10)).await;
    let (seen, (open, opened)) = (Seen::default(), tokio::sync::watch::channel(false));
    let handler = seen.handler_with(move |delivery| {
        let mut opened = opened.clone();
        async move {
            if delivery.message.id() == "k-4" {
                opened.wait_for(|open| *open).await.unwrap();
            }
            Ok(())
        }
    });
    let consumer = cluster.consumer().on("t", handler).build().unwrap();
    let handle = consumer.handle();
    let consumer = Running::start(consumer);
    seen.len(4).await;
    let refused = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED; 50];
    cluster.mock.request_errors(RDKafkaApiKey::ListOffsets, &refused);
    handle.seek("t", Start::Latest).await.unwrap_err();
    open.send(true).unwrap();
    seen.len(10).await;
    consumer.stop().await;
    assert_eq!(seen.by_key()["k"], (0..10).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_whose_bounds_are_one_reads_everything() {
    let cluster = Cluster::new(&[("t", 3)]);
    publish(&*cluster.publisher(), (0..200).map(|n| message("t", &format!("k{}", n % 7), n))).await;
    let seen = Seen::default();
    let handler = seen.handler_with(|_| async {
        tokio::task::yield_now().await;
        Ok(())
    });
    let consumer = cluster.consumer().on("t", handler).max_gap(1).buffer_records(1).concurrency(1);
    let consumer = Running::start(consumer.commit_records(1).build().unwrap());
    seen.len(200).await;
    consumer.stop().await;
    assert_order(&seen.by_key());
    assert_eq!(seen.lock().len(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lag_of_a_paused_topic_grows_and_ends_with_the_consumer() {
    let mut cluster = Cluster::new(&[("t", 1)]);
    cluster.config = cluster
        .config
        .librdkafka("statistics.interval.ms", "100")
        .librdkafka("queued.min.messages", "10")
        .librdkafka("queued.max.messages.kbytes", "1")
        .librdkafka("fetch.message.max.bytes", "1000");
    let publisher = cluster.publisher();
    let seen = Seen::default();
    let consumer: Consumer = cluster.consumer().on("t", seen.handler()).build().unwrap();
    let (handle, lag) = (consumer.handle(), consumer.lag());
    let consumer = Running::start(consumer);
    publish(&*publisher, records(0..1)).await;
    seen.len(1).await;
    handle.pause("t").unwrap();
    for n in 0..20 {
        publish(&*publisher, records(1 + n * 50..51 + n * 50)).await;
    }
    until("a lag", || lag() > 0.0).await;
    let reached = tokio::time::timeout(Duration::from_secs(5), async {
        while lag() != 1_000.0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    assert!(reached.await.is_ok(), "the lag stays at {}", lag());
    publish(&*publisher, records(1_001..1_101)).await;
    let reached = tokio::time::timeout(Duration::from_secs(5), async {
        while lag() != 1_100.0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    assert!(reached.await.is_ok(), "the lag stays at {}", lag());
    consumer.stop().await;
    assert_eq!(lag(), 0.0, "the next owner reports the lag");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_topic_stays_paused_when_its_partitions_come_back() {
    let cluster = Cluster::new(&[("t", 2)]);
    let publisher = cluster.publisher();
    let (first, second) = (Seen::default(), Seen::default());
    let consumer = cluster.consumer().on("t", first.handler()).build().unwrap();
    let handle = consumer.handle();
    let consumer = Running::start(consumer);
    publish(&*publisher, (0..20).map(|n| message("t", &format!("k{n}"), n))).await;
    first.len(20).await;
    handle.pause("t").unwrap();
    publish(&*publisher, (20..40).map(|n| message("t", &format!("k{n}"), n))).await;
    let other = Running::start(cluster.consumer().on("t", second.handler()).build().unwrap());
    second.until("its partition", |seen| !seen.is_empty()).await;
    other.stop().await;
    let handled = second.lock().len();
    assert!(handled < 20, "one partition was not moved");
    assert_eq!(first.lock().len(), 20, "the topic is paused in the first member");
    handle.resume("t").unwrap();
    first.len(40 - handled).await;
    consumer.stop().await;
    let ids: std::collections::BTreeSet<_> = first.ids().into_iter().chain(second.ids()).collect();
    assert_eq!(ids.len(), 40);
}
