//! Tests of held deliveries: by a cause outside the message, and by a dead letter that cannot be written.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "the tests run in real time")]

#[allow(dead_code, reason = "each test binary uses its own part")]
mod common;

use common::{cluster::*, *};
use comms_core::{
    Error, ErrorKind, Message, MessageParts,
    health::{Health, Status},
    transport::Holds,
    wire,
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let reached = tokio::time::timeout(LIMIT, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    assert!(reached.await.is_ok(), "{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_fault_holds_its_key_without_counting_attempts() {
    let cluster = Cluster::new(&[("t", 1), ("t.dlq", 1)]);
    let messages = (0..20).map(|n| message("t", if n % 10 == 0 { "held" } else { "good" }, n));
    publish(&*cluster.publisher(), messages).await;
    let (seen, repaired) = (Seen::default(), Arc::new(AtomicBool::new(false)));
    let handler = {
        let repaired = repaired.clone();
        seen.handler_with(move |delivery| {
            let fails = delivery.message.key() == Some(b"held") && !repaired.load(Ordering::SeqCst);
            async move { if fails { Err(Error::misconfigured("the peer lacks the method")) } else { Ok(()) } }
        })
    };
    let health = Health::new();
    // `max_attempts` is 3 with a backoff of 20 ms. Attempts of a held delivery are not counted.
    let consumer = cluster.consumer().on("t", handler).health(health.component("kafka")).build().unwrap();
    let holds = consumer.holds().clone();
    let consumer = Running::start(consumer);
    seen.len(18).await;
    eventually("ten attempts", || holds.list().first().is_some_and(|hold| hold.attempts > 10)).await;
    let hold = holds.list().remove(0);
    assert_eq!((&*hold.group, &*hold.topic, hold.kind), ("group", "t", ErrorKind::Misconfigured));
    assert_eq!((hold.key.as_deref(), holds.len()), (Some(&b"held"[..]), 1));
    eventually("degraded", || health.readiness().status == Status::Degraded).await;
    assert!(health.readiness().reason("kafka").unwrap().contains("the peer lacks the method"));
    repaired.store(true, Ordering::SeqCst);
    seen.len(20).await;
    eventually("ready again", || health.readiness().status == Status::Ready && holds.is_empty()).await;
    consumer.stop().await;
    assert_eq!(seen.by_key()["held"], [0, 10]);
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_ends_a_hold_and_leaves_the_record_uncommitted() {
    let cluster = Cluster::new(&[("t", 1)]);
    publish(&*cluster.publisher(), [message("t", "k", 0)]).await;
    let mut attempts = attempts(3, Duration::from_secs(600));
    attempts.hold_in_place = Some(Duration::ZERO);
    let seen = Seen::default();
    let handler = seen.handler_with(|_| async { Err(Error::misconfigured("no table")) });
    let (clock, holds) = (comms_core::clock::Clock::system(), Holds::new(comms_core::clock::Clock::system()));
    let consumer = cluster.consumer().on("t", handler).attempts(attempts).holds(holds.clone());
    let consumer = Running::start(consumer.drain(LIMIT).build().unwrap());
    eventually("a hold", || holds.len() == 1).await;
    let start = clock.now();
    consumer.stop().await;
    assert!(clock.now() - start < Duration::from_secs(10), "{:?}", clock.now() - start);
    assert!(holds.is_empty());

    let again = Seen::default();
    let consumer = Running::start(cluster.consumer().on("t", again.handler()).build().unwrap());
    again.len(1).await;
    consumer.stop().await;
}

/// Returns a record that is too large for a complete dead letter. Another producer may write records up to the topic's
/// limit.
fn oversized(part: &str) -> Message {
    let large = "x".repeat(1_020_000);
    let message = message("t", "bad", 0);
    match part {
        "header" => message.with_headers(|headers| headers.append("large", large)),
        "dlq header" => message.with_headers(|headers| headers.append("dlq_large", large)),
        "key" => Message::new(MessageParts { key: Some(large.as_bytes()), ..message.parts() }),
        _ => Message::new(MessageParts { payload: Some(large.as_bytes()), ..message.parts() }),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_that_is_too_large_refers_to_the_record() {
    for part in ["header", "dlq header", "key", "payload"] {
        let mut cluster = Cluster::new(&[("t", 1), ("t.dlq", 1)]);
        let dead_letters = cluster.publisher();
        cluster.config = cluster.config.librdkafka("message.max.bytes", "1048000");
        let publisher = cluster.publisher();
        publish(&*publisher, [oversized(part), message("t", "good", 1)]).await;
        let seen = Seen::default();
        let handler = seen.handler_with(|delivery| async move {
            if delivery.message.id() == "bad-0" { Err(Error::invalid("cannot be read")) } else { Ok(()) }
        });
        let consumer = cluster.consumer().on("t", handler).dead_letter(dead_letters).build().unwrap();
        let consumer = Running::start(consumer);
        seen.len(1).await;
        let dead = cluster.read("t.dlq", 1).await.remove(0);
        consumer.stop().await;
        let text = |name| dead.headers().text(name);
        assert_eq!((text(wire::DLQ_TOPIC), text(wire::DLQ_PARTITION)), (Some("t"), Some("0")), "{part}");
        assert_eq!((text(wire::DLQ_OFFSET), text(wire::DLQ_ERROR_KIND)), (Some("0"), Some("invalid")));
        let marker = match part {
            "header" | "dlq header" => text(wire::DLQ_HEADERS_OMITTED) == Some("1"),
            "key" => text(wire::DLQ_KEY_OMITTED) == Some("1020000") && dead.key().is_none(),
            _ => text(wire::DLQ_PAYLOAD_OMITTED) == Some("1020000") && dead.key().is_some(),
        };
        assert!(marker, "{part}: {:?}", dead.headers());
        // The offset is committed, so the record is not handled again.
        publish(&*publisher, [message("t", "good", 2)]).await;
        let again = Seen::default();
        let consumer = Running::start(cluster.consumer().on("t", again.handler()).build().unwrap());
        again.len(1).await;
        consumer.stop().await;
        assert_eq!(again.ids(), ["good-2"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_dead_letter_holds_its_record_until_it_is_written() {
    let mut cluster = Cluster::new(&[("t", 1)]);
    cluster.config = cluster.config.librdkafka("topic.metadata.propagation.max.ms", "200");
    // The mock cluster creates topics on first use, so a missing permission takes the place of a missing topic.
    let refusal = rdkafka::types::RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    let policy = rdkafka::types::RDKafkaRespErr::RD_KAFKA_RESP_ERR_POLICY_VIOLATION;
    cluster.mock.create_topic("t.dlq", 1, 1).unwrap();
    publish(&*cluster.publisher(), [message("t", "bad", 0), message("t", "good", 1)]).await;
    cluster.mock.request_errors(rdkafka::types::RDKafkaApiKey::Produce, &[refusal, policy, refusal]);
    let seen = Seen::default();
    let handler = seen.handler_with(|delivery| async move {
        if delivery.message.id() == "bad-0" { Err(Error::invalid("cannot be read")) } else { Ok(()) }
    });
    let health = Health::new();
    let consumer = cluster.consumer().on("t", handler).attempts(attempts(3, Duration::from_millis(1_500)));
    let consumer = consumer.health(health.component("kafka")).build().unwrap();
    let holds = consumer.holds().clone();
    let consumer = Running::start(consumer);
    seen.len(1).await;
    eventually("a hold", || holds.len() == 1).await;
    let hold = holds.list().remove(0);
    assert_eq!((hold.kind, &*hold.topic), (ErrorKind::Misconfigured, "t"));
    assert!(hold.reason.contains("t.dlq"), "{}", hold.reason);
    eventually("degraded", || health.readiness().status == Status::Degraded).await;
    let dead = cluster.read("t.dlq", 1).await.remove(0);
    assert_eq!((dead.id(), dead.payload()), ("bad-0", Some(&b"0"[..])));
    eventually("ready again", || health.readiness().status == Status::Ready && holds.is_empty()).await;
    consumer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_started_without_a_broker_is_unready_until_the_broker_is_back() {
    let mut cluster = Cluster::new(&[("t", 1)]);
    cluster.config = cluster.config.librdkafka("statistics.interval.ms", "100");
    publish(&*cluster.publisher(), [message("t", "k", 0)]).await;
    cluster.mock.broker_down(-1).unwrap();
    let (seen, health) = (Seen::default(), Health::new());
    let consumer = cluster.consumer().on("t", seen.handler()).health(health.component("kafka"));
    let consumer = Running::start(consumer.build().unwrap());
    eventually("a reason", || health.readiness().reason("kafka").is_some_and(|r| r.starts_with("group")))
        .await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!health.is_ready() && !consumer.task.is_finished());
    cluster.mock.broker_up(-1).unwrap();
    seen.len(1).await;
    eventually("ready", || health.is_ready()).await;
    consumer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_offset_is_a_deployment_fault() {
    let mut cluster = Cluster::new(&[("t", 1)]);
    cluster.config = cluster.config.librdkafka("auto.offset.reset", "error");
    publish(&*cluster.publisher(), [message("t", "k", 0)]).await;
    let (seen, health) = (Seen::default(), Health::new());
    let consumer = cluster.consumer().on("t", seen.handler()).health(health.component("kafka"));
    let consumer = Running::start(consumer.build().unwrap());
    let faulty =
        || health.readiness().reason("kafka").is_some_and(|reason| reason.starts_with("deployment fault"));
    eventually("unready with the reason", faulty).await;
    assert!(!health.is_ready() && !consumer.task.is_finished());
    consumer.stop().await;
}

/// A record of a hostile producer: 100,000 headers, names that look like those of this crate, and empty parts.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_with_a_hundred_thousand_headers_becomes_a_dead_letter_in_its_turn() {
    let mut cluster = Cluster::new(&[("t", 1), ("t.dlq", 1)]);
    let dead_letters = cluster.publisher();
    cluster.config = cluster.config.librdkafka("message.max.bytes", "1048000");
    let many = message("t", "bad", 0).with_headers(|headers| {
        (0..100_000).for_each(|n| headers.append(["dlq_x", "", "ce_id", "traceparent"][n % 4], "v"));
    });
    publish(&*cluster.publisher(), [many, message("t", "bad", 1), message("t", "good", 1)]).await;
    let seen = Seen::default();
    let handler = seen.handler_with(|delivery| async move {
        if delivery.message.key() == Some(b"bad") { Err(Error::invalid("cannot be read")) } else { Ok(()) }
    });
    let consumer = cluster.consumer().on("t", handler).dead_letter(dead_letters).build().unwrap();
    let consumer = Running::start(consumer);
    seen.len(1).await;
    let dead = cluster.read("t.dlq", 2).await;
    consumer.stop().await;
    assert_eq!(
        (dead[0].headers().text(wire::DLQ_OFFSET), dead[1].headers().text(wire::DLQ_OFFSET)),
        (Some("0"), Some("1"))
    );
    assert_eq!(dead[1].id(), "bad-1");
}
