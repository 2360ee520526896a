//! Servers that belong together: Sentinels with a primary and its replica, and a cluster.

use std::time::Duration;

use comms_core::ErrorKind;
use comms_ws::backplane::{Published, RedisConfig};
use tokio::time::sleep;

use crate::{
    crash::publish_again,
    node::KEEP,
    running::until_position,
    server::{Server, config, node},
};

const NAME: &str = "Orders_1";

/// Starts a replica, and waits until it has the data of the primary.
async fn replica_of(primary: &Server) -> Server {
    let replica = Server::start(&["--replicaof", "127.0.0.1", &primary.port.to_string()]).await;
    let mut client = primary.client().await;
    let mut info =
        async || -> String { redis::cmd("INFO").arg("replication").query_async(&mut client).await.unwrap() };
    while !info().await.contains("state=online") {
        sleep(Duration::from_millis(20)).await;
    }
    replica
}

/// Starts a Sentinel that decides alone about a failover.
async fn sentinel_of(primary: &Server) -> Server {
    let mut sentinel = Server::stopped(&["--sentinel"]);
    sentinel.file = Some(format!(
        "port {}\nbind 127.0.0.1\nsentinel monitor {NAME} 127.0.0.1 {} 1\n\
         sentinel down-after-milliseconds {NAME} 500\n",
        sentinel.port, primary.port
    ));
    sentinel.restart().await;
    sentinel
}

/// Returns the settings of a node that also knows a Sentinel that is away.
fn config_of(sentinel: &Server) -> RedisConfig {
    let mut config = sentinel.config().sentinel_primary(format!("redis://{NAME}"));
    config.urls.insert(0, "redis://127.0.0.1:1".to_owned());
    config
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis; run scripts/test"]
async fn connections_go_to_the_primary_that_a_sentinel_names() {
    let mut primary = Server::start(&[]).await;
    let _replica = replica_of(&primary).await;
    let sentinel = sentinel_of(&primary).await;
    let config = config_of(&sentinel);
    let (a, b) = (node(config.clone()), node(config));
    a.subscribe("t").await;
    let first = b.publish("t", "first").await;
    primary.kill();
    let second = publish_again(&b, "t", "second").await;
    let Published::New(Some(second)) = second else { panic!("a duplicate") };
    assert_ne!(second.epoch, first.epoch, "the replica was promoted");
    a.recorder.until("an interruption", |recorder| recorder.interruptions() >= 1).await;
    let third = b.publish("t", "third").await;
    until_position(&a, "t", third).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Redis; run scripts/test"]
async fn servers_of_another_kind_are_a_deployment_fault() {
    let primary = Server::start(&[]).await;
    let sentinel = sentinel_of(&primary).await;
    let member = Server::start(&["--cluster-enabled", "yes"]).await;
    for (wrong, reason) in [
        (config(&sentinel.url()), "sentinel_primary"),
        (config(&sentinel.url()).sentinel_primary("redis://unknown"), "monitors no primary \"unknown\""),
        (config(&member.url()), "cluster"),
    ] {
        let error = node(wrong).try_publish("t", "m", "m", Some(KEEP)).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Misconfigured, "{}", error.chain());
        assert!(error.chain().to_string().contains(reason), "{}", error.chain());
    }
}
