//! The frames of a client.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use comms_core::Error;
use comms_ws::{Filter, Session, close};
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

#[tokio::test]
async fn a_permission_that_is_looked_up_is_asked_for_each_topic() {
    let server = Server::start_with_grant(
        |config| config.max_topics = 3,
        |user| {
            let own = format!("order/{user}");
            Session::new(user, vec![]).allow_async(move |topic| {
                let is_own = topic.starts_with(&own);
                async move {
                    tokio::task::yield_now().await;
                    Ok(is_own)
                }
            })
        },
    )
    .await;
    let opened = "v1/events?topic=order/ann-1&topic=order/bob-1&topic=order/ann-2";
    let mut ann = server.handshake_at(opened, &[("authorization", "Bearer ann")]).await.unwrap();
    let welcome = ann.next().await;
    let topics: Vec<_> = welcome["topics"].as_array().unwrap().iter().map(|topic| &topic["topic"]).collect();
    assert_eq!(topics, ["order/ann-1", "order/ann-2"]);
    assert_eq!(ann.next().await, json!({"type": "error", "code": "forbidden", "detail": "order/bob-1"}));
    assert_eq!(ann.subscribe("order/bob-2").await["code"], "forbidden");
    assert_eq!(ann.subscribe("order/ann-3").await["type"], "subscribed", "a refused topic does not count");
    assert_eq!(ann.subscribe("order/ann-4").await["code"], "too_many_topics");
    server.hub.publish("order/bob-1", &push(1, 0)).await.unwrap();
    server.hub.publish("order/ann-3", &push(2, 0)).await.unwrap();
    assert_eq!(ann.next().await["data"]["n"], 2);
}

#[tokio::test]
async fn a_permission_that_cannot_be_looked_up_is_asked_for_again() {
    let is_away = Arc::new(AtomicBool::new(false));
    let away = is_away.clone();
    let grant = move |user: &str| {
        let away = away.clone();
        Session::new(user, vec![]).allow_async(move |_| {
            let result = match away.load(Relaxed) {
                true => Err(Error::not_executed("the store of permissions is away")),
                false => Ok(true),
            };
            async move { result }
        })
    };
    let server = Server::start_with_grant(|_| {}, grant).await;
    let mut ann = server.client("ann").await;
    is_away.store(true, Relaxed);
    let refused = json!({"type": "error", "code": "unavailable", "detail": "public/a"});
    assert_eq!(ann.subscribe("public/a").await, refused);
    is_away.store(false, Relaxed);
    assert_eq!(ann.subscribe("public/a").await["type"], "subscribed");
}

#[tokio::test]
async fn a_client_narrows_the_filter_of_the_application_and_cannot_widen_it() {
    let grant = |user: &str| Session::new(user, vec![]).topic_with("orders", Filter::default().key(user));
    let server = Server::start_with_grant(|_| {}, grant).await;
    let mut ann = server.client("ann").await;
    let publish = async |key: &str, n: usize| {
        let push = comms_ws::Push { key: Some(key.into()), ..push(n, 0) };
        server.hub.publish("orders", &push).await.unwrap();
    };
    assert_eq!(ann.subscribe("orders").await["type"], "subscribed", "an empty filter");
    ann.send(json!({"type": "unsubscribe", "topic": "orders"})).await;
    assert_eq!(ann.next().await["type"], "unsubscribed");
    let wider = json!({"type": "subscribe", "topic": "orders", "filter": {"keys": ["ann", "bob"]}});
    ann.send(wider).await;
    assert_eq!(ann.next().await["sparse"], true);
    publish("bob", 1).await;
    publish("ann", 2).await;
    assert_eq!(ann.next().await["data"]["n"], 2);
}
