//! Subscriptions that are replaced or refused, and their limits.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering::Relaxed},
    },
    time::Duration,
};

use comms_core::{Error, clock::Clock};
use comms_ws::{HubConfig, Session, close};
use futures::SinkExt;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio_tungstenite::tungstenite::Message;

use crate::support::{Client, Server, push};

const ALLOWED: u8 = 0;
const FORBIDDEN: u8 = 1;
const AWAY: u8 = 2;

/// Returns what an application grants that looks permissions up in a store with this state.
fn looked_up(state: &Arc<AtomicU8>) -> impl Fn(&str) -> Session + Send + Sync + 'static {
    let state = state.clone();
    move |user| {
        let state = state.clone();
        Session::new(user, vec![]).allow_async(move |_| {
            let state = state.load(Relaxed);
            async move {
                if state == AWAY {
                    Err(Error::not_executed("the store is away"))
                } else {
                    Ok(state == ALLOWED)
                }
            }
        })
    }
}

/// Publishes to `topic`, and expects that the client gets the event.
async fn expect_event(server: &Server, client: &mut Client, topic: &str, n: usize) {
    server.hub.publish(topic, &push(n, 0)).await.unwrap();
    let event = client.next().await;
    assert_eq!((&event["type"], &event["data"]["n"]), (&"event".into(), &n.into()), "{event}");
}

fn long_filter() -> Value {
    json!({"events": (0..101).map(|n| n.to_string()).collect::<Vec<_>>()})
}

/// What arrives while a permission is looked up is read at once, although its client has kept the rate. Nothing of the time
/// is left for a flood that comes later.
#[tokio::test]
async fn frames_that_wait_for_a_look_up_do_not_exceed_the_rate() {
    let clock = Clock::manual(Duration::from_secs(1_000));
    let begun = Arc::new(Notify::new());
    let notify = begun.clone();
    let grant = move |user: &str| {
        let notify = notify.clone();
        Session::new(user, vec![]).allow_async(move |_| {
            notify.notify_one();
            std::future::pending()
        })
    };
    let server = Server::start_with(HubConfig::default(), clock.clone(), grant).await;
    let mut client = server.client("ann").await;
    for topic in ["public/a", "public/b"] {
        client.send(json!({"type": "subscribe", "topic": topic})).await;
    }
    begun.notified().await;
    let ping = json!({"type": "ping"});
    for _ in 0..70 {
        client.send(ping.clone()).await;
    }
    for topic in ["public/a", "public/b"] {
        // The limit of a look-up.
        clock.advance(Duration::from_secs(5));
        let unavailable = json!({"type": "error", "code": "unavailable", "detail": topic});
        assert_eq!(client.next().await, unavailable);
        if topic == "public/a" {
            begun.notified().await;
        }
    }
    for _ in 0..70 {
        assert_eq!(client.next().await, json!({"type": "pong"}));
    }
    clock.advance(Duration::from_secs(6));
    for _ in 0..70 {
        client.socket.feed(Message::text(ping.to_string())).await.unwrap();
    }
    client.socket.flush().await.unwrap();
    let (pongs, code) = client.read_to_end().await;
    assert_eq!(code, Some(close::POLICY));
    assert!(pongs.len() <= 50, "{}", pongs.len());
}

#[tokio::test]
async fn a_refused_change_leaves_the_subscription_as_it_is() {
    let state = Arc::new(AtomicU8::new(ALLOWED));
    let server = Server::start_with_grant(|_| {}, looked_up(&state)).await;
    let mut client = server.client("ann").await;
    let (live, window) = ("public/live", "public/window");
    assert_eq!(client.subscribe(live).await["type"], "subscribed");
    client.send(json!({"type": "subscribe", "topic": window, "window": 10})).await;
    assert_eq!(client.next().await["type"], "subscribed");
    for topic in [live, window] {
        let mut refused = async |frame: Value, code: &str| {
            client.send(frame).await;
            assert_eq!(client.next().await, json!({"type": "error", "code": code, "detail": topic}));
        };
        refused(json!({"type": "subscribe", "topic": topic, "filter": long_filter()}), "malformed").await;
        refused(json!({"type": "subscribe", "topic": topic, "window": 0}), "malformed").await;
        state.store(AWAY, Relaxed);
        refused(json!({"type": "subscribe", "topic": topic, "window": 5}), "unavailable").await;
        state.store(ALLOWED, Relaxed);
        expect_event(&server, &mut client, topic, 1).await;
    }
}

