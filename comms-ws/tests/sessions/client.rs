//! The frames of a client.

use comms_ws::close;
use futures::{SinkExt, StreamExt};
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use crate::support::{Server, millis, push};

#[tokio::test]
async fn a_json_ping_gets_a_json_pong() {
    let server = Server::start(|_| {}).await;
    let mut client = server.client("ann").await;
    client.send(json!({"type": "ping"})).await;
    assert_eq!(client.next().await, json!({"type": "pong"}));
}

#[tokio::test]
async fn a_message_over_the_limit_closes_the_session_as_too_big() {
    let server = Server::start(|_| {}).await;
    for message in [
        Message::text("x".repeat(4_097)),
        Message::binary(vec![0; 4_097]),
        Message::text("x".repeat(1_000_000)),
    ] {
        let mut client = server.client("ann").await;
        // The server may close before it has read everything.
        let _ = client.socket.send(message).await;
        assert_eq!(client.read_to_end().await.1, Some(close::TOO_BIG));
    }
    server.until_empty().await;
}

#[tokio::test]
async fn malformed_frames_get_an_error_and_the_tenth_closes_the_session() {
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
        let response = client.next().await;
        assert_eq!((&response["type"], &response["code"]), (&json!("error"), &json!("malformed")), "{text}");
    }
    for _ in bad.len()..9 {
        client.socket.send(Message::text("{")).await.unwrap();
        assert_eq!(client.next().await["code"], "malformed");
    }
    client.socket.send(Message::text("{")).await.unwrap();
    assert_eq!(client.read_to_end().await.1, Some(close::POLICY));
}

#[tokio::test]
async fn a_client_over_the_frame_rate_is_closed() {
    let server = Server::start(|config| config.client_frames_per_second = 4).await;
    let mut client = server.client("ann").await;
    // The burst is five times the rate, control frames included.
    for n in 0..25 {
        let frame =
            if n % 2 == 0 { Message::text(r#"{"type":"ping"}"#) } else { Message::Ping(Default::default()) };
        client.socket.feed(frame).await.unwrap();
    }
    client.socket.flush().await.unwrap();
    let (pongs, code) = client.read_to_end().await;
    assert_eq!(code, Some(close::POLICY));
    assert!(pongs.len() <= 10, "{}", pongs.len());
}

#[tokio::test]
async fn a_close_frame_of_the_client_is_answered() {
    let server = Server::start(|_| {}).await;
    let mut client = server.client("ann").await;
    client.socket.close(None).await.unwrap();
    let response = client.socket.next().await;
    assert!(matches!(response, Some(Ok(Message::Close(_)))), "{response:?}");
    server.until_empty().await;
}

#[tokio::test]
async fn a_client_that_vanishes_is_removed() {
    let server = Server::start(|_| {}).await;
    let client = server.client("ann").await;
    drop(client);
    for n in 0..10 {
        server.hub.publish("user/ann", &push(n, 100)).await.unwrap();
        tokio::time::sleep(millis(5)).await;
    }
    server.until_empty().await;
}
