//! Topics with a window: what the client acknowledges, and when.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use comms_core::clock::Clock;
use comms_ws::{Filter, Hub, HubConfig, TopicOptions, backplane::Published, client::Subscription};
use futures::FutureExt;
use serde_json::{Value, json};

use crate::{
    hub::{self, Proxy, all, push, serve},
    support::{Peer, Running, Server, start},
};

const DELAY: Duration = Duration::from_millis(200);

/// Subscribes to the topic `w` with a window at a new connection.
async fn subscribed(peer: &mut Peer, cursor: &str, recovered: Option<bool>) -> Value {
    peer.welcome("", None).await;
    let frame = peer.next().await;
    assert_eq!((&frame["type"], &frame["topic"]), (&json!("subscribe"), &json!("w")));
    let mut answer = json!({"type": "subscribed", "topic": "w", "cursor": cursor, "window": frame["window"]});
    if let Some(recovered) = recovered {
        answer["recovered"] = recovered.into();
    }
    peer.send(answer).await;
    frame
}

impl Running {
    /// Asks for an item that does not come, so that the one before is handled.
    fn has_handled_all(&mut self) {
        assert!(self.events.next().now_or_never().is_none(), "an item");
    }

    /// Moves the clock until `peer` has the next frame. Returns the frame, and by how much the clock has moved.
    async fn wait_for(&self, peer: &mut Peer) -> (Value, Duration) {
        let (mut waited, step) = (Duration::ZERO, Duration::from_millis(20));
        loop {
            tokio::select! {
                frame = peer.next() => return (frame, waited),
                () = tokio::time::sleep(Duration::from_millis(5)) => {}
            }
            self.clock.advance(step);
            waited += step;
        }
    }
}

fn ack(cursor: &str) -> Value {
    json!({"type": "ack", "cursor": cursor})
}

#[tokio::test]
async fn what_was_handled_is_acknowledged_at_half_of_the_window_and_after_a_wait() {
    let server = Server::start().await;
    let mut client = start(&server, |builder| builder.topic(Subscription::new("w").window(4)));
    let mut peer = server.accept().await;
    assert_eq!(peer.query, "");
    let frame = subscribed(&mut peer, "w:1:0:m", None).await;
    assert_eq!(frame, json!({"type": "subscribe", "topic": "w", "window": 4}));
    for offset in 1..=4 {
        peer.event("w", offset).await;
    }
    // The third event is not handled before the application asks for the fourth.
    assert_eq!(client.items(4).await[1..], ["subscribed w", "event w 1", "event w 2"]);
    assert_eq!(client.items(1).await, ["event w 3"]);
    assert_eq!(peer.next().await, ack("w:1:0:m~2"), "without a wait");
    assert_eq!(client.items(1).await, ["event w 4"]);
    let (frame, waited) = client.wait_for(&mut peer).await;
    assert_eq!(frame, ack("w:1:0:m~3"));
    assert!(waited >= DELAY, "{waited:?}");
    peer.send(json!({"type": "missed", "topic": "w", "cursor": "w:2:0:m", "reason": "epoch"})).await;
    assert_eq!(client.items(1).await, ["missed w Epoch"]);
    client.has_handled_all();
    assert_eq!(peer.next().await, ack("w:2:0:m"), "a loss is handled as an event is");
}

#[tokio::test]
async fn what_an_old_session_has_sent_is_not_acknowledged_in_a_new_one() {
    let server = Server::start().await;
    let mut client = start(&server, |builder| builder.topic(Subscription::new("w").window(10)));
    let mut old = server.accept().await;
    subscribed(&mut old, "w:1:0:m", None).await;
    for offset in 1..=7 {
        old.event("w", offset).await;
    }
    assert_eq!(client.items(4).await[1..], ["subscribed w", "event w 1", "event w 2"]);
    // The client has received all of them when it notices the end.
    drop(old);
    let mut new = loop {
        client.clock.advance(Duration::from_secs(1));
        tokio::select! {
            peer = server.accept() => break peer,
            () = tokio::time::sleep(Duration::from_millis(5)) => {}
        }
    };
    let frame = subscribed(&mut new, "w:1:7:m", Some(true)).await;
    assert_eq!(frame["cursor"], "w:1:0:m~7");
    new.event("w", 8).await;
    let items = client.items(8).await;
    assert_eq!(items[..5], ["event w 3", "event w 4", "event w 5", "event w 6", "event w 7"]);
    assert_eq!(items[5..], ["disconnected", "connected", "recovered w"]);
    assert_eq!(client.items(1).await, ["event w 8"]);
    client.has_handled_all();
    assert_eq!(client.wait_for(&mut new).await.0, ack("w:1:7:m~8"));
}

