//! Filters of the application that change with the token of a session.

use comms_core::{Error, clock::Clock};
use comms_ws::{Filter, Hub, HubConfig, Push, Session};
use serde_json::{Value, json};

use crate::support::{Client, Server, push};

/// Returns the rights of ann with a token: all orders, or those with her key.
fn rights(token: &str) -> Session {
    let filter = if token == "narrow" { Filter::default().key("ann") } else { Filter::default() };
    Session::new("ann", vec![]).topic_with("orders", filter)
}

/// Starts a server with the rights of each token.
async fn start() -> Server {
    let hub = Hub::builder(HubConfig::default(), Clock::system())
        .authenticate(async |token: String| Ok::<_, Error>(rights(&token)))
        .build()
        .unwrap();
    Server::serve(hub, rights).await
}

impl Client {
    /// Refreshes the token, and returns the confirmation of the new filter.
    async fn refresh(&mut self, token: &str) -> Value {
        self.send(json!({"type": "refresh", "token": token})).await;
        let mut frames = [self.next().await, self.next().await];
        frames.sort_by_key(|frame| frame["type"].to_string());
        let [refreshed, subscribed] = frames;
        assert_eq!((&refreshed["type"], &subscribed["type"]), (&"refreshed".into(), &"subscribed".into()));
        subscribed
    }
}

/// Publishes orders with the numbers from `first` on, of these keys.
async fn publish(server: &Server, first: usize, keys: &[&str]) {
    for (n, key) in keys.iter().enumerate() {
        let push = Push { key: Some((*key).into()), ..push(first + n, 0) };
        server.hub.publish("orders", &push).await.unwrap();
    }
}

#[tokio::test]
async fn a_token_with_a_narrower_filter_takes_effect_at_the_refresh() {
    let server = start().await;
    let mut ann = server.client("wide").await;
    publish(&server, 1, &["bob"]).await;
    assert_eq!(ann.next().await["data"]["n"], 1);
    assert_eq!(ann.refresh("narrow").await["sparse"], true);
    publish(&server, 2, &["bob", "ann"]).await;
    assert_eq!(ann.next().await["data"]["n"], 3);
    assert_eq!(ann.refresh("wide").await["sparse"], Value::Null);
    publish(&server, 4, &["bob"]).await;
    assert_eq!(ann.next().await["data"]["n"], 4);
}

#[tokio::test]
async fn the_filter_of_the_client_stays_at_a_refresh() {
    let server = start().await;
    let mut ann = server.client("wide").await;
    ann.send(json!({"type": "subscribe", "topic": "orders", "filter": {"keys": ["ann", "bob"]}})).await;
    assert_eq!(ann.next().await["type"], "subscribed");
    ann.refresh("narrow").await;
    publish(&server, 1, &["eve", "bob", "ann"]).await;
    assert_eq!(ann.next().await["data"]["n"], 3);
    ann.refresh("wide").await;
    publish(&server, 4, &["eve", "bob"]).await;
    assert_eq!(ann.next().await["data"]["n"], 5);
}

#[tokio::test]
async fn a_token_with_the_same_filter_confirms_nothing() {
    let server = start().await;
    let mut ann = server.client("narrow").await;
    ann.send(json!({"type": "refresh", "token": "narrow"})).await;
    assert_eq!(ann.next().await["type"], "refreshed");
    assert!(ann.receives_nothing().await);
}

#[tokio::test]
async fn a_narrower_filter_takes_effect_while_a_window_has_room() {
    let server = start().await;
    let mut ann = server.client("wide").await;
    ann.send(json!({"type": "subscribe", "topic": "orders", "window": 5})).await;
    assert_eq!(ann.next().await["type"], "subscribed");
    publish(&server, 1, &["bob"]).await;
    assert_eq!(ann.next().await["data"]["n"], 1);
    ann.refresh("narrow").await;
    publish(&server, 2, &["bob", "ann"]).await;
    assert_eq!(ann.next().await["data"]["n"], 3);
}

/// What waits in the history for an acknowledgement passes the new filter.
#[tokio::test]
async fn a_narrower_filter_takes_effect_in_a_topic_with_a_window() {
    let server = start().await;
    let mut ann = server.client("wide").await;
    ann.send(json!({"type": "subscribe", "topic": "orders", "window": 1})).await;
    let cursor = ann.next().await["cursor"].as_str().unwrap().to_owned();
    publish(&server, 1, &["bob", "bob", "ann"]).await;
    assert_eq!(ann.next().await["data"]["n"], 1);
    assert!(ann.receives_nothing().await, "the window is full");
    let subscribed = ann.refresh("narrow").await;
    assert_eq!((&subscribed["recovered"], &subscribed["window"]), (&true.into(), &1.into()), "{subscribed}");
    assert_eq!(subscribed["sparse"], true);
    ann.send(json!({"type": "ack", "cursor": format!("{cursor}~1")})).await;
    assert_eq!(ann.next().await["data"]["n"], 3);
    ann.send(json!({"type": "ack", "cursor": format!("{cursor}~3")})).await;
    publish(&server, 4, &["bob", "ann"]).await;
    assert_eq!(ann.next().await["data"]["n"], 5);
}
