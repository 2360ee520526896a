//! The contract, and many topics, on the shared server.

use std::{sync::Arc, time::Duration};

use comms_core::{ErrorKind, clock::Clock, shutdown::Shutdown};
use comms_ws::backplane::{Backplane, Redis};
use futures::future::join_all;
use tokio::time::sleep;

use crate::{
    contract::{self, Nodes},
    node::{KEEP, Node},
    server::{config, node, shared_url},
};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis; run scripts/test"]
async fn redis_keeps_the_contract() {
    let config = config(&shared_url());
    let pass = |time| Box::pin(sleep(time)) as contract::Passed;
    contract::all(&Nodes { a: node(config.clone()), b: node(config), pass: Box::new(pass) }).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis; run scripts/test"]
async fn a_thousand_topics_are_subscribed() {
    let config = config(&shared_url());
    let (a, b) = (node(config.clone()), node(config));
    let topics: Vec<_> = (0..1_000).map(|n| format!("user/{n}")).collect();
    join_all(topics.iter().map(|topic| a.subscribe(topic))).await;
    join_all(topics.iter().map(|topic| b.publish(topic, "m"))).await;
    a.recorder.until("1,000 messages", |recorder| recorder.arrived().len() == 1_000).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis; run scripts/test"]
async fn an_unsubscribed_topic_is_not_delivered_and_can_be_subscribed_again() {
    let config = config(&shared_url());
    let (a, b) = (node(config.clone()), node(config));
    a.subscribe("t").await;
    a.subscribe("end").await;
    a.backplane.unsubscribe("t");
    b.publish("t", "unseen").await;
    b.publish("end", "m").await;
    a.recorder.until_count("end", 1).await;
    assert_eq!(a.subscribe("t").await.offset, 1);
    b.publish("t", "seen").await;
    assert_eq!(a.recorder.until_count("t", 1).await[0].body, "seen");
}

/// Systems with different prefixes, or in different databases, share neither messages nor claims.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis; run scripts/test"]
async fn systems_on_one_server_are_separate() {
    let ours = config(&shared_url());
    let mut in_database_1 = config(&format!("{}/1", shared_url()));
    in_database_1.prefix = ours.prefix.clone();
    let (a, prefix, database) = (node(ours), node(config(&shared_url())), node(in_database_1));
    a.backplane.subscribe("t", None).await.unwrap();
    a.subscribe("h").await;
    for other in [prefix, database] {
        other.try_publish("t", "m", "foreign", None).await.unwrap();
        assert_eq!(other.publish("h", "m").await.offset, 1);
        assert!(other.backplane.claim("c", Duration::from_secs(60)).await.unwrap());
    }
    a.try_publish("t", "m", "own", None).await.unwrap();
    assert_eq!(a.publish("h", "m").await.offset, 1);
    assert!(a.backplane.claim("c", Duration::from_secs(60)).await.unwrap());
    a.recorder.until_count("h", 1).await;
    assert_eq!(a.recorder.arrived().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis; run scripts/test"]
async fn run_ends_at_shutdown_and_publishing_goes_on() {
    let config = config(&shared_url()).response_timeout(Duration::from_secs(1));
    let redis = Redis::new(config, Clock::system()).unwrap();
    let node = Node::new(Arc::new(redis.clone()));
    let shutdown = Shutdown::new(Clock::system());
    let stage = shutdown.stage("backplane");
    stage.spawn("redis", move |signal| async move {
        redis.run(signal).await;
        Ok(())
    });
    node.subscribe("t").await;
    let ended = shutdown.end(Duration::from_secs(30), std::future::pending()).await;
    assert!(ended.is_clean());
    node.publish("t", "m").await;
    assert!(node.backplane.subscribe("u", None).await.unwrap().is_none());
    let error = node.backplane.subscribe("v", Some(KEEP)).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotExecuted, "its messages would not arrive");
    assert!(node.backplane.claim("c", KEEP.age).await.unwrap());
}
