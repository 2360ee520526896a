//! Start positions, pauses, fatal faults, and consumers without dead letters.

use crate::common::{cluster::*, *};
use comms_core::{Error, ErrorKind};
use comms_kafka::{ClientFault, Start};
use std::{collections::HashMap, time::Duration};

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_topic_is_not_read_until_it_is_resumed() {
    let cluster = Cluster::new(&[("t", 1), ("u", 1)]);
    let publisher = cluster.publisher();
    let seen = Seen::default();
    let consumer = cluster.consumer().on("t", seen.handler()).on("u", seen.handler()).build().unwrap();
    let handle = consumer.handle();
    handle.pause("t").unwrap();
    assert_eq!((handle.is_paused("t").unwrap(), handle.is_paused("u").unwrap()), (true, false));
    assert_eq!(handle.pause("v").unwrap_err().kind, ErrorKind::NotFound);
    let consumer = Running::start(consumer);
    publish(&*publisher, (0..10).map(|n| message("t", "t", n))).await;
    publish(&*publisher, (0..10).map(|n| message("u", "u", n))).await;
    seen.len(10).await;
    assert!(seen.lock().iter().all(|delivery| delivery.message.topic() == "u"));
    handle.resume("t").unwrap();
    seen.len(20).await;
    handle.pause("u").unwrap();
    publish(&*publisher, [message("u", "u", 10), message("t", "t", 10)]).await;
    seen.until("the record of t", |seen| seen.iter().any(|d| d.message.id() == "t-10")).await;
    consumer.stop().await;
    assert_order(&seen.by_key());
    // The record of the paused topic is not lost.
    let again = Seen::default();
    let consumer = Running::start(cluster.consumer().on("u", again.handler()).build().unwrap());
    again.len(1).await;
    consumer.stop().await;
    assert_eq!(again.ids(), ["u-10"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_without_commits_starts_at_the_given_offsets() {
    let cluster = Cluster::new(&[("t", 1)]);
    let publisher = cluster.publisher();
    publish(&*publisher, (0..10).map(|n| message("t", "k", n))).await;
    let start = Start::Offsets(HashMap::from([(("t".into(), 0), 7)]));
    let seen = Seen::default();
    let consumer = cluster.consumer().on("t", seen.handler()).start_at(start.clone()).build().unwrap();
    let consumer = Running::start(consumer);
    seen.len(3).await;
    consumer.stop().await;
    assert_eq!(seen.by_key()["k"], [7, 8, 9]);
    // The group has commits now, so that the start is not used again.
    publish(&*publisher, [message("t", "k", 10)]).await;
    let again = Seen::default();
    let consumer = cluster.consumer().on("t", again.handler()).start_at(start).build().unwrap();
    let consumer = Running::start(consumer);
    again.len(1).await;
    consumer.stop().await;
    assert_eq!(again.by_key()["k"], [10]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_start_behind_the_last_record_survives_a_restart() {
    let cluster = Cluster::new(&[("t", 1)]);
    let publisher = cluster.publisher();
    publish(&*publisher, (0..10).map(|n| message("t", "k", n))).await;
    let health = comms_core::health::Health::new();
    let consumer = |seen: &Seen| {
        let consumer = cluster.consumer().on("t", seen.handler()).start_at(Start::Latest);
        Running::start(consumer.health(health.component("kafka")).build().unwrap())
    };
    let first = consumer(&Seen::default());
    let ready = tokio::time::timeout(LIMIT, async {
        while !health.is_ready() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    ready.await.expect("assigned");
    first.stop().await;
    // Published while no member runs.
    publish(&*publisher, [message("t", "k", 10)]).await;
    let seen = Seen::default();
    let second = consumer(&seen);
    seen.len(1).await;
    second.stop().await;
    assert_eq!(seen.by_key()["k"], [10]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_of_the_client_ends_the_consumer_if_it_is_fatal() {
    let mut cluster = Cluster::new(&[("t", 1)]);
    cluster.config = cluster.config.librdkafka("auto.offset.reset", "error");
    publish(&*cluster.publisher(), [message("t", "k", 0)]).await;
    let seen = Seen::default();
    let consumer = cluster.consumer().on("t", seen.handler()).fatal_on([ClientFault::Position]);
    let error = Running::start(consumer.build().unwrap()).ended().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Misconfigured, "{}", error.chain());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_publisher_of_dead_letters_a_failed_record_is_held() {
    let cluster = Cluster::new(&[("t", 1)]);
    publish(&*cluster.publisher(), [message("t", "bad", 0), message("t", "bad", 1), message("t", "good", 1)])
        .await;
    let seen = Seen::default();
    let handler = seen.handler_with(|delivery| async move {
        if delivery.message.id() == "bad-0" { Err(Error::invalid("cannot be read")) } else { Ok(()) }
    });
    let attempts = attempts(3, Duration::from_millis(20));
    let consumer = comms_kafka::Consumer::builder(&cluster.config, "group").on("t", handler);
    let consumer = consumer.attempts(attempts).build().unwrap();
    let holds = consumer.holds().clone();
    let consumer = Running::start(consumer);
    seen.len(1).await;
    let held = tokio::time::timeout(LIMIT, async {
        while holds.is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    held.await.expect("a hold");
    consumer.stop().await;
    assert_eq!(seen.ids(), ["good-1"], "the key waits");
    let again = Seen::default();
    let consumer = Running::start(cluster.consumer().on("t", again.handler()).build().unwrap());
    again.len(2).await;
    consumer.stop().await;
    assert_eq!(again.ids(), ["bad-0", "bad-1"]);
}
