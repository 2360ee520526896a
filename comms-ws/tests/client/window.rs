//! Topics with a window: what the client acknowledges, and when.

use std::time::Duration;

use comms_ws::client::Subscription;
use futures::FutureExt;
use serde_json::{Value, json};

use crate::support::{Peer, Running, Server, start};

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
