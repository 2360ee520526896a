//! Tests of the consumer and the publisher against librdkafka's mock cluster. They need no server.
//!
//! The mock cluster has no admin API, no deduplication and no compaction.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "each test binary uses its own part")]
mod common;

use common::{cluster::*, gauges::Gauges, *};
use comms_core::{Clock, Error, ErrorKind, Health, Message, Publisher, wire};
use comms_kafka::{Consumer, ConsumerBuilder, KafkaConfig, KafkaPublisher};
use rdkafka::{
    message::{Header, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, Producer},
};
use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_received_as_they_were_sent() {
    let cluster = Cluster::new(&[("t", 1)]);
    let mut full = message("t", "k", 1);
    full.headers = [("b", "2"), ("a", ""), ("b", "3"), ("traceparent", "x")].into_iter().collect();
    let tombstone = Message { payload: None, ..message("t", "k", 2) };
    let empty = Message { payload: Some("".into()), key: Some("".into()), ..message("t", "k", 3) };
    let keyless = Message { key: None, ..message("t", "k", 4) };
    let sent = [full, tombstone, empty, keyless];
    publish(&*cluster.publisher(), sent.clone()).await;

    let other_producer: BaseProducer =
        rdkafka::ClientConfig::new().set("bootstrap.servers", &cluster.config.brokers).create().unwrap();
    other_producer.send(BaseRecord::<str, str>::to("t").partition(0).key("f").payload("raw")).unwrap();
    other_producer.flush(LIMIT).unwrap();

    let mut read = cluster.read("t", 5).await;
    read.sort_by(|a, b| a.id.cmp(&b.id));
    assert_eq!(read[..4], sent);
    assert_eq!(&*read[4].source, "kafka");
    let timestamp = read[4].id.strip_prefix("t-0-4-").map(str::parse::<u64>);
    assert!(matches!(timestamp, Some(Ok(_))), "{}", read[4].id);
    assert_eq!(read[4].payload.as_deref(), Some(&b"raw"[..]));
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
    let consumer = Running::start(cluster.consumer().on("t", handler).max_in_flight(40).build().unwrap());
    seen.len(1_000).await;
    consumer.stop().await;
    assert!(seen.by_key().values().all(|numbers| numbers.iter().eq(&(0..20).collect::<Vec<_>>())));
    let most = most.load(Ordering::SeqCst);
    assert!((2..=41).contains(&most), "{most} concurrent handlers");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_repeats_only_uncommitted_records() {
    let cluster = Cluster::new(&[("t", 1)]);
    let publisher = cluster.publisher();
    publish(&*publisher, (0..10).map(|n| message("t", &format!("k{n}"), n))).await;
    // The sixth record never finishes, so its offset is the last one that is committed.
    let seen = Seen::default();
    let stuck = seen.handler_with(|delivery| async move {
        if &*delivery.message.id == "k5-5" {
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
    again.len(5).await;
    publish(&*publisher, [message("t", "k10", 10)]).await;
    again.until("the last record", |seen| seen.iter().any(|d| &*d.message.id == "k10-10")).await;
    second.stop().await;
    let mut ids = again.ids();
    ids.sort();
    assert_eq!(ids, ["k10-10", "k5-5", "k6-6", "k7-7", "k8-8", "k9-9"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poison_record_becomes_a_dead_letter_and_later_records_are_handled() {
    let cluster = Cluster::new(&[("t", 1), ("t.dlq", 1)]);
    let mut poison = message("t", "bad", 0);
    poison.headers.append("x", "y");
    publish(&*cluster.publisher(), [poison.clone(), message("t", "bad", 1), message("t", "good", 1)]).await;
    let seen = Seen::default();
    let handler = seen.handler_with(|delivery| async move {
        if &*delivery.message.id == "bad-0" { Err(Error::invalid("cannot be read")) } else { Ok(()) }
    });
    let consumer = Running::start(cluster.consumer().on("t", handler).build().unwrap());
    seen.len(2).await;
    let dead_letters = cluster.read("t.dlq", 1).await;
    consumer.stop().await;
    let dead_letter = &dead_letters[0];
    assert_eq!(
        (&dead_letter.id, &dead_letter.source, &dead_letter.key),
        (&poison.id, &poison.source, &poison.key)
    );
    assert_eq!(dead_letter.payload, poison.payload);
    let text = |name| dead_letter.headers.text(name).unwrap();
    assert_eq!((text("x"), text(wire::DLQ_TOPIC), text(wire::DLQ_OFFSET)), ("y", "t", "0"));
    assert_eq!((text(wire::DLQ_GROUP), text(wire::DLQ_ATTEMPTS)), ("group", "1"));
    assert_eq!((text(wire::DLQ_ERROR_KIND), text(wire::DLQ_ERROR)), ("invalid", "invalid: cannot be read"));
    assert!(text(wire::DLQ_TIMESTAMP).parse::<i64>().unwrap() > 1_700_000_000_000);
}

/// The records come from another producer and have the CloudEvents attributes in the payload only.
#[tokio::test(flavor = "multi_thread")]
async fn a_structured_event_is_decoded_and_an_invalid_one_becomes_a_dead_letter() {
    let cluster = Cluster::new(&[("t", 1), ("t.dlq", 1)]);
    let producer: BaseProducer =
        rdkafka::ClientConfig::new().set("bootstrap.servers", &cluster.config.brokers).create().unwrap();
    let envelope =
        r#"{"specversion":"1.0","id":"7","source":"/shop","type":"order.placed.v1","data":{"order":"a"}}"#;
    for (key, payload) in [("bad", "{\"specversion\":\"1.0\""), ("good", envelope)] {
        let media = Header { key: wire::CONTENT_TYPE, value: Some("application/cloudevents+json") };
        let headers = OwnedHeaders::new().insert(media);
        producer.send(BaseRecord::to("t").key(key).payload(payload).headers(headers)).unwrap();
    }
    producer.flush(LIMIT).unwrap();
    let seen = Seen::default();
    let consumer = Running::start(cluster.consumer().on("t", seen.handler()).build().unwrap());
    seen.len(1).await;
    let dead_letters = cluster.read("t.dlq", 1).await;
    consumer.stop().await;
    let message = seen.lock()[0].message.clone();
    assert_eq!(
        (&*message.source, &*message.id, message.event_type()),
        ("/shop", "7", Some("order.placed.v1"))
    );
    assert_eq!(message.payload.as_deref(), Some(&br#"{"order":"a"}"#[..]));
    let dead_letter = &dead_letters[0];
    assert_eq!(dead_letter.payload.as_deref(), Some(&b"{\"specversion\":\"1.0\""[..]));
    let text = |name| dead_letter.headers.text(name).unwrap();
    assert_eq!(
        (text(wire::CONTENT_TYPE), text(wire::DLQ_ERROR_KIND)),
        ("application/cloudevents+json", "invalid")
    );
    assert!(text(wire::DLQ_ERROR).contains("CloudEvents"));
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_and_panics_are_retried_up_to_max_attempts() {
    let cluster = Cluster::new(&[("t", 1), ("t.dlq", 1)]);
    let keys = ["down", "flaky", "panics", "good"];
    publish(&*cluster.publisher(), keys.map(|key| message("t", key, 0))).await;
    let seen = Seen::default();
    let handler = seen.handler_with(|delivery| async move {
        match (&*delivery.message.id, delivery.attempt) {
            ("down-0", _) => Err(Error::indeterminate("down")),
            ("flaky-0", ..3) => Err(Error::conflict("lost")),
            ("panics-0", _) => panic!("expected panic"),
            _ => Ok(()),
        }
    });
    let consumer = Running::start(cluster.consumer().on("t", handler).build().unwrap());
    seen.len(2).await;
    let mut dead_letters = cluster.read("t.dlq", 2).await;
    consumer.stop().await;
    dead_letters.sort_by(|a, b| a.id.cmp(&b.id));
    let header = |dead_letter: &Message, name| dead_letter.headers.text(name).unwrap().to_owned();
    let ids: Vec<_> = dead_letters.iter().map(|dead_letter| &*dead_letter.id).collect();
    assert_eq!(ids, ["down-0", "panics-0"]);
    let attempts = dead_letters.iter().map(|dead_letter| header(dead_letter, wire::DLQ_ATTEMPTS));
    assert_eq!(attempts.collect::<Vec<_>>(), ["3", "3"]);
    assert!(header(&dead_letters[1], wire::DLQ_ERROR).contains("expected panic"));
    assert_eq!(seen.lock().last().unwrap().attempt, 3, "the third attempt of flaky-0 succeeds");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_dead_letter_keeps_its_offset_and_other_keys_are_handled() {
    let cluster = Cluster::new(&[("t", 1)]);
    let messages = (0..20).map(|n| message("t", if n == 0 { "bad" } else { "good" }, n));
    publish(&*cluster.publisher(), messages).await;
    let (seen, refusing) = (Seen::default(), Arc::new(RefusingPublisher::default()));
    let handler = seen.handler_with(|delivery| async move {
        if delivery.message.key.as_deref() == Some(b"bad") { Err(Error::invalid("no")) } else { Ok(()) }
    });
    let consumer = cluster.consumer().on("t", handler).dead_letter(refusing.clone());
    let consumer = consumer.drain(Duration::from_millis(200)).build().unwrap();
    let consumer = Running::start(consumer);
    seen.len(19).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    consumer.stop().await;
    assert!(*refusing.0.lock().unwrap() > 2, "the dead letter is retried");

    let again = Seen::default();
    let consumer = Running::start(cluster.consumer().on("t", again.handler()).build().unwrap());
    again.len(20).await;
    consumer.stop().await;
    assert!(again.ids().contains(&"bad-0".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_ends_a_backoff_and_leaves_the_record_uncommitted() {
    let cluster = Cluster::new(&[("t", 1)]);
    publish(&*cluster.publisher(), [message("t", "k", 0), message("t", "k", 1)]).await;
    let (seen, attempted) = (Seen::default(), Seen::default());
    let handler = {
        let attempted = attempted.clone();
        seen.handler_with(move |delivery| {
            attempted.push(delivery);
            async { Err(Error::not_executed("down")) }
        })
    };
    let consumer = cluster.consumer().on("t", handler).attempts(attempts(9, Duration::from_secs(600)));
    let consumer = Running::start(consumer.drain(Duration::from_millis(300)).build().unwrap());
    attempted.len(1).await;
    let clock = Clock::system();
    let start = clock.now();
    consumer.stop().await;
    assert!(clock.now() - start < Duration::from_secs(5), "{:?}", clock.now() - start);
    assert_eq!(attempted.ids(), ["k-0"], "the second record waits for the first one");

    let again = Seen::default();
    let consumer = Running::start(cluster.consumer().on("t", again.handler()).build().unwrap());
    again.len(2).await;
    consumer.stop().await;
    assert_eq!(again.ids(), ["k-0", "k-1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fatal_error_stops_the_consumer_and_leaves_the_record_uncommitted() {
    let cluster = Cluster::new(&[("t", 1)]);
    let publisher = cluster.publisher();
    publish(&*publisher, (0..3).map(|n| message("t", "k", n))).await;
    let seen = Seen::default();
    let handler = seen.handler_with(|delivery| async move {
        if &*delivery.message.id == "k-1" { Err(Error::fatal("the disk is gone")) } else { Ok(()) }
    });
    let health = Health::new();
    let consumer = cluster.consumer().on("t", handler).health(health.component("kafka"));
    let error = Running::start(consumer.build().unwrap()).ended().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Fatal);
    let text = error.chain().to_string();
    assert!(text.contains("t/0@1") && text.contains("the disk is gone"), "{text}");
    assert_eq!(seen.ids(), ["k-0"], "no record overtakes the failed one");
    assert!(!health.is_ready());

    let again = Seen::default();
    let consumer = cluster.consumer().on("t", again.handler()).health(health.component("kafka"));
    let consumer = Running::start(consumer.build().unwrap());
    again.len(2).await;
    assert!(health.is_ready());
    consumer.stop().await;
    assert_eq!(again.ids(), ["k-1", "k-2"]);
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
            if &*delivery.message.id == "stuck-0" {
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
    assert!(seen.lock().iter().filter(|d| &*d.message.destination == "u").count() == 10);
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
    let consumer = Running::start(cluster.consumer().on("t", handler).max_in_flight(5).build().unwrap());
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

#[tokio::test(flavor = "multi_thread")]
async fn messages_keep_their_order_and_do_not_expire_during_an_outage() {
    let cluster = Cluster::new(&[("t", 1)]);
    let publisher = KafkaPublisher::new(&cluster.config, Clock::system()).unwrap();
    let publisher = publisher.flush_limit(Duration::from_millis(500));
    publish(&publisher, [message("t", "k", 0)]).await;
    cluster.mock.broker_down(-1).unwrap();
    let mut acks = Vec::new();
    for n in 1..=100 {
        acks.push(publisher.enqueue(&mut VecDeque::from([message("t", "k", n)])));
    }
    let error = publisher.flush().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Indeterminate, "{error}");
    tokio::time::sleep(Duration::from_secs(2)).await;
    cluster.mock.broker_up(-1).unwrap();
    let mut offsets = Vec::new();
    for acks in acks {
        let results = tokio::time::timeout(LIMIT, acks).await.unwrap();
        offsets.push(results[0].as_ref().unwrap().offset.unwrap());
    }
    publisher.flush().await.unwrap();
    // The mock cluster keeps the duplicates of retries, so gaps are possible. Inversions are not.
    assert!(offsets.is_sorted_by(|a, b| a < b), "{offsets:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_publisher_leaves_the_remaining_messages_in_the_batch() {
    let mut cluster = Cluster::new(&[("t", 1)]);
    cluster.config = cluster.config.librdkafka("queue.buffering.max.messages", "10");
    let publisher = cluster.publisher();
    cluster.mock.broker_down(-1).unwrap();
    let mut batch: VecDeque<_> = (0..25).map(|n| message("t", "k", n)).collect();
    let acks = publisher.enqueue(&mut batch);
    assert_eq!((batch.len(), &*batch[0].id), (15, "k-10"));
    let none = tokio::time::timeout(LIMIT, publisher.enqueue(&mut batch)).await.unwrap();
    assert_eq!((none.len(), batch.len()), (0, 15));
    assert!(
        tokio::time::timeout(Duration::from_millis(200), publisher.ready()).await.is_err(),
        "no capacity"
    );
    cluster.mock.broker_up(-1).unwrap();
    tokio::time::timeout(LIMIT, publisher.ready()).await.unwrap().unwrap();
    assert!(tokio::time::timeout(LIMIT, acks).await.unwrap().iter().all(Result::is_ok));
    publish(&*publisher, batch).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_message_is_refused_and_the_others_are_published() {
    let cluster = Cluster::new(&[("t", 1)]);
    let large = Message { payload: Some(vec![b'x'; 1_000_001].into()), ..message("t", "k", 1) };
    let invalid_topic = message("not a valid name", "k", 2);
    let mut batch =
        VecDeque::from([message("t", "k", 0), large.clone(), invalid_topic, message("t", "k", 3)]);
    let results = cluster.publisher().enqueue(&mut batch).await;
    assert_eq!((results.len(), batch.len()), (4, 0));
    let kinds: Vec<_> = results.iter().map(|result| result.as_ref().err().map(|e| e.kind)).collect();
    assert_eq!(kinds, [None, Some(ErrorKind::Invalid), Some(ErrorKind::Invalid), None]);
    // A record of the largest size can become a dead letter, although its headers grow.
    let mut dead_letter = Message { payload: Some(vec![b'x'; 999_000].into()), ..large };
    dead_letter.headers.append(wire::DLQ_TOPIC, "t");
    dead_letter.headers.append(wire::DLQ_ERROR, vec![b'x'; 1_024]);
    publish(&*cluster.publisher(), [dead_letter]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_the_publisher_resolves_pending_acknowledgements() {
    let cluster = Cluster::new(&[("t", 1)]);
    cluster.mock.broker_down(-1).unwrap();
    let publisher = cluster.publisher();
    let acks = publisher.enqueue(&mut VecDeque::from([message("t", "k", 0)]));
    drop(publisher);
    let results = tokio::time::timeout(LIMIT, acks).await.unwrap();
    assert!(results[0].is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_permission_is_misconfigured() {
    let cluster = Cluster::new(&[("t", 1)]);
    let publisher = cluster.publisher();
    publish(&*publisher, [message("t", "k", 0)]).await;
    let refusal = rdkafka::types::RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    cluster.mock.request_errors(rdkafka::types::RDKafkaApiKey::Produce, &[refusal]);
    let results = publisher.enqueue(&mut VecDeque::from([message("t", "k", 1)])).await;
    assert_eq!(results[0].as_ref().unwrap_err().kind, ErrorKind::Misconfigured);
}

#[test]
fn build_refuses_settings_that_cannot_work() {
    let seen = Seen::default();
    let config = KafkaConfig::new("localhost:1");
    let dead_letters = publisher(&config);
    let base = || Consumer::builder(&config, "group").dead_letter(dead_letters.clone());
    let refused = |builder: ConsumerBuilder| builder.build().unwrap_err().chain().to_string();
    assert!(refused(Consumer::builder(&config, "group").on("t", seen.handler())).contains("dead_letter"));
    assert!(refused(base()).contains("`on`"));
    assert!(refused(base().on("t", seen.handler()).on("t", seen.handler())).contains("two handlers"));
    assert!(refused(base().on("^t", seen.handler())).contains("topic name"));
    let no_group = Consumer::builder(&config, "").dead_letter(dead_letters.clone());
    assert!(refused(no_group.on("t", seen.handler())).contains("group of a consumer is empty"));
    assert!(refused(base().on("t", seen.handler()).max_in_flight(0)).contains("above zero"));
    assert!(refused(base().on("t", seen.handler()).drain(LIMIT * 10)).contains("max.poll.interval.ms"));
    assert!(base().on("t", seen.handler()).build().is_ok());
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
            if &*delivery.message.id == "k-3" {
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
