//! Reconnects: the cursor, duplicates, tokens and the wait.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use comms_core::{Error, ErrorKind, resilience::Backoff};
use comms_ws::client::Client;
use serde_json::json;

use crate::support::{Server, start};

#[tokio::test]
async fn a_cut_connection_is_resumed_without_loss_and_duplicates() {
    let server = Server::start().await;
    let mut client = start(&server, |builder| builder);
    let mut first = server.accept().await;
    assert_eq!((first.query.as_str(), first.token.as_deref()), ("", Some("t")));
    first.welcome("a:1:0:m", None).await;
    first.event("a", 1).await;
    first.event("a", 2).await;
    assert_eq!(client.items(4).await, ["connected", "subscribed a", "event a 1", "event a 2"]);
    drop(first);
    let (wait, reason) = client.disconnected().await;
    assert_eq!(reason.kind, ErrorKind::Indeterminate);
    assert!(wait <= Duration::from_millis(500), "{wait:?}");
    let mut second = server.accept().await;
    assert_eq!(second.query, "cursor=a:1:0:m~2");
    second.welcome("a:1:2:n", Some(true)).await;
    for offset in [1, 2, 3] {
        second.event("a", offset).await;
    }
    assert_eq!(client.items(3).await, ["connected", "recovered a", "event a 3"]);
    assert_eq!(client.events.cursor(), "a:1:2:n~3");
}

#[tokio::test]
async fn a_later_client_resumes_at_the_last_item_that_was_read() {
    let server = Server::start().await;
    let mut client = start(&server, |builder| builder);
    let mut first = server.accept().await;
    first.welcome("a:1:0:m", None).await;
    for offset in 1..=3 {
        first.event("a", offset).await;
    }
    client.items(3).await;
    let cursor = client.events.cursor();
    assert_eq!(cursor, "a:1:0:m~1");
    let _later = start(&server, |builder| builder.cursor(cursor));
    assert_eq!(server.accept().await.query, "cursor=a:1:0:m~1");
}

#[tokio::test]
async fn a_refused_token_is_replaced() {
    let server = Server::start().await;
    let calls = Arc::new(AtomicU32::new(0));
    let mut client = start(&server, |builder| {
        builder.token(move || {
            let n = calls.fetch_add(1, Ordering::Relaxed);
            async move { Ok(format!("token-{n}")) }
        })
    });
    server.refuse("401 Unauthorized").await;
    assert_eq!(client.disconnected().await.1.kind, ErrorKind::Unauthenticated);
    let peer = server.accept().await;
    assert_eq!(peer.token.as_deref(), Some("token-1"));
    peer.close(4401).await;
    assert_eq!(client.disconnected().await.1.kind, ErrorKind::Unauthenticated);
    assert_eq!(server.accept().await.token.as_deref(), Some("token-2"));
}

#[tokio::test]
async fn each_code_that_is_not_final_is_followed_by_a_connection_with_the_cursor() {
    let server = Server::start().await;
    let mut client = start(&server, |builder| builder);
    let mut peer = server.accept().await;
    peer.welcome("a:1:5:m", None).await;
    client.items(2).await;
    for code in [1001, 1011, 4401, 4408, 4410] {
        peer.close(code).await;
        client.disconnected().await;
        peer = server.accept().await;
        assert_eq!(peer.query, "cursor=a:1:5:m", "{code}");
        peer.welcome("a:1:5:m", Some(true)).await;
        assert_eq!(client.items(2).await, ["connected", "recovered a"], "{code}");
    }
}

#[tokio::test]
async fn the_wait_grows_until_a_stable_connection_and_follows_retry_after() {
    let server = Server::start().await;
    let exact = Backoff::new(Duration::from_secs(1), Duration::from_secs(8)).unwrap();
    let exact = exact.with_jitter(comms_core::resilience::Jitter::Ratio(0.0)).unwrap();
    let mut client = start(&server, |builder| builder.backoff(exact));
    for seconds in [1, 2, 4, 8, 8] {
        server.refuse("500 Internal Server Error").await;
        assert_eq!(client.disconnected().await.0, Duration::from_secs(seconds));
    }
    server.refuse("503 Service Unavailable\r\nretry-after: 20").await;
    assert_eq!(client.disconnected().await.0, Duration::from_secs(20));
    for (age, seconds) in [(9, 8), (10, 1)] {
        let mut peer = server.accept().await;
        peer.welcome("", None).await;
        client.items(1).await;
        client.clock.advance(Duration::from_secs(age));
        drop(peer);
        assert_eq!(client.disconnected().await.0, Duration::from_secs(seconds), "after {age} s");
    }
}

#[tokio::test]
async fn a_malformed_frame_ends_the_connection_and_not_the_client() {
    let server = Server::start().await;
    let mut client = start(&server, |builder| builder);
    for frame in [json!({"type": "event"}), json!([]), json!({"type": "missed", "topic": "a", "cursor": "a"})]
    {
        let mut peer = server.accept().await;
        peer.welcome("a:1:0:m", Some(true)).await;
        peer.send(frame).await;
        assert_eq!(client.items(2).await[0], "connected");
        assert_eq!(client.disconnected().await.1.kind, ErrorKind::Invalid);
    }
    let mut peer = server.accept().await;
    peer.send(json!({"type": "event"})).await;
    client.disconnected().await;
    server.accept().await;
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_given_up() {
    let server = Server::start().await;
    let mut client = start(&server, |builder| builder.connect_timeout(Duration::from_secs(3)));
    let _silent = server.tcp().await;
    client.clock.advance(Duration::from_secs(3));
    let (_, reason) = client.disconnected().await;
    assert!(reason.chain().to_string().contains("not completed within 3 s"), "{}", reason.chain());
    let _without_welcome = server.accept().await;
    client.clock.advance(Duration::from_secs(3));
    client.disconnected().await;
    server.accept().await;
}

#[tokio::test]
async fn a_token_source_that_fails_is_called_again() {
    let server = Server::start().await;
    let calls = Arc::new(AtomicU32::new(0));
    let mut client = start(&server, |builder| {
        builder.token(move || {
            let n = calls.fetch_add(1, Ordering::Relaxed);
            async move { if n == 0 { Err(Error::indeterminate("away")) } else { Ok("t".into()) } }
        })
    });
    let (_, reason) = client.disconnected().await;
    assert_eq!(reason.chain().to_string(), "indeterminate: get a token: away");
    server.accept().await;
}

#[tokio::test]
async fn a_server_that_is_away_is_not_executed() {
    let clock = crate::support::clock();
    // Nothing listens at port 9.
    let (_client, mut events) =
        Client::builder("ws://127.0.0.1:9/v1/events").max_attempts(1).clock(clock).connect().unwrap();
    let error = events.next().await.unwrap().unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotExecuted);
    assert!(error.to_string().contains("gave up after 1 attempts"), "{error}");
}
