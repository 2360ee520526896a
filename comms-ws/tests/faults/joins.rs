//! What joins hold while they wait, and what they send after the loss of a history.

use std::time::Duration;

use comms_core::clock::Clock;
use comms_ws::{Hub, Session, TopicOptions};
use serde_json::{Value, json};
use tokio::{runtime::Handle, time::sleep};

use crate::{
    backplane::{Access, Faults, Faulty},
    outages::with_position,
    support::{
        Client, Ledger, Open, Server, Transport, builder, config, key, large_push, publish, server::Io,
    },
};

const TOPIC: &str = "public/a";

/// Waits until `test` returns true.
async fn until(what: &str, test: impl Fn() -> bool) {
    for _ in 0..1_000 {
        if test() {
            return;
        }
        sleep(Duration::from_millis(5)).await;
    }
    panic!("not within 5 s: {what}");
}

/// A client that subscribes and leaves again and again in an outage. The clock stands still, so no access is given up.
#[tokio::test]
async fn a_topic_that_is_left_in_an_outage_leaves_no_task() {
    let hangs = Access::Hangs;
    for faults in
        [Faults { subscribe: hangs, ..Faults::default() }, Faults { history: hangs, ..Faults::default() }]
    {
        let (clock, backplane) = (Clock::manual(Duration::from_secs(1_000)), Faulty::new(0));
        let hub = Hub::builder(config(), clock).cursor_keys([key(1)]).backplane(backplane.clone());
        let server = Server::start(hub.build().unwrap()).await;
        let (mut client, cursor) = with_position(&server).await;
        let mut other = Client::open(server.address, Transport::WebSocket, &Open::of("ann")).await;
        other.next().await.unwrap();
        backplane.set(faults);
        let subscribe = json!({"type": "subscribe", "topic": TOPIC, "cursor": cursor});
        // Keeps the topic in use, so that all joins wait for the same feed.
        other.send(subscribe.clone()).await;
        server.until("the other client has entered", |stats| stats.topics == 2).await;
        let tasks = Handle::current().metrics().num_alive_tasks();
        // More than there are permits for readings.
        for _ in 0..100 {
            client.send(subscribe.clone()).await;
            client.send(json!({"type": "unsubscribe", "topic": TOPIC})).await;
            assert_eq!(client.next().await.unwrap()["type"], "unsubscribed");
        }
        until("the tasks have ended", || Handle::current().metrics().num_alive_tasks() <= tasks + 2).await;
    }
}

/// A client that resumes many topics and does not read: the messages wait in the history, and not in its session.
#[tokio::test]
async fn a_slow_client_that_resumes_many_topics_holds_one_page() {
    const TOPICS: usize = 100;
    const LARGE: usize = 100_000;
    /// Two of these messages.
    const PAGE: usize = 256 * 1024;
    let names = || (0..TOPICS).map(|n| format!("topic/{n}"));
    for is_granted in [true, false] {
        let backplane = Faulty::new(0);
        let hub = builder(config()).backplane(backplane.clone()).build().unwrap();
        let server = Server::start_with(hub, Io::Bare, move |user| {
            let granted = if is_granted { names().collect() } else { Vec::new() };
            Some(Session::new(user, granted).allow(|_| true))
        })
        .await;
        let mut ledger = Ledger::default();
        let first = names().fold(Open::of("ann"), |open, topic| open.topic(topic));
        let mut client = Client::open(server.address, Transport::WebSocket, &first).await;
        client.checked(&mut ledger).await.unwrap();
        drop(client);
        for topic in names() {
            for n in 1..=3 {
                server.hub.publish(&topic, &large_push(n, LARGE)).await.unwrap();
            }
        }
        let mut open = Open::of("ann");
        if is_granted {
            open = open.cursor(ledger.cursor());
        }
        let mut client = Client::open(server.address, Transport::WebSocket, &open).await;
        if !is_granted {
            assert_eq!(client.next().await.unwrap()["type"], "welcome");
            for token in ledger.tokens() {
                let topic = token.split(':').next();
                client.send(json!({"type": "subscribe", "topic": topic, "cursor": token})).await;
            }
        }
        server.until("all have entered", |stats| stats.topics == TOPICS).await;
        server.until("the queue is full", |stats| stats.queued_bytes > 512 * 1024).await;
        // Further pages would be read now.
        sleep(Duration::from_millis(200)).await;
        let (now, most) = backplane.held();
        // A page that waits, and a reading whose messages are not kept.
        let is_bounded = now <= PAGE && most > 0 && most <= 2 * PAGE;
        assert!(is_bounded, "granted {is_granted}: {now} B, at most {most} B");
        // What is published to topics whose turn has not come waits in the history as well. A queued message holds its text
        // and its frame.
        for topic in names().skip(TOPICS - 20) {
            server.hub.publish(&topic, &large_push(4, LARGE)).await.unwrap();
        }
        server
            .until("what waits is bounded", |stats| stats.held_bytes <= 2 * stats.queued_bytes + 2 * LARGE)
            .await;
        for topic in names() {
            let last = if names().skip(TOPICS - 20).any(|late| late == topic) { 4 } else { 3 };
            client.until(&mut ledger, &topic, last).await;
            assert_eq!(ledger.gaps(&topic), [], "{topic}");
        }
    }
}

