//! Tests of provisioning, rebalances and crashes against a real broker.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "the tests run in real time")]

#[allow(dead_code, reason = "each test binary uses its own part")]
mod common;

use common::*;
use comms_core::{Delivery, Headers, Message, MessageParts, Outcome, clock::Clock, handler_fn};
use comms_kafka::{Consumer, ConsumerBuilder, KafkaConfig, TooFewBrokers, TopicSpec};
use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

/// The topic and the group of the child process of the crash test.
const CHILD: &str = "COMMS_TEST_KAFKA_CHILD";

/// Returns the settings for the broker of the tests, with a short session timeout.
fn config() -> KafkaConfig {
    common::config().librdkafka("session.timeout.ms", "6000")
}

/// Creates a topic for one test, with its dead-letter topic.
async fn topic(name: &str, partitions: i32) -> String {
    let spec = TopicSpec::new(unique(name), partitions, 1);
    let differences = provision(&config(), &[spec.clone(), spec.dead_letters()], LIMIT).await.unwrap();
    assert_eq!(differences, []);
    spec.name
}

fn consumer(config: &KafkaConfig, group: &str) -> ConsumerBuilder {
    Consumer::builder(config, group).dead_letter(publisher(config))
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Apache Kafka; run scripts/test"]
async fn topics_are_created_once_and_differences_are_returned() {
    let spec = TopicSpec::new(unique("spec"), 3, 1).config("retention.ms", "60000");
    let both = [spec.clone(), spec.dead_letters()];
    for _ in 0..2 {
        assert_eq!(provision(&config(), &both, LIMIT).await.unwrap(), []);
    }
    let more = spec.clone().partitions(5).replication(2);
    let differences: Vec<_> =
        provision(&config(), &[more], LIMIT).await.unwrap().iter().map(ToString::to_string).collect();
    let name = &spec.name;
    let expected = [
        format!("topic {name} has partitions 3, but partitions 5 is declared"),
        format!("topic {name} has replication 1, but replication 2 is declared"),
    ];
    assert_eq!(differences, expected);
    let fewer = spec.clone().partitions(2);
    assert_eq!(provision(&config(), &[fewer], LIMIT).await.unwrap(), []);

    let impossible = TopicSpec::new(unique("spec"), 1, 1).config("no.such.setting", "1");
    let error = provision(&config(), &[impossible], LIMIT).await.unwrap_err();
    assert_eq!(error.kind, comms_core::ErrorKind::Misconfigured, "{error}");
}

/// Brokers may still be starting, so `provision` retries until the timeout.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Apache Kafka; run scripts/test"]
async fn more_replicas_than_brokers_are_misconfigured_with_both_numbers() {
    let spec = TopicSpec::new(unique("copies"), 1, 300);
    let error = provision(&config(), std::slice::from_ref(&spec), Duration::from_secs(3)).await.unwrap_err();
    assert_eq!(error.kind, comms_core::ErrorKind::Misconfigured, "{error}");
    let found = error.cause().downcast_ref::<TooFewBrokers>().unwrap();
    assert_eq!((&found.topic, found.replication), (&spec.name, 300));
    let brokers = found.brokers.unwrap();
    assert!((1..300).contains(&brokers), "{brokers}");
    assert!(error.chain().to_string().contains("replication 300, and the cluster has"), "{}", error.chain());
}

#[tokio::test(flavor = "multi_thread")]
async fn provision_retries_until_the_timeout_while_the_cluster_is_unreachable() {
    let away = KafkaConfig::new("127.0.0.1:1");
    // The timeout is longer than one request.
    let error = provision(&away, &[TopicSpec::new("t", 1, 1)], Duration::from_secs(7)).await.unwrap_err();
    assert!(error.kind.is_retryable(), "{error}");
    assert!(error.chain().to_string().contains("topics not ready in 7s"), "{error}");
    assert!(error.chain().to_string().contains("Connection refused"), "{}", error.chain());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Apache Kafka; run scripts/test"]
async fn a_message_is_received_as_it_was_sent() {
    let (config, topic) = (config(), topic("round", 1).await);
    let headers: Headers = [("b", "2"), ("a", ""), ("b", "3")].into_iter().collect();
    let numbered = |n| message(&topic, "k", n);
    let full = Message::new(MessageParts { headers: headers.view(), ..numbered(1).parts() });
    let tombstone = Message::new(MessageParts { payload: None, ..numbered(2).parts() });
    let empty = Message::new(MessageParts { payload: Some(b""), ..numbered(3).parts() });
    let sent = [full, tombstone, empty];
    publish(&*publisher(&config), sent.clone()).await;
    let seen = Seen::default();
    let running =
        Running::start(consumer(&config, &unique("g")).on(&*topic, seen.handler()).build().unwrap());
    seen.len(3).await;
    running.stop().await;
    let read: Vec<_> = seen.lock().iter().map(|delivery| delivery.message.clone()).collect();
    assert_eq!(read, sent);
}

/// Members join and leave while messages are published. No message may be lost, and each key must keep its order.
async fn test_rebalances(config: KafkaConfig) {
    const KEYS: usize = 40;
    const EACH: usize = 250;
    let (topic, group) = (topic("rebalance", 6).await, unique("g"));
    let seen = Seen::default();
    let member = || {
        let handler = seen.handler_with(|_| async {
            tokio::time::sleep(Duration::from_millis(2)).await;
            Ok(())
        });
        let consumer =
            consumer(&config, &group).on(&*topic, handler).commit_interval(Duration::from_millis(200));
        Running::start(consumer.build().unwrap())
    };
    let producing = tokio::spawn({
        let (config, topic) = (config.clone(), topic.clone());
        async move {
            let publisher = publisher(&config);
            for n in 0..EACH {
                publish(&*publisher, (0..KEYS).map(|key| message(&topic, &format!("k{key}"), n))).await;
                tokio::time::sleep(Duration::from_millis(40)).await;
            }
        }
    });
    let first = member();
    seen.len(KEYS).await;
    let second = member();
    tokio::time::sleep(Duration::from_secs(5)).await;
    let third = member();
    first.stop().await;
    producing.await.unwrap();
    let distinct =
        |seen: &[Delivery]| seen.iter().map(|d| d.message.id().to_owned()).collect::<BTreeSet<_>>().len();
    seen.until("every message", |seen| seen.len() >= KEYS * EACH && distinct(seen) == KEYS * EACH).await;
    second.stop().await;
    third.stop().await;
    assert_order(&seen.by_key());
    println!("{} messages, {} handled again", KEYS * EACH, seen.lock().len() - KEYS * EACH);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Apache Kafka; run scripts/test"]
async fn rebalances_lose_no_record_and_keep_the_order_of_keys() {
    test_rebalances(config()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Apache Kafka; run scripts/test"]
async fn rebalances_of_kip_848_lose_no_record_and_keep_the_order_of_keys() {
    let mut config = config();
    config.librdkafka.remove("session.timeout.ms");
    test_rebalances(config.librdkafka("group.protocol", "consumer")).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Apache Kafka; run scripts/test"]
async fn uncommitted_records_of_a_killed_member_are_handled_again() {
    const ALL: usize = 3_000;
    let (config, topic, group) = (config(), topic("crash", 3).await, unique("g"));
    publish(&*publisher(&config), (0..ALL).map(|n| message(&topic, &format!("k{}", n % 50), n))).await;
    let handled = kill_after(1_000, spawn_child(&topic, &group, "")).await;

    let seen = Seen::default();
    let clock = Clock::system();
    let start = clock.now();
    let running = Running::start(consumer(&config, &group).on(&*topic, seen.handler()).build().unwrap());
    seen.len(1).await;
    println!("partitions reassigned after {:?}", clock.now() - start);
    let again = handled_again(&seen, running, &handled, ALL).await;
    assert!(again < handled.len(), "some records were committed before the kill");
}

/// The record that hangs holds the committed offset of the only partition back from the beginning on.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Apache Kafka; run scripts/test"]
async fn a_killed_member_with_a_hanging_key_repeats_little() {
    const ALL: usize = 3_000;
    let (config, topic, group) = (config(), topic("hanging", 1).await, unique("g"));
    publish(&*publisher(&config), (0..ALL).map(|n| message(&topic, &format!("k{}", n % 50), n))).await;
    let handled = kill_after(1_500, spawn_child(&topic, &group, "k0")).await;

    let seen = Seen::default();
    let running = Running::start(consumer(&config, &group).on(&*topic, seen.handler()).build().unwrap());
    let again = handled_again(&seen, running, &handled, ALL).await;
    assert!(again < handled.len(), "finished records were committed before the kill");
}

/// Waits until each of `all` messages is handled, by the killed member or by `running`, and stops `running`. Returns the
/// number of messages that both have handled.
async fn handled_again(seen: &Seen, running: Running, handled: &BTreeSet<String>, all: usize) -> usize {
    let everything = |seen: &[Delivery]| {
        let mut ids = handled.clone();
        ids.extend(seen.iter().map(|delivery| delivery.message.id().to_owned()));
        ids.len() == all
    };
    seen.until("every message, by one of the two members", everything).await;
    running.stop().await;
    assert_order(&seen.by_key());
    let again = seen.ids().iter().filter(|id| handled.contains(*id)).count();
    println!("{again} of {} handled again", handled.len());
    again
}

/// Kills `child` when it has printed `n` handled records, and returns the ids of all records that it printed.
async fn kill_after(n: usize, mut child: Child) -> BTreeSet<String> {
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let (count, counter) = tokio::sync::watch::channel(0);
    let handled = tokio::task::spawn_blocking(move || {
        let ids = lines.filter_map(|line| line.strip_prefix("handled ").map(str::to_owned));
        ids.inspect(|_| count.send_modify(|count| *count += 1)).collect()
    });
    tokio::time::timeout(LIMIT, counter.clone().wait_for(|count| *count >= n)).await.unwrap().unwrap();
    child.kill().unwrap(); // SIGKILL
    child.wait().unwrap();
    handled.await.unwrap()
}

/// Starts the child process. Its handler hangs for the records of the key `hanging`.
fn spawn_child(topic: &str, group: &str, hanging: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_of_the_crash_test", "--ignored", "--nocapture"])
        .env(CHILD, format!("{topic} {group} {hanging}"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The child process of the crash test: prints each record that it handles until it is killed.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Apache Kafka; run scripts/test"]
async fn child_of_the_crash_test() {
    let Ok(arguments) = std::env::var(CHILD) else { return };
    let [topic, group, hanging] = arguments.splitn(3, ' ').collect::<Vec<_>>().try_into().unwrap();
    let (count, hanging) = (Arc::new(AtomicUsize::new(0)), Arc::new(hanging.to_owned()));
    let handler = handler_fn(move |delivery: Delivery| {
        let (count, hanging) = (count.clone(), hanging.clone());
        async move {
            if delivery.message.key() == Some(hanging.as_bytes()) {
                std::future::pending::<()>().await;
            }
            println!("handled {}", delivery.message.id());
            if count.fetch_add(1, Ordering::SeqCst) > 500 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Ok(Outcome::Done)
        }
    });
    let consumer = consumer(&config(), group).on(topic, handler).commit_interval(Duration::from_millis(100));
    consumer.build().unwrap().run(std::future::pending()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Apache Kafka; run scripts/test"]
async fn a_member_with_an_unsupported_assignor_is_unready_with_the_reason() {
    let (topic, group) = (topic("assignor", 2).await, unique("g"));
    let other = config().librdkafka("partition.assignment.strategy", "range");
    let seen = Seen::default();
    let first = Running::start(consumer(&other, &group).on(&*topic, seen.handler()).build().unwrap());
    publish(&*publisher(&other), [message(&topic, "k", 0)]).await;
    seen.len(1).await;
    let health = comms_core::health::Health::new();
    let second = consumer(&config(), &group).on(&*topic, seen.handler()).health(health.component("second"));
    let second = Running::start(second.build().unwrap());
    let faulty =
        || health.readiness().reason("second").is_some_and(|reason| reason.starts_with("deployment fault"));
    let unready = tokio::time::timeout(LIMIT, async {
        while !faulty() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    unready.await.unwrap_or_else(|_| panic!("{:?}", health.readiness()));
    second.stop().await;
    first.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Apache Kafka; run scripts/test"]
async fn a_record_is_held_while_its_dead_letter_topic_is_missing() {
    let spec = TopicSpec::new(unique("nodlq"), 1, 1);
    provision(&config(), std::slice::from_ref(&spec), LIMIT).await.unwrap();
    let config = config().librdkafka("topic.metadata.propagation.max.ms", "500");
    let (bad, good) = (message(&spec.name, "bad", 0), message(&spec.name, "good", 1));
    publish(&*publisher(&config), [bad, good]).await;
    let seen = Seen::default();
    let handler = seen.handler_with(|delivery| async move {
        match delivery.message.id() {
            "bad-0" => Err(comms_core::Error::invalid("cannot be read")),
            _ => Ok(()),
        }
    });
    let consumer = consumer(&config, &unique("g")).on(&*spec.name, handler).build().unwrap();
    let holds = consumer.holds().clone();
    let running = Running::start(consumer);
    seen.len(1).await;
    let until = async |wanted: usize| {
        let reached = tokio::time::timeout(LIMIT, async {
            while holds.len() != wanted {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        reached.await.unwrap_or_else(|_| panic!("{:?}", holds.list()));
    };
    until(1).await;
    assert_eq!(holds.list()[0].kind, comms_core::ErrorKind::Misconfigured);
    provision(&config, &[spec.dead_letters()], LIMIT).await.unwrap();
    until(0).await;
    running.stop().await;
    let dead = Seen::default();
    let reader = Consumer::builder(&config, unique("g")).on(spec.dead_letters().name, dead.handler());
    let reader = Running::start(reader.dead_letter(publisher(&config)).build().unwrap());
    dead.len(1).await;
    reader.stop().await;
    assert_eq!(dead.ids(), ["bad-0"]);
}
