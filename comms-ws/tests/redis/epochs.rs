//! The epochs of topics without messages, and of topics whose keys are lost.

use std::{collections::HashSet, time::Duration};

use comms_ws::backplane::Position;
use redis::aio::MultiplexedConnection;

use crate::{
    node::KEEP,
    server::{Server, node},
};

async fn keys(client: &mut MultiplexedConnection) -> Vec<String> {
    redis::cmd("KEYS").arg("*").query_async(client).await.unwrap()
}

async fn delete(client: &mut MultiplexedConnection, part: &str) {
    for key in keys(client).await.iter().filter(|key| key.contains(part)) {
        redis::cmd("DEL").arg(key).exec_async(client).await.unwrap();
    }
}

/// A client that subscribes to any number of topics occupies no memory of the server.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis; run scripts/test"]
async fn topics_without_messages_have_no_key() {
    let server = Server::start(&[]).await;
    let (a, b) = (node(server.config()), node(server.config()));
    let mut client = server.client().await;
    for n in 0..200 {
        let start = a.subscribe(&format!("t{n}")).await;
        assert_eq!(b.history(&format!("t{n}"), start).await.messages, None, "another prefix");
        assert_eq!(a.history(&format!("t{n}"), start).await.messages, Some(Vec::new()));
    }
    let keys = keys(&mut client).await;
    assert!(keys.len() == 2 && keys.iter().all(|key| key.ends_with(":starts")), "{keys:?}");
    for key in keys {
        let lifetime: i64 = redis::cmd("TTL").arg(key).query_async(&mut client).await.unwrap();
        assert!(lifetime > 24 * 3_600, "{lifetime}");
    }
}

/// The epoch stays the same until the first message, which continues it, and for all nodes.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis; run scripts/test"]
async fn the_first_message_continues_the_epoch() {
    let server = Server::start(&[]).await;
    let config = server.config();
    let (a, b) = (node(config.clone()), node(config));
    let start = a.subscribe("t").await;
    b.publish("other", "m").await;
    assert_eq!(b.subscribe("t").await, start);
    assert_eq!(b.publish("t", "m").await, Position { offset: 1, ..start });
    assert_eq!(a.bodies("t", start).await.unwrap(), ["m"]);
}

/// Expiry, eviction and operators delete keys one by one.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis; run scripts/test"]
async fn a_topic_whose_keys_are_lost_gives_no_position_twice() {
    let server = Server::start(&[]).await;
    let a = node(server.config());
    let mut client = server.client().await;
    let mut epochs = HashSet::new();
    for (round, lost) in [":meta", ":meta", ":", ":meta", ":starts"].into_iter().enumerate() {
        let start = a.subscribe("t").await;
        assert_eq!(start.offset, 0);
        assert!(epochs.insert(start.epoch), "round {round}");
        let first = a.publish("t", &format!("{round}")).await;
        assert_eq!(first, Position { offset: 1, ..start });
        delete(&mut client, lost).await;
        if lost == ":starts" {
            assert_eq!(a.subscribe("t").await, first, "the epoch of a topic with messages is its own");
            continue;
        }
        for position in [start, first] {
            assert_eq!(a.history("t", position).await.messages, None, "round {round}");
        }
    }
    let (empty, flushed) = (a.subscribe("empty").await, redis::cmd("FLUSHALL"));
    flushed.exec_async(&mut client).await.unwrap();
    assert_ne!(a.subscribe("empty").await.epoch, empty.epoch);
    assert_eq!(a.history("empty", empty).await.messages, None);
}

/// The keys of the last run of the server say nothing about the current one.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis; run scripts/test"]
async fn the_check_ignores_topics_of_an_earlier_run() {
    let mut server = Server::start(&["--appendonly", "yes", "--appendfsync", "always"]).await;
    let config = server.config().check_interval(Duration::from_millis(10));
    node(config.clone()).publish("t", "before").await;
    server.kill();
    server.restart().await;
    let a = node(config);
    a.subscribe("t").await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(a.recorder.interruptions(), 0);
    let published = a.try_publish("t", "after", "after", Some(KEEP)).await.unwrap();
    assert_eq!(a.recorder.until_count("t", 1).await[0].position.unwrap().offset, 1, "{published:?}");
}