/// Acknowledgements that cannot be sent yet are joined.
#[tokio::test]
async fn acknowledgements_keep_within_the_rate_of_frames() {
    const EVENTS: u64 = 200;
    let server = Server::start().await;
    let mut client = start(&server, |builder| builder.topic(Subscription::new("w").window(1)));
    let mut peer = server.accept().await;
    subscribed(&mut peer, "w:1:0:m", None).await;
    client.items(2).await;
    for offset in 1..=EVENTS {
        peer.event("w", offset).await;
        assert_eq!(client.items(1).await, [format!("event w {offset}")]);
        client.has_handled_all();
        tokio::task::yield_now().await;
    }
    let mut frames = 0;
    loop {
        let (frame, _) = client.wait_for(&mut peer).await;
        frames += 1;
        if frame == ack(&format!("w:1:0:m~{EVENTS}")) {
            break;
        }
    }
    assert!(frames <= 30, "{frames} frames");
}

/// A hub behind a proxy that cuts connections, and an application that is slower than the publisher.
#[tokio::test]
async fn events_that_wait_for_an_acknowledgement_survive_cut_connections() {
    const EVENTS: u64 = 400;
    let options = TopicOptions::default().history(2_000, Duration::from_secs(600));
    // As many frames as the test needs, which moves the clock of the client and not that of the hub.
    let config = HubConfig::default().topic("", options).client_frames_per_second(10_000);
    let reports: Arc<Mutex<HashMap<String, Vec<u64>>>> = Arc::default();
    let report = reports.clone();
    let builder = Hub::builder(config, Clock::system()).acknowledgements(move |acknowledgement| {
        assert_eq!(acknowledgement.principal, "ann");
        let mut reports = report.lock().unwrap();
        reports.entry(acknowledgement.topic.to_owned()).or_default().push(acknowledgement.position.offset);
    });
    let hub = builder.build().unwrap();
    let port = serve(hub.clone()).await;
    let proxy = Proxy::start(port, port).await;
    let even = Filter::default().event("even");
    let mut client = hub::start(&proxy, |builder| {
        let own = Subscription::new("user/ann").window(20);
        builder.topic(own).topic(Subscription::new("orders").filter(even).window(3))
    });
    for _ in 0..3 {
        client.item().await;
    }
    let publishing = tokio::spawn({
        let cut = proxy.cut.clone();
        async move {
            for n in 1..=EVENTS {
                for topic in ["user/ann", "orders"] {
                    let event = if n % 2 == 0 { "even" } else { "odd" };
                    let published = hub.publish(topic, &push(n, event)).await.unwrap();
                    assert!(matches!(published, Published::New(_)));
                }
                if n % 97 == 0 {
                    cut.notify_waiters();
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    });
    // The wait of the acknowledgements, and of the frames that the client has too many of.
    let clock = client.clock.clone();
    let passing = tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_millis(2)).await;
            clock.advance(Duration::from_millis(100));
        }
    });
    let (mut items, mut cuts) = (Vec::new(), Vec::new());
    for last in [format!("event user/ann {EVENTS}"), format!("event orders {EVENTS}")] {
        if !items.contains(&last) {
            let (more, lost) = client.read_with_cuts(&last).await;
            items.extend(more);
            cuts.extend(lost);
        }
    }
    let of = |topic: &str| -> Vec<_> { items.iter().filter(|item| item.contains(topic)).cloned().collect() };
    assert_eq!(of("user/ann"), all("user/ann", 1..=EVENTS));
    assert_eq!(of("orders"), all("orders", (2..=EVENTS).step_by(2)));
    assert!(cuts.len() >= 3, "{cuts:?}");
    publishing.await.unwrap();
    client.has_handled_all();
    let last =
        || reports.lock().unwrap().values().map(|offsets| *offsets.last().unwrap()).collect::<Vec<_>>();
    while last() != [EVENTS, EVENTS] {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    passing.abort();
    for (topic, offsets) in reports.lock().unwrap().iter() {
        assert!(offsets.is_sorted_by(|a, b| a < b), "{topic}: {offsets:?}");
    }
}
