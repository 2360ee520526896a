//! Servers that lose their process or their data.

use std::time::Duration;

use comms_ws::backplane::{Position, Published};
use rustix::process::Signal;

use crate::{
    node::{KEEP, Node},
    running::until_position,
    server::{Server, node},
};

const DURABLE: [&str; 4] = ["--appendonly", "yes", "--appendfsync", "always"];

/// Publishes until the server is back.
pub(crate) async fn publish_again(node: &Node, topic: &str, id: &str) -> Published {
    loop {
        match node.try_publish(topic, id, id.to_owned(), Some(KEEP)).await {
            Ok(published) => return published,
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis; run scripts/test"]
async fn a_flush_begins_a_new_epoch() {
    let server = Server::start(&[]).await;
    let a = node(server.config());
    a.subscribe("t").await;
    let first = a.publish("t", "first").await;
    redis::cmd("FLUSHALL").exec_async(&mut server.client().await).await.unwrap();
    let second = a.publish("t", "first").await;
    assert_eq!(second.offset, 1);
    assert_ne!(second.epoch, first.epoch);
    let arrived = a.recorder.until_count("t", 2).await;
    assert_eq!(arrived[1].position, Some(second), "the subscription survives");
    assert_eq!(a.history("t", first).await.messages, None);
}

/// The server keeps each acknowledged write. The epoch changes all the same, because no client can know this.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis; run scripts/test"]
async fn a_restart_with_all_data_keeps_identities_and_begins_a_new_epoch() {
    let mut server = Server::start(&DURABLE).await;
    // No check, so that the first command of `a` after the restart is the one below.
    let config = server.config().check_interval(Duration::from_secs(3_600));
    let (a, b) = (node(config.clone()), node(config));
    a.subscribe("t").await;
    let first = b.publish("t", "first").await;
    server.kill();
    assert!(b.try_publish("t", "second", "second", Some(KEEP)).await.is_err());
    server.restart().await;
    assert_eq!(publish_again(&b, "t", "first").await, Published::Duplicate(first));
    let Published::New(Some(second)) = publish_again(&b, "t", "second").await else { panic!("a duplicate") };
    assert_ne!(second.epoch, first.epoch);
    assert_eq!(second.offset, 1);
    a.recorder.until("an interruption", |recorder| recorder.interruptions() == 1).await;
    assert_eq!(a.history("t", first).await.messages, None, "the closed connection was replaced");
    assert_eq!(a.bodies("t", Position { offset: 0, ..second }).await.unwrap(), ["second"]);
    let third = b.publish("t", "third").await;
    until_position(&a, "t", third).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis; run scripts/test"]
async fn a_restart_without_data_gives_no_offset_twice() {
    let mut server = Server::start(&[]).await;
    let config = server.config();
    let (a, b) = (node(config.clone()), node(config));
    a.subscribe("t").await;
    let mut positions = std::collections::HashSet::new();
    for round in 0..3 {
        for n in 0..3 {
            let Published::New(Some(position)) = publish_again(&b, "t", &format!("{round}/{n}")).await else {
                panic!("a duplicate")
            };
            assert!(positions.insert(position));
        }
        server.kill();
        server.restart().await;
        a.recorder.until("an interruption", |recorder| recorder.interruptions() > round).await;
    }
}

/// A message without history reaches the hub of its node while the server is away, and all nodes after it is back.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis; run scripts/test"]
async fn topics_without_history_work_locally_while_the_server_is_away() {
    let mut server = Server::stopped(&[]);
    let config = server.config();
    let (a, b) = (node(config.clone()), node(config));
    for node in [&a, &b] {
        assert_eq!(node.backplane.subscribe("t", None).await.unwrap(), None);
    }
    a.try_publish("t", "1", "away", None).await.unwrap();
    assert_eq!(a.recorder.until_count("t", 1).await[0].body, "away");
    server.restart().await;
    for node in [&a, &b] {
        node.recorder.until("an interruption", |recorder| recorder.interruptions() == 1).await;
    }
    // The connection for commands waits for its next attempt.
    while b.recorder.of("t").is_empty() {
        a.try_publish("t", "2", "back", None).await.unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(b.recorder.of("t")[0].body, "back");
}

/// With two addresses, the connections go to the primary, and follow a promotion.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis; run scripts/test"]
async fn a_failover_begins_a_new_epoch() {
    let mut primary = Server::start(&[]).await;
    let replica = Server::start(&["--replicaof", "127.0.0.1", &primary.port.to_string()]).await;
    let mut config = primary.config();
    config.urls = vec![replica.url(), primary.url()];
    let (a, b) = (node(config.clone()), node(config));
    a.subscribe("t").await;
    let first = b.publish("t", "first").await;
    primary.signal(Signal::STOP);
    let mut client = replica.client().await;
    redis::cmd("REPLICAOF").arg("NO").arg("ONE").exec_async(&mut client).await.unwrap();
    primary.kill();
    let second = publish_again(&b, "t", "second").await;
    let Published::New(Some(second)) = second else { panic!("a duplicate") };
    assert_ne!(second.epoch, first.epoch);
    a.recorder.until("an interruption", |recorder| recorder.interruptions() == 1).await;
    let third = b.publish("t", "third").await;
    until_position(&a, "t", third).await;
}
