//! The consumer runtime and the publisher against librdkafka's mock cluster: needs no server.
//!
//! The mock has no admin API, no dedupe and no compaction.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "each test binary uses its own part")]
mod common;

use common::{cluster::*, gauges::Gauges, *};
use comms_core::{Error, ErrorKind, Message, Publisher, clock::Clock, health::Health, wire};
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
async fn a_message_arrives_as_it_was_sent() {
    let cluster = Cluster::new(&[("t", 1)]);
    let mut full = message("t", "k", 1);
    full.headers = [("b", "2"), ("a", ""), ("b", "3"), ("traceparent", "x")].into_iter().collect();
    let tombstone = Message { payload: None, ..message("t", "k", 2) };
    let empty = Message { payload: Some("".into()), key: Some("".into()), ..message("t", "k", 3) };
    let keyless = Message { key: None, ..message("t", "k", 4) };
    let sent = [full, tombstone, empty, keyless];
    publish(&*cluster.publisher(), sent.clone()).await;

    let foreign: BaseProducer =
        rdkafka::ClientConfig::new().set("bootstrap.servers", &cluster.config.brokers).create().unwrap();
    foreign.send(BaseRecord::<str, str>::to("t").partition(0).key("f").payload("raw")).unwrap();
    foreign.flush(LIMIT).unwrap();

    let mut read = cluster.read("t", 5).await;
    read.sort_by(|a, b| a.id.cmp(&b.id));
    assert_eq!(read[..4], sent);
    assert_eq!(&*read[4].source, "kafka");
    let timestamp = read[4].id.strip_prefix("t-0-4-").map(str::parse::<u64>);
    assert!(matches!(timestamp, Some(Ok(_))), "{}", read[4].id);
    assert_eq!(read[4].payload.as_deref(), Some(&b"raw"[..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_keeps_its_order_whatever_its_handlers_take() {
    let mut cluster = Cluster::new(&[("t", 4)]);
    cluster.config.librdkafka.insert("group.protocol".into(), "classic".into());
    let messages = (0..20).flat_map(|n| (0..50).map(move |key| message("t", &format!("k{key}"), n)));
    publish(&*cluster.publisher(), messages).await;
    let (seen, most, now) = (Seen::default(), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counters = (most.clone(), now);
    let handler = seen.handler_with(move |_| {
        let (most, now) = counters.clone();
        async move {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            let [wait] = Clock::system().random();
            tokio::time::sleep(Duration::from_micros(u64::from(wait) * 40)).await;
            now.fetch_sub(1, Ordering::SeqCst);
            Ok(())
        }
    });
    let consumer = Running::start(cluster.consumer().on("t", handler).max_in_flight(40).build().unwrap());
    seen.len(1_000).await;
    consumer.stop().await;
    assert!(seen.by_key().values().all(|numbers| numbers.iter().eq(&(0..20).collect::<Vec<_>>())));
    let most = most.load(Ordering::SeqCst);
    assert!((2..=41).contains(&most), "{most} at the same time");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_nothing_is_lost_and_what_was_committed_does_not_return() {
    let cluster = Cluster::new(&[("t", 1)]);
    let publisher = cluster.publisher();
    publish(&*publisher, (0..10).map(|n| message("t", &format!("k{n}"), n))).await;
    // The sixth never ends: the frontier stands before it, however much is done behind it.
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
    again.until("the last", |seen| seen.iter().any(|d| &*d.message.id == "k10-10")).await;
    second.stop().await;
    let mut ids = again.ids();
    ids.sort();
    assert_eq!(ids, ["k10-10", "k5-5", "k6-6", "k7-7", "k8-8", "k9-9"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poison_record_becomes_a_dead_letter_and_holds_up_nobody() {
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
    let letters = cluster.read("t.dlq", 1).await;
    consumer.stop().await;
    let letter = &letters[0];
    assert_eq!((&letter.id, &letter.source, &letter.key), (&poison.id, &poison.source, &poison.key));
    assert_eq!(letter.payload, poison.payload);
    let text = |name| letter.headers.text(name).unwrap();
    assert_eq!((text("x"), text(wire::DLQ_TOPIC), text(wire::DLQ_OFFSET)), ("y", "t", "0"));
    assert_eq!((text(wire::DLQ_GROUP), text(wire::DLQ_ATTEMPTS)), ("group", "1"));
    assert_eq!((text(wire::DLQ_ERROR_KIND), text(wire::DLQ_ERROR)), ("invalid", "invalid: cannot be read"));
    assert!(text(wire::DLQ_TIMESTAMP).parse::<i64>().unwrap() > 1_700_000_000_000);
}

/// Records of another producer, which have the attributes in the payload alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_structured_event_is_opened_and_one_that_cannot_be_is_a_dead_letter_as_it_came() {
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
    let letters = cluster.read("t.dlq", 1).await;
    consumer.stop().await;
    let message = seen.lock()[0].message.clone();
    assert_eq!(
        (&*message.source, &*message.id, message.event_type()),
        ("/shop", "7", Some("order.placed.v1"))
    );
    assert_eq!(message.payload.as_deref(), Some(&br#"{"order":"a"}"#[..]));
    let letter = &letters[0];
    assert_eq!(letter.payload.as_deref(), Some(&b"{\"specversion\":\"1.0\""[..]));
    let text = |name| letter.headers.text(name).unwrap();
    assert_eq!(
        (text(wire::CONTENT_TYPE), text(wire::DLQ_ERROR_KIND)),
        ("application/cloudevents+json", "invalid")
    );
    assert!(text(wire::DLQ_ERROR).contains("CloudEvents"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_tried_again_up_to_the_limit_and_panics_count() {
    let cluster = Cluster::new(&[("t", 1), ("t.dlq", 1)]);
    let keys = ["down", "flaky", "panics", "good"];
    publish(&*cluster.publisher(), keys.map(|key| message("t", key, 0))).await;
    let seen = Seen::default();
    let handler = seen.handler_with(|delivery| async move {
        match (&*delivery.message.id, delivery.attempt) {
            ("down-0", _) => Err(Error::indeterminate("down")),
            ("flaky-0", ..3) => Err(Error::conflict("lost")),
            ("panics-0", _) => panic!("as it is meant to"),
            _ => Ok(()),
        }
    });
    let consumer = Running::start(cluster.consumer().on("t", handler).build().unwrap());
    seen.len(2).await;
    let mut letters = cluster.read("t.dlq", 2).await;
    consumer.stop().await;
    letters.sort_by(|a, b| a.id.cmp(&b.id));
    let told = |letter: &Message, name| letter.headers.text(name).unwrap().to_owned();
    assert_eq!(letters.iter().map(|letter| &*letter.id).collect::<Vec<_>>(), ["down-0", "panics-0"]);
    assert!(letters.iter().all(|letter| told(letter, wire::DLQ_ATTEMPTS) == "3"));
    assert!(told(&letters[1], wire::DLQ_ERROR).contains("as it is meant to"));
    assert_eq!(seen.lock().last().unwrap().attempt, 3, "the flaky one");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_dead_letters_the_offset_is_held_and_others_go_on() {
    let cluster = Cluster::new(&[("t", 1)]);
    let messages = (0..20).map(|n| message("t", if n == 0 { "bad" } else { "good" }, n));
    publish(&*cluster.publisher(), messages).await;
    let (seen, refusing) = (Seen::default(), Arc::new(Refusing::default()));
    let handler = seen.handler_with(|delivery| async move {
        if delivery.message.key.as_deref() == Some(b"bad") { Err(Error::invalid("no")) } else { Ok(()) }
    });
    let consumer = cluster.consumer().on("t", handler).dead_letter(refusing.clone());
    let consumer = consumer.drain(Duration::from_millis(200)).build().unwrap();
    let consumer = Running::start(consumer);
    seen.len(19).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    consumer.stop().await;
    assert!(*refusing.0.lock().unwrap() > 2, "it is tried again");

    let again = Seen::default();
    let consumer = Running::start(cluster.consumer().on("t", again.handler()).build().unwrap());
    again.len(20).await;
    consumer.stop().await;
    assert!(again.ids().contains(&"bad-0".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_ends_a_long_wait_and_leaves_the_record() {
    let cluster = Cluster::new(&[("t", 1)]);
    publish(&*cluster.publisher(), [message("t", "k", 0), message("t", "k", 1)]).await;
    let (seen, tries) = (Seen::default(), Seen::default());
    let handler = {
        let tries = tries.clone();
        seen.handler_with(move |delivery| {
            tries.push(delivery);
            async { Err(Error::not_executed("down")) }
        })
    };
    let consumer = cluster.consumer().on("t", handler).attempts(attempts(9, Duration::from_secs(600)));
    let consumer = Running::start(consumer.drain(Duration::from_millis(300)).build().unwrap());
    tries.len(1).await;
    let clock = Clock::system();
    let start = clock.now();
    consumer.stop().await;
    assert!(clock.now() - start < Duration::from_secs(5), "{:?}", clock.now() - start);
    assert_eq!(tries.ids(), ["k-0"], "the second waits for the first");

    let again = Seen::default();
    let consumer = Running::start(cluster.consumer().on("t", again.handler()).build().unwrap());
    again.len(2).await;
    consumer.stop().await;
    assert_eq!(again.ids(), ["k-0", "k-1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fatal_failure_stops_the_consumer_and_keeps_the_record() {
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
    assert_eq!(seen.ids(), ["k-0"], "nothing overtakes it");
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
async fn a_partition_waits_for_a_stuck_record_when_the_gap_is_full() {
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
    assert!((49..60).contains(&held), "{held} behind the stuck one");
    publish(&*publisher, (0..10).map(|n| message("u", "u", n))).await;
    seen.len(held + 10).await;
    assert!(seen.lock().iter().filter(|d| &*d.message.topic == "u").count() == 10);
    open.send(true).unwrap();
    seen.len(311).await;
    consumer.stop().await;
    assert_order(&seen.by_key());
    assert_eq!(seen.lock().len(), 311, "pausing repeats nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_budget_pauses_and_nothing_is_lost_or_repeated() {
    let cluster = Cluster::new(&[("t", 3)]);
    publish(&*cluster.publisher(), (0..300).map(|n| message("t", &format!("k{}", n % 7), n))).await;
    let seen = Seen::default();
    // Slower than a tick: the client is paused and resumed many times.
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
async fn dropping_the_run_ends_its_handlers() {
    let cluster = Cluster::new(&[("t", 1)]);
    let publisher = cluster.publisher();
    publish(&*publisher, [message("t", "k", 0)]).await;
    let (seen, tries) = (Seen::default(), Seen::default());
    let handler = {
        let tries = tries.clone();
        seen.handler_with(move |delivery| {
            tries.push(delivery);
            std::future::pending()
        })
    };
    let consumer = Running::start(cluster.consumer().on("t", handler).build().unwrap());
    tries.len(1).await;
    consumer.task.abort();
    let again = Seen::default();
    let second = Running::start(cluster.consumer().on("t", again.handler()).build().unwrap());
    again.len(1).await;
    publish(&*publisher, [message("t", "k", 1)]).await;
    again.len(2).await;
    second.stop().await;
    assert_eq!((tries.lock().len(), seen.lock().len()), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn order_holds_through_an_outage_and_nothing_is_given_up() {
    let cluster = Cluster::new(&[("t", 1)]);
    let publisher = KafkaPublisher::new(&cluster.config, Clock::system()).unwrap();
    let publisher = publisher.with_flush_limit(Duration::from_millis(500));
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
        let answers = tokio::time::timeout(LIMIT, acks).await.unwrap();
        offsets.push(answers[0].as_ref().unwrap().offset.unwrap());
    }
    publisher.flush().await.unwrap();
    // The mock does not drop the duplicates of retries, so gaps are possible; inversions are not.
    assert!(offsets.is_sorted_by(|a, b| a < b), "{offsets:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_publisher_leaves_the_rest_with_the_caller() {
    let mut cluster = Cluster::new(&[("t", 1)]);
    cluster.config.librdkafka.insert("queue.buffering.max.messages".into(), "10".into());
    let publisher = cluster.publisher();
    cluster.mock.broker_down(-1).unwrap();
    let mut batch: VecDeque<_> = (0..25).map(|n| message("t", "k", n)).collect();
    let acks = publisher.enqueue(&mut batch);
    assert_eq!((batch.len(), &*batch[0].id), (15, "k-10"));
    let none = tokio::time::timeout(LIMIT, publisher.enqueue(&mut batch)).await.unwrap();
    assert_eq!((none.len(), batch.len()), (0, 15));
    assert!(tokio::time::timeout(Duration::from_millis(200), publisher.ready()).await.is_err(), "no room");
    cluster.mock.broker_up(-1).unwrap();
    tokio::time::timeout(LIMIT, publisher.ready()).await.unwrap().unwrap();
    assert!(tokio::time::timeout(LIMIT, acks).await.unwrap().iter().all(Result::is_ok));
    publish(&*publisher, batch).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_message_is_refused_in_its_place_and_the_others_go() {
    let cluster = Cluster::new(&[("t", 1)]);
    let large = Message { payload: Some(vec![b'x'; 1_000_001].into()), ..message("t", "k", 1) };
    let nowhere = message("no such name", "k", 2);
    let mut batch = VecDeque::from([message("t", "k", 0), large.clone(), nowhere, message("t", "k", 3)]);
    let answers = cluster.publisher().enqueue(&mut batch).await;
    assert_eq!((answers.len(), batch.len()), (4, 0));
    let kinds: Vec<_> = answers.iter().map(|answer| answer.as_ref().err().map(|e| e.kind)).collect();
    assert_eq!(kinds, [None, Some(ErrorKind::Invalid), Some(ErrorKind::Invalid), None]);
    // A record that just fits can become a dead letter, although its headers grow.
    let mut letter = Message { payload: Some(vec![b'x'; 999_000].into()), ..large };
    letter.headers.append(wire::DLQ_TOPIC, "t");
    letter.headers.append(wire::DLQ_ERROR, vec![b'x'; 1_024]);
    publish(&*cluster.publisher(), [letter]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_publisher_answers_what_is_open() {
    let cluster = Cluster::new(&[("t", 1)]);
    cluster.mock.broker_down(-1).unwrap();
    let publisher = cluster.publisher();
    let acks = publisher.enqueue(&mut VecDeque::from([message("t", "k", 0)]));
    drop(publisher);
    let answers = tokio::time::timeout(LIMIT, acks).await.unwrap();
    assert!(answers[0].is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_permission_is_misconfigured() {
    let cluster = Cluster::new(&[("t", 1)]);
    let publisher = cluster.publisher();
    publish(&*publisher, [message("t", "k", 0)]).await;
    let refusal = rdkafka::types::RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    cluster.mock.request_errors(rdkafka::types::RDKafkaApiKey::Produce, &[refusal]);
    let answers = publisher.enqueue(&mut VecDeque::from([message("t", "k", 1)])).await;
    assert_eq!(answers[0].as_ref().unwrap_err().kind, ErrorKind::Misconfigured);
}

#[test]
fn a_consumer_that_could_not_work_is_not_built() {
    let seen = Seen::default();
    let config = KafkaConfig::new("localhost:1");
    let letters = publisher(&config);
    let base = || Consumer::builder(&config, "group").dead_letter(letters.clone());
    let refused = |builder: ConsumerBuilder| builder.build().unwrap_err().chain().to_string();
    assert!(refused(Consumer::builder(&config, "group").on("t", seen.handler())).contains("dead_letter"));
    assert!(refused(base()).contains("`on`"));
    assert!(refused(base().on("t", seen.handler()).on("t", seen.handler())).contains("two handlers"));
    assert!(refused(base().on("^t", seen.handler())).contains("topic name"));
    assert!(refused(base().on("t", seen.handler()).max_in_flight(0)).contains("above zero"));
    assert!(refused(base().on("t", seen.handler()).drain(LIMIT * 10)).contains("max.poll.interval.ms"));
    assert!(base().on("t", seen.handler()).build().is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn lag_is_told_and_gone_with_the_partition() {
    let gauges = Gauges::install();
    let mut cluster = Cluster::new(&[("lagging", 1)]);
    cluster.config.librdkafka.insert("statistics.interval.ms".into(), "100".into());
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
    let told = tokio::time::timeout(LIMIT, async {
        while lag() != 7.0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    assert!(told.await.is_ok(), "readiness reads what metrics are told: {}", lag());
    assert!(health.liveness().parts.contains_key("poll"));
    open.send(true).unwrap();
    gauges.until(0.0).await;
    publish(&*cluster.publisher(), [message("lagging", "k", 10)]).await;
    seen.len(11).await;
    consumer.stop().await;
    gauges.until(0.0).await;
    assert!(health.liveness().parts.is_empty(), "a loop that ended in order is not missed");
}