#[tokio::test]
async fn a_change_of_a_topic_that_is_forbidden_by_now_ends_the_subscription() {
    let state = Arc::new(AtomicU8::new(ALLOWED));
    let server = Server::start_with_grant(|_| {}, looked_up(&state)).await;
    let mut client = server.client("ann").await;
    assert_eq!(client.subscribe("public/a").await["type"], "subscribed");
    state.store(FORBIDDEN, Relaxed);
    client.send(json!({"type": "subscribe", "topic": "public/a", "window": 5})).await;
    let ended = json!({"type": "unsubscribed", "topic": "public/a", "reason": "forbidden"});
    assert_eq!(client.next().await, ended);
    server.hub.publish("public/a", &push(1, 0)).await.unwrap();
    assert!(client.receives_nothing().await);
}

#[tokio::test]
async fn granted_topics_beyond_the_limits_can_have_a_window() {
    let long = format!("long/{}", "x".repeat(300));
    let topics: Vec<String> = (0..5).map(|n| format!("topic/{n}")).chain([long.clone()]).collect();
    let grant = move |user: &str| Session::new(user, topics.clone()).allow(|_| true);
    let server = Server::start_with_grant(|config| config.max_topics = 3, grant).await;
    let mut client = server.client("ann").await;
    for topic in ["topic/1", &long] {
        client.send(json!({"type": "subscribe", "topic": topic, "window": 5})).await;
        let answer = client.next().await;
        assert_eq!((&answer["type"], &answer["window"]), (&"subscribed".into(), &5.into()), "{answer}");
        client.send(json!({"type": "unsubscribe", "topic": topic})).await;
        assert_eq!(client.next().await["type"], "unsubscribed");
        assert_eq!(client.subscribe(topic).await["type"], "subscribed", "a granted topic is free to leave");
        expect_event(&server, &mut client, topic, 1).await;
    }
    assert_eq!(client.subscribe("other").await["code"], "too_many_topics");
}

/// At the limit, a subscription can be replaced.
#[tokio::test]
async fn a_subscription_is_replaced_at_the_limit_of_topics() {
    let server = Server::start(|config| config.max_topics = 3).await;
    let mut client = server.client("ann").await;
    for topic in ["public/a", "public/b"] {
        assert_eq!(client.subscribe(topic).await["type"], "subscribed");
    }
    client.send(json!({"type": "subscribe", "topic": "public/b", "window": 5})).await;
    assert_eq!(client.next().await["type"], "subscribed");
    assert_eq!(client.subscribe("public/c").await["code"], "too_many_topics");
    expect_event(&server, &mut client, "public/b", 1).await;
}

#[tokio::test]
async fn a_client_that_names_thousands_of_topics_gets_a_bounded_number_of_errors() {
    let server = Server::start(|config| config.max_topics = 3).await;
    let names: Vec<String> = (0..5_000).map(|n| format!("topic=p{n}")).collect();
    let path = format!("v1/events?{}", names.join("&"));
    let mut client = server.handshake_at(&path, &[("authorization", "Bearer ann")]).await.unwrap();
    assert_eq!(client.next().await["type"], "welcome");
    let mut codes = Vec::new();
    client.send(json!({"type": "ping"})).await;
    loop {
        let frame = client.next().await;
        match frame["code"].as_str() {
            Some(code) => codes.push(code.to_owned()),
            None => break assert_eq!(frame["type"], "pong"),
        }
    }
    // Three topics are looked up, and two of them are refused: one is granted.
    assert_eq!(codes.iter().filter(|code| *code == "forbidden").count(), 2);
    assert_eq!(codes.iter().filter(|code| *code == "too_many_topics").count(), 500);
    assert_eq!(codes.len(), 502);
}
