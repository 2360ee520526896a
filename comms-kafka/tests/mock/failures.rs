//! Records that fail: retries, dead letters, fatal errors and shutdown during a backoff.

use crate::common::{cluster::*, *};
use comms_core::{Error, ErrorKind, Message, clock::Clock, health::Health, wire};
use rdkafka::{
    message::{Header, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, Producer},
};
use std::{sync::Arc, time::Duration};

#[tokio::test(flavor = "multi_thread")]
async fn a_poison_record_becomes_a_dead_letter_and_later_records_are_handled() {
    let cluster = Cluster::new(&[("t", 1), ("t.dlq", 1)]);
    let poison = message("t", "bad", 0).with_headers(|headers| headers.append("x", "y"));
    publish(&*cluster.publisher(), [poison.clone(), message("t", "bad", 1), message("t", "good", 1)]).await;
    let seen = Seen::default();
    let handler = seen.handler_with(|delivery| async move {
        if delivery.message.id() == "bad-0" { Err(Error::invalid("cannot be read")) } else { Ok(()) }
    });
    let consumer = Running::start(cluster.consumer().on("t", handler).build().unwrap());
    seen.len(2).await;
    let dead_letters = cluster.read("t.dlq", 1).await;
    consumer.stop().await;
    let dead_letter = &dead_letters[0];
    assert_eq!(
        (dead_letter.id(), dead_letter.source(), dead_letter.key()),
        (poison.id(), poison.source(), poison.key())
    );
    assert_eq!(dead_letter.payload(), poison.payload());
    let text = |name| dead_letter.headers().text(name).unwrap();
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
        (message.source(), message.id(), message.event_type()),
        ("/shop", "7", Some("order.placed.v1"))
    );
    assert_eq!(message.payload(), Some(&br#"{"order":"a"}"#[..]));
    let dead_letter = &dead_letters[0];
    assert_eq!(dead_letter.payload(), Some(&b"{\"specversion\":\"1.0\""[..]));
    let text = |name| dead_letter.headers().text(name).unwrap();
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
        match (delivery.message.id(), delivery.attempt) {
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
    dead_letters.sort_by(|a, b| a.id().cmp(b.id()));
    let header = |dead_letter: &Message, name| dead_letter.headers().text(name).unwrap().to_owned();
    let ids: Vec<_> = dead_letters.iter().map(|dead_letter| dead_letter.id()).collect();
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
        if delivery.message.key() == Some(b"bad") { Err(Error::invalid("no")) } else { Ok(()) }
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
    again.len(1).await;
    consumer.stop().await;
    assert_eq!(again.ids(), ["bad-0"], "the finished records beyond it are committed too");
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
        if delivery.message.id() == "k-1" { Err(Error::fatal("the disk is gone")) } else { Ok(()) }
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
