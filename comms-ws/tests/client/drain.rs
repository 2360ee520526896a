//! `drain`: the next connection is opened before the old one is closed.

use std::time::Duration;

use serde_json::json;

use crate::support::{Server, start};

const RETRY: Duration = Duration::from_millis(700);

#[tokio::test]
async fn the_next_connection_is_opened_before_the_old_one_is_closed() {
    let server = Server::start().await;
    let mut client = start(&server, |builder| builder);
    let mut old = server.accept().await;
    old.welcome("a:1:0:m", None).await;
    old.send(json!({"type": "drain", "retry_ms": 700})).await;
    old.event("a", 1).await;
    assert_eq!(client.items(3).await, ["connected", "subscribed a", "event a 1"]);
    client.clock.advance(RETRY);
    let mut new = server.accept().await;
    assert_eq!(new.query, "cursor=a:1:0:m~1");
    // The old connection is usable until the new one is welcomed.
    old.event("a", 2).await;
    assert_eq!(client.items(1).await, ["event a 2"]);
    new.welcome("a:1:1:m", Some(true)).await;
    new.event("a", 2).await;
    new.event("a", 3).await;
    assert_eq!(client.items(3).await, ["connected", "recovered a", "event a 3"]);
    assert_eq!(old.closed().await, Some(1000));
}

#[tokio::test]
async fn a_server_that_closes_before_the_time_is_left_alone_until_then() {
    let server = Server::start().await;
    let mut client = start(&server, |builder| builder);
    let mut old = server.accept().await;
    old.welcome("a:1:0:m", None).await;
    old.send(json!({"type": "drain", "retry_ms": 700})).await;
    old.close(1001).await;
    client.items(2).await;
    assert_eq!(client.disconnected().await.0, RETRY);
    let mut new = server.accept().await;
    new.welcome("a:1:0:m", Some(true)).await;
    assert_eq!(client.items(2).await, ["connected", "recovered a"]);
}

#[tokio::test]
async fn a_failed_attempt_leaves_the_old_connection_open() {
    let server = Server::start().await;
    let mut client = start(&server, |builder| builder);
    let mut old = server.accept().await;
    old.welcome("a:1:0:m", None).await;
    old.send(json!({"type": "drain", "retry_ms": 700})).await;
    old.event("a", 1).await;
    client.items(3).await;
    client.clock.advance(RETRY);
    server.refuse("503 Service Unavailable").await;
    old.event("a", 2).await;
    assert_eq!(client.items(1).await, ["event a 2"]);
    // The failure and the event arrive in any order, so the time of the next attempt is not known here.
    let mut new = loop {
        client.clock.advance(Duration::from_millis(100));
        tokio::select! {
            peer = server.accept() => break peer,
            () = tokio::time::sleep(Duration::from_millis(1)) => {}
        }
    };
    new.welcome("a:1:2:m", Some(true)).await;
    assert_eq!(client.items(2).await, ["connected", "recovered a"]);
}
