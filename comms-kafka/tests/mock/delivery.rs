//! Delivery to handlers: order, commits, bounds, lag, and the settings that the builder refuses.

use crate::common::{cluster::*, gauges::Gauges, *};
use comms_core::{Headers, Message, MessageParts, clock::Clock, health::Health};
use comms_kafka::{Consumer, ConsumerBuilder, KafkaConfig};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_received_as_they_were_sent() {
    let cluster = Cluster::new(&[("t", 1)]);
    let headers: Headers = [("b", "2"), ("a", ""), ("b", "3"), ("traceparent", "x")].into_iter().collect();
    let numbered = |n| message("t", "k", n);
    let full = Message::new(MessageParts { headers: headers.view(), ..numbered(1).parts() });
    let tombstone = Message::new(MessageParts { payload: None, ..numbered(2).parts() });
    let empty = Message::new(MessageParts { payload: Some(b""), key: Some(b""), ..numbered(3).parts() });
    let keyless = Message::new(MessageParts { key: None, ..numbered(4).parts() });
    let sent = [full, tombstone, empty, keyless];
    publish(&*cluster.publisher(), sent.clone()).await;

    let other_producer: BaseProducer =
        rdkafka::ClientConfig::new().set("bootstrap.servers", &cluster.config.brokers).create().unwrap();
    other_producer.send(BaseRecord::<str, str>::to("t").partition(0).key("f").payload("raw")).unwrap();
    other_producer.flush(LIMIT).unwrap();

    let mut read = cluster.read("t", 5).await;
    read.sort_by(|a, b| a.id().cmp(b.id()));
    assert_eq!(read[..4], sent);
    assert_eq!(read[4].source(), "kafka");
    let timestamp = read[4].id().strip_prefix("t-0-4-").map(str::parse::<u64>);
    assert!(matches!(timestamp, Some(Ok(_))), "{}", read[4].id());
    assert_eq!(read[4].payload(), Some(&b"raw"[..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn records_of_a_key_are_handled_in_order_by_slow_handlers() {
    let mut cluster = Cluster::new(&[("t", 4)]);
    cluster.config = cluster.config.librdkafka("group.protocol", "classic");
    let messages = (0..20).flat_map(|n| (0..50).map(move |key| message("t", &format!("k{key}"), n)));
    publish(&*cluster.publisher(), messages).await;
    let (seen, most, running) =
        (Seen::default(), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counters = (most.clone(), running);
    let handler = seen.handler_with(move |_| {
        let (most, running) = counters.clone();
        async move {
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            let [wait] = Clock::system().random();
            tokio::time::sleep(Duration::from_micros(u64::from(wait) * 40)).await;
            running.fetch_sub(1, Ordering::SeqCst);
            Ok(())
        }
    });
    let consumer = Running::start(
        cluster.consumer().on("t", handler).concurrency(40).buffer_records(40).build().unwrap(),
    );
    seen.len(1_000).await;
    consumer.stop().await;
    assert!(seen.by_key().values().all(|numbers| numbers.iter().eq(&(0..20).collect::<Vec<_>>())));
    let most = most.load(Ordering::SeqCst);
    assert!((2..=40).contains(&most), "{most} concurrent handlers");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_repeats_only_uncommitted_records() {
    let cluster = Cluster::new(&[("t", 1)]);
    let publisher = cluster.publisher();
    publish(&*publisher, (0..10).map(|n| message("t", &format!("k{n}"), n))).await;
    // The sixth record never finishes, so its offset is the last one that is committed, with the records beyond it.
    let seen = Seen::default();
    let stuck = seen.handler_with(|delivery| async move {
        if delivery.message.id() == "k5-5" {
            std::future::pending::<()>().await;
        }
        Ok(())
    });
    let first = cluster.consumer().on("t", stuck).drain(Duration::from_millis(100)).build().unwrap();
    let first = Running::start(first);
    seen.len(9).await;
    first.stop().await;

    let again = Seen::default();
    let second = Running::start(cluster.consumer().on("t", again.handler()).build().unwrap());
    again.len(1).await;
    publish(&*publisher, [message("t", "k10", 10)]).await;
    again.until("the last record", |seen| seen.iter().any(|d| d.message.id() == "k10-10")).await;
    second.stop().await;
    let mut ids = again.ids();
    ids.sort();
    assert_eq!(ids, ["k10-10", "k5-5"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_is_paused_at_max_gap_behind_a_stuck_record() {
    let cluster = Cluster::new(&[("t", 1), ("u", 1)]);
    let publisher = cluster.publisher();
    let seen = Seen::default();
    let (open, opened) = tokio::sync::watch::channel(false);
    let handler = seen.handler_with(move |delivery| {
        let mut opened = opened.clone();
        async move {
            if delivery.message.id() == "stuck-0" {
                opened.wait_for(|open| *open).await.unwrap();
            }
            Ok(())
        }
    });
    let consumer = cluster.consumer().on("t", handler.clone()).on("u", handler).max_gap(50);
    let consumer = Running::start(consumer.build().unwrap());
    publish(&*publisher, [message("t", "stuck", 0)]).await;
    for n in 0..30 {
        publish(&*publisher, (n * 10..n * 10 + 10).map(|n| message("t", "t", n))).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    seen.len(49).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let held = seen.lock().len();
    assert!((49..60).contains(&held), "{held} records behind the stuck one");
    publish(&*publisher, (0..10).map(|n| message("u", "u", n))).await;
    seen.len(held + 10).await;
    assert!(seen.lock().iter().filter(|d| d.message.topic() == "u").count() == 10);
    open.send(true).unwrap();
    seen.len(311).await;
    consumer.stop().await;
    assert_order(&seen.by_key());
    assert_eq!(seen.lock().len(), 311, "no record is handled again after a pause");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_consumer_is_paused_without_loss_or_repetition() {
    let cluster = Cluster::new(&[("t", 3)]);
    publish(&*cluster.publisher(), (0..300).map(|n| message("t", &format!("k{}", n % 7), n))).await;
    let seen = Seen::default();
    // The handler is slower than an iteration of the poll thread, so the client is paused and resumed many times.
    let handler = seen.handler_with(|_| async {
        tokio::time::sleep(Duration::from_millis(30)).await;
        Ok(())
    });
    let consumer = Running::start(cluster.consumer().on("t", handler).buffer_records(5).build().unwrap());
    seen.len(300).await;
    consumer.stop().await;
    assert_order(&seen.by_key());
    assert_eq!(seen.lock().len(), 300);
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_the_run_future_cancels_its_handlers() {
    let cluster = Cluster::new(&[("t", 1)]);
    let publisher = cluster.publisher();
    publish(&*publisher, [message("t", "k", 0)]).await;
    let (seen, attempted) = (Seen::default(), Seen::default());
    let handler = {
        let attempted = attempted.clone();
        seen.handler_with(move |delivery| {
            attempted.push(delivery);
            std::future::pending()
        })
    };
    let consumer = Running::start(cluster.consumer().on("t", handler).build().unwrap());
    attempted.len(1).await;
    consumer.task.abort();
    let again = Seen::default();
    let second = Running::start(cluster.consumer().on("t", again.handler()).build().unwrap());
    again.len(1).await;
    publish(&*publisher, [message("t", "k", 1)]).await;
    again.len(2).await;
    second.stop().await;
    assert_eq!((attempted.lock().len(), seen.lock().len()), (1, 0));
}

#[test]
fn build_refuses_settings_that_cannot_work() {
    let seen = Seen::default();
    let config = KafkaConfig::new("localhost:1");
    let dead_letters = publisher(&config);
    let base = || Consumer::builder(&config, "group").dead_letter(dead_letters.clone());
    let refused = |builder: ConsumerBuilder| builder.build().unwrap_err().chain().to_string();
    assert!(Consumer::builder(&config, "group").on("t", seen.handler()).build().is_ok());
    assert!(refused(base()).contains("`on`"));
    assert!(refused(base().on("t", seen.handler()).on("t", seen.handler())).contains("two handlers"));
    assert!(refused(base().on("^t", seen.handler())).contains("topic name"));
    let no_group = Consumer::builder(&config, "").dead_letter(dead_letters.clone());
    assert!(refused(no_group.on("t", seen.handler())).contains("group of a consumer is empty"));
    assert!(refused(base().on("t", seen.handler()).concurrency(0)).contains("concurrency"));
    assert!(refused(base().on("t", seen.handler()).commit_records(0)).contains("above zero"));
    assert!(refused(base().on("t", seen.handler()).drain(LIMIT * 10)).contains("max.poll.interval.ms"));
    assert!(base().on("t", seen.handler()).build().is_ok());
    // The client itself refuses a mechanism only when it is created.
    let sasl = config.clone().librdkafka("security.protocol", "SASL_PLAINTEXT");
    let mechanism = sasl.librdkafka("sasl.mechanism", "SCRAM");
    let unknown = Consumer::builder(&mechanism, "group").dead_letter(dead_letters.clone());
    assert!(refused(unknown.on("t", seen.handler())).contains("SCRAM-SHA-256"));
}

#[tokio::test(flavor = "multi_thread")]
async fn lag_is_reported_and_reset_at_revocation() {
    let gauges = Gauges::install();
    let mut cluster = Cluster::new(&[("lagging", 1)]);
    cluster.config = cluster.config.librdkafka("statistics.interval.ms", "100");
    publish(&*cluster.publisher(), (0..10).map(|n| message("lagging", "k", n))).await;
    let (seen, (open, opened)) = (Seen::default(), tokio::sync::watch::channel(false));
    let handler = seen.handler_with(move |delivery| {
        let mut opened = opened.clone();
        async move {
            if delivery.message.id() == "k-3" {
                opened.wait_for(|open| *open).await.unwrap();
            }
            Ok(())
        }
    });
    let health = Health::new();
    let heartbeat = health.heartbeat("poll", Duration::from_secs(60));
    let consumer = cluster.consumer().on("lagging", handler).heartbeat(heartbeat).build().unwrap();
    let lag = consumer.lag();
    let consumer = Running::start(consumer);
    gauges.until(7.0).await;
    let reported = tokio::time::timeout(LIMIT, async {
        while lag() != 7.0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    assert!(reported.await.is_ok(), "Consumer::lag returns the value of the gauge: {}", lag());
    assert!(health.liveness().parts.contains_key("poll"));
    open.send(true).unwrap();
    gauges.until(0.0).await;
    publish(&*cluster.publisher(), [message("lagging", "k", 10)]).await;
    seen.len(11).await;
    consumer.stop().await;
    gauges.until(0.0).await;
    assert!(health.liveness().parts.is_empty(), "the heartbeat is removed when the poll thread ends");
}
