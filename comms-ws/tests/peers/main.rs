//! Independent clients: the npm packages ws and eventsource, and the Python package websockets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panic")]
#![allow(clippy::disallowed_methods, reason = "the tests run in real time")]

mod client;
#[allow(dead_code, reason = "the tests of other crates use the rest")]
#[path = "../../../comms-core/tests/peer/program.rs"]
mod program;
#[path = "../support/mod.rs"]
mod support;

use comms_core::Error;
use comms_ws::{Session, close};
use serde_json::{Value, json};

use client::{Client, Kind};
use support::{Server, builder, config, publish};

const TOPIC: &str = "user/ann";

async fn server() -> Server {
    let hub = builder(config().compression(true).ping_interval(std::time::Duration::from_millis(500)))
        .authenticate(async |token: String| match token.as_str() {
            "ann" => Ok(Session::new("ann", vec![TOPIC.into()])),
            _ => Err(Error::invalid("unknown token")),
        })
        .build()
        .unwrap();
    Server::start(hub).await
}

/// What a client of WebSocket does, whatever its library.
async fn exchange(kind: Kind) {
    let server = server().await;
    let url = format!("ws://{}/v1/events", server.address);
    let mut client = Client::start(kind, &[&url, "comms.v1", "bearer.ann"]);
    assert_eq!(client.next().await, json!({"open": "comms.v1"}));
    let welcome = client.frame().await;
    let cursor = welcome["topics"][0]["cursor"].as_str().unwrap().to_owned();

    publish(&server.hub, TOPIC, 1..=3).await;
    for n in 1..=3 {
        assert_eq!(client.frame().await["data"]["n"], n);
    }
    client.command(json!({"send": {"type": "ping"}}));
    assert_eq!(client.frame().await, json!({"type": "pong"}));
    client.command(json!({"ping": "payload"}));
    assert_eq!(client.next_of("pong").await, "payload", "a ping of the client is answered with its payload");
    if matches!(kind, Kind::NpmWs) {
        // The Python package has no callback for the pings of the server.
        client.next_of("pinged").await;
    }
    client.command(json!({"send": {"type": "subscribe", "topic": "public/ключ"}}));
    assert_eq!(client.frame().await["topic"], "public/ключ");

    // The client closes, and gets an answer.
    client.command(json!({"close": 1000}));
    assert_eq!(client.next_of("closed").await, 1000);
    server.until_empty().await;

    // Another client resumes, and the server closes it.
    publish(&server.hub, TOPIC, [4]).await;
    let query = form_urlencoded::Serializer::new(String::new()).append_pair("cursor", &cursor).finish();
    let mut client = Client::start(kind, &[&format!("{url}?{query}"), "comms.v1", "bearer.ann"]);
    client.next().await;
    assert_eq!(client.frame().await["topics"][0]["recovered"], true);
    for n in 1..=4 {
        assert_eq!(client.frame().await["data"]["n"], n);
    }
    assert_eq!(server.hub.disconnect("ann").await.unwrap(), 1);
    assert_eq!(client.next_of("closed").await, close::FORBIDDEN);
    server.until_empty().await;

    // Two more ends: a message that is too big, and a token that is refused.
    let mut client = Client::start(kind, &[&url, "comms.v1", "bearer.ann"]);
    client.next().await;
    client.frame().await;
    client.command(json!({"send": {"type": "x".repeat(5_000)}}));
    assert_eq!(client.next_of("closed").await, close::TOO_BIG);
    let mut client = Client::start(kind, &[&url, "comms.v1"]);
    client.next().await;
    client.command(json!({"send": {"type": "authenticate", "token": "mallory"}}));
    assert_eq!(client.next_of("closed").await, close::TOKEN_EXPIRED);
    server.until_empty().await;
}

#[tokio::test]
async fn npm_ws_exchanges_frames_and_resumes() {
    exchange(Kind::NpmWs).await;
}

#[tokio::test]
async fn websockets_exchanges_frames_and_resumes() {
    exchange(Kind::Websockets).await;
}

/// The library connects again by itself, and sends the id of the last event.
#[tokio::test]
async fn npm_eventsource_resumes_by_its_last_event_id() {
    let server = server().await;
    let url = format!("http://{}/v1/events?topic=public/a", server.address);
    let mut client = Client::start(Kind::NpmEventSource, &[&url, "ann"]);
    let welcome = client.frame().await;
    assert_eq!(welcome["topics"].as_array().unwrap().len(), 2);
    publish(&server.hub, TOPIC, 1..=2).await;
    publish(&server.hub, "public/a", [1]).await;
    for (topic, n) in [(TOPIC, 1), (TOPIC, 2), ("public/a", 1)] {
        let event = client.frame().await;
        assert_eq!((&event["topic"], &event["data"]["n"]), (&json!(topic), &json!(n)));
    }
    assert_eq!(server.hub.disconnect("ann").await.unwrap(), 1);
    let end = client.frame().await;
    assert_eq!((&end["type"], &end["code"]), (&json!("close"), &json!(close::FORBIDDEN)));
    server.until_empty().await;
    publish(&server.hub, TOPIC, 3..=4).await;
    publish(&server.hub, "public/a", 2..=3).await;
    let welcome = client.frame().await;
    for topic in welcome["topics"].as_array().unwrap() {
        assert_eq!(topic["recovered"], Value::Bool(true), "{welcome}");
    }
    let mut events = Vec::new();
    for _ in 0..4 {
        let event = client.frame().await;
        events.push((event["topic"].as_str().unwrap().to_owned(), event["data"]["n"].as_u64().unwrap()));
    }
    events.sort();
    let expected = [("public/a", 2), ("public/a", 3), (TOPIC, 3), (TOPIC, 4)];
    assert_eq!(events, expected.map(|(topic, n)| (topic.to_owned(), n)));
    drop(client);
    server.until_empty().await;
}
