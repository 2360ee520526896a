//! What a client may send.

use comms_ws::close;
use futures::{SinkExt, StreamExt};
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use crate::support::{Server, event, millis};

#[tokio::test]
async fn a_ping_in_json_is_answered_in_json() {
    let server = Server::start(|_| {}).await;
    let mut client = server.client("ann").await;
    client.say(json!({"type": "ping"})).await;
    assert_eq!(client.next().await, json!({"type": "pong"}));
}

#[tokio::test]
async fn a_frame_over_the_limit_is_too_big() {
    let server = Server::start(|_| {}).await;
    for message in
        [Message::text("x".repeat(4_097)), Message::binary(vec![0; 4_097]), Message::text("x".repeat(16_384))]
    {
        let mut client = server.client("ann").await;
        client.socket.send(message).await.unwrap();
        assert_eq!(client.rest().await.1, Some(close::TOO_BIG));
    }
    // Far beyond it nothing is kept of it: an end without grace.
    let mut client = server.client("ann").await;
    let _ = client.socket.send(Message::text("x".repeat(1_000_000))).await;
    let code = client.rest().await.1;
    assert!(code.is_none_or(|code| code == close::PROTOCOL), "{code:?}");
    server.until_empty().await;
}

#[tokio::test]
async fn malformed_frames_are_named_and_counted() {
    let server = Server::start(|_| {}).await;
    let mut client = server.client("ann").await;
    let bad = [
        "",
        "{",
        "[]",
        r#"{"type":"publish"}"#,
        r#"{"type":"subscribe"}"#,
        r#"{"type":"subscribe","topic":7}"#,
    ];
    for text in bad {
        client.socket.send(Message::text(text)).await.unwrap();
        let answer = client.next().await;
        assert_eq!((&answer["type"], &answer["code"]), (&json!("error"), &json!("malformed")), "{text}");
    }
    for _ in bad.len()..9 {
        client.socket.send(Message::binary(vec![1, 2, 3])).await.unwrap();
        assert_eq!(client.next().await["code"], "malformed");
    }
    client.socket.send(Message::text("{")).await.unwrap();
    assert_eq!(client.rest().await.1, Some(close::POLICY));
}

#[tokio::test]
async fn a_client_that_talks_too_much_is_closed() {
    let server = Server::start(|config| config.client_frames_per_second = 4).await;
    let mut client = server.client("ann").await;
    // Its burst is five seconds' worth, control frames included.
    for n in 0..25 {
        let frame =
            if n % 2 == 0 { Message::text(r#"{"type":"ping"}"#) } else { Message::Ping(Default::default()) };
        client.socket.feed(frame).await.unwrap();
    }
    client.socket.flush().await.unwrap();
    let (pongs, code) = client.rest().await;
    assert_eq!(code, Some(close::POLICY));
    assert!(pongs.len() <= 10, "{}", pongs.len());
}

#[tokio::test]
async fn a_client_that_says_goodbye_is_answered() {
    let server = Server::start(|_| {}).await;
    let mut client = server.client("ann").await;
    client.socket.close(None).await.unwrap();
    let answer = client.socket.next().await;
    assert!(matches!(answer, Some(Ok(Message::Close(_)))), "{answer:?}");
    server.until_empty().await;
}

#[tokio::test]
async fn a_client_that_vanishes_leaves_nothing_behind() {
    let server = Server::start(|_| {}).await;
    let client = server.client("ann").await;
    drop(client);
    for n in 0..10 {
        server.hub.publish("user/ann", &event(n, 100));
        tokio::time::sleep(millis(5)).await;
    }
    server.until_empty().await;
}