/// The history of one topic cannot be read. The other topics of the session do not wait for it.
#[tokio::test]
async fn a_topic_that_cannot_be_read_does_not_hold_the_others_up() {
    let backplane = Faulty::new(0);
    let hub = builder(config()).backplane(backplane.clone()).build().unwrap();
    let server = Server::start(hub).await;
    let mut ledger = Ledger::default();
    let open = Open::of("ann").topic(TOPIC);
    let mut client = Client::open(server.address, Transport::WebSocket, &open).await;
    client.checked(&mut ledger).await.unwrap();
    drop(client);
    publish(&server.hub, TOPIC, 1..=3).await;
    for n in 1..=3 {
        server.hub.publish("user/ann", &large_push(n, 200_000)).await.unwrap();
    }
    backplane.break_history(Some(TOPIC));
    let open = Open::of("ann").cursor(ledger.cursor());
    let mut client = Client::open(server.address, Transport::WebSocket, &open).await;
    client.until(&mut ledger, "user/ann", 3).await;
    backplane.break_history(None);
    client.until(&mut ledger, TOPIC, 3).await;
    assert_eq!((ledger.gaps("user/ann"), ledger.gaps(TOPIC)), (&[][..], &[][..]));
}

/// The history is lost while a session waits for its client. The session gets what is kept of the new epoch.
#[tokio::test]
async fn a_session_that_waits_gets_the_messages_of_a_new_epoch() {
    for (kept, is_whole) in [(100, true), (3, false)] {
        let backplane = Faulty::new(0);
        let options = TopicOptions::default().history(kept, Duration::from_secs(600));
        let hub = builder(config().topic("public/", options)).backplane(backplane.clone()).build().unwrap();
        let allow = |user: &str| Some(Session::new(user, Vec::new()).allow(|_| true));
        let server = Server::start_with(hub, Io::Bare, allow).await;
        let mut client = Client::open(server.address, Transport::WebSocket, &Open::of("ann")).await;
        client.next().await.unwrap();
        client.send(json!({"type": "subscribe", "topic": TOPIC, "window": 2})).await;
        let mut token = client.next().await.unwrap()["cursor"].clone();
        publish(&server.hub, TOPIC, 1..=3).await;
        for n in 1..=2 {
            assert_eq!(client.next().await.unwrap()["data"]["n"], n);
        }
        backplane.change_epoch();
        publish(&server.hub, TOPIC, 101..=105).await;
        backplane.recover();
        let ack = |token: &Value, offset: u64| json!({"type": "ack", "cursor": format!("{}~{offset}", token.as_str().unwrap())});
        client.send(ack(&token, 2)).await;
        let missed = client.next().await.unwrap();
        assert_eq!((&missed["type"], &missed["reason"]), (&json!("missed"), &json!("epoch")), "{missed}");
        token = missed["cursor"].clone();
        if is_whole {
            for n in 101..=105 {
                let frame = client.next().await.unwrap();
                assert_eq!(frame["data"]["n"], n, "{frame}");
                client.send(ack(&token, n - 100)).await;
            }
        } else {
            let missed = client.next().await.unwrap();
            assert_eq!(missed["reason"], "history", "{missed}");
        }
        publish(&server.hub, TOPIC, [106]).await;
        assert_eq!(client.next().await.unwrap()["data"]["n"], 106);
    }
}
