//! An open connection: the refresh of the token, silence, and the pace of frames.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use comms_ws::{Filter, client::Subscription};
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use crate::support::{Server, start};

#[tokio::test]
async fn the_token_is_refreshed_before_the_session_expires() {
    let server = Server::start().await;
    let calls = Arc::new(AtomicU32::new(0));
    let mut client = start(&server, |builder| {
        builder.token(move || {
            let n = calls.fetch_add(1, Ordering::Relaxed);
            async move { Ok(format!("token-{n}")) }
        })
    });
    let mut peer = server.accept().await;
    // 600 s, 60 s before the end; then 80 s and the last quarter of it.
    let expires = client.clock.unix().as_secs() + 600;
    peer.send(
        json!({"type": "welcome", "session": "s", "topics": [], "ping_seconds": 3600, "expires": expires}),
    )
    .await;
    client.items(1).await;
    client.clock.advance(Duration::from_secs(540));
    assert_eq!(peer.next().await, json!({"type": "refresh", "token": "token-1"}));
    // Refused: again in the last quarter of what is left.
    peer.send(json!({"type": "error", "code": "unauthorized", "detail": "not yet"})).await;
    advance_until(&client.clock, &mut peer, json!({"type": "refresh", "token": "token-2"})).await;
    let now = client.clock.unix().as_secs();
    assert!((expires - 15..expires).contains(&now), "{}", expires - now);
    peer.send(json!({"type": "refreshed", "expires": now + 600})).await;
    advance_until(&client.clock, &mut peer, json!({"type": "refresh", "token": "token-3"})).await;
    assert!(client.clock.unix().as_secs() >= now + 540);
}

#[tokio::test]
async fn the_relative_end_of_a_session_counts() {
    let server = Server::start().await;
    let mut client = start(&server, |builder| builder);
    let mut peer = server.accept().await;
    // Absolute, the session would have ended long ago.
    peer.send(
        json!({"type": "welcome", "session": "s", "ping_seconds": 3600, "expires": 1, "expires_in": 600}),
    )
    .await;
    client.items(1).await;
    for _ in 0..2 {
        client.clock.advance(Duration::from_secs(540));
        assert_eq!(peer.next().await, json!({"type": "refresh", "token": "t"}));
        peer.send(json!({"type": "refreshed", "expires": 1, "expires_in": 600})).await;
        peer.send(json!({"type": "unsubscribed", "topic": "a"})).await;
        client.items(1).await;
    }
}

/// Moves the clock in steps until the client sends `frame`.
async fn advance_until(
    clock: &comms_core::clock::Clock,
    peer: &mut crate::support::Peer,
    frame: serde_json::Value,
) {
    loop {
        tokio::select! {
            received = peer.next() => return assert_eq!(received, frame),
            () = tokio::time::sleep(Duration::from_millis(2)) => clock.advance(Duration::from_secs(1)),
        }
    }
}

#[tokio::test]
async fn a_silent_server_is_pinged_and_then_given_up() {
    let server = Server::start().await;
    let mut client = start(&server, |builder| builder);
    let mut peer = server.accept().await;
    peer.welcome("a:1:0:m", None).await;
    client.items(2).await;
    client.clock.advance(Duration::from_secs(10));
    // The scripted server answers when it reads the next message, so this answer is not sent.
    assert!(matches!(peer.message().await, Message::Ping(_)));
    client.clock.advance(Duration::from_secs(10));
    let (_, reason) = client.disconnected().await;
    assert!(reason.to_string().contains("two ping intervals"), "{reason}");
    assert_eq!(server.accept().await.query, "cursor=a:1:0:m");
}

/// A process that was suspended, for example, reads late.
#[tokio::test]
async fn a_late_timer_does_not_end_a_connection_that_was_not_pinged() {
    let server = Server::start().await;
    let mut client = start(&server, |builder| builder);
    let mut peer = server.accept().await;
    peer.welcome("a:1:0:m", None).await;
    client.items(2).await;
    client.clock.advance(Duration::from_secs(60));
    assert!(matches!(peer.message().await, Message::Ping(_)));
    peer.event("a", 1).await;
    assert_eq!(client.event().await.offset, Some(1));
}

#[tokio::test]
async fn an_overdue_timer_does_not_beat_an_event_that_has_arrived() {
    let server = Server::start().await;
    let mut client = start(&server, |builder| builder.queue_items(1));
    let mut peer = server.accept().await;
    peer.welcome("a:1:0:m", None).await;
    assert_eq!(client.items(1).await, ["connected"]);
    // The queue is full: the client does not read this event before the next item is taken.
    peer.event("a", 1).await;
    peer.event("a", 2).await;
    assert_eq!(client.items(1).await, ["subscribed a"]);
    client.clock.advance(Duration::from_secs(60));
    assert_eq!(client.items(2).await, ["event a 1", "event a 2"]);
}

#[tokio::test]
async fn a_server_that_answers_pings_is_kept() {
    let server = Server::start().await;
    let mut client = start(&server, |builder| builder);
    let mut peer = server.accept().await;
    peer.welcome("a:1:0:m", None).await;
    client.items(2).await;
    for offset in 1..=5 {
        client.clock.advance(Duration::from_secs(10));
        assert!(matches!(peer.message().await, Message::Ping(_)));
        peer.event("a", offset).await;
        assert_eq!(client.event().await.offset, Some(offset));
    }
}

#[tokio::test]
async fn many_subscriptions_are_sent_at_a_pace_that_the_server_accepts() {
    let server = Server::start().await;
    let mut client = start(&server, |builder| {
        let topics =
            (0..60).map(|n| Subscription::new(format!("topic/{n:02}")).filter(Filter::default().event("e")));
        topics.fold(builder, |builder, topic| builder.topic(topic))
    });
    let mut peer = server.accept().await;
    peer.welcome("", None).await;
    client.items(1).await;
    for n in 0..25 {
        assert_eq!(peer.next().await["topic"], format!("topic/{n:02}"));
    }
    for n in 25..60 {
        let topic =
            json!({"type": "subscribe", "topic": format!("topic/{n:02}"), "filter": {"events": ["e"]}});
        let began = client.clock.now();
        loop {
            tokio::select! {
                frame = peer.next() => break assert_eq!(frame, topic),
                () = tokio::time::sleep(Duration::from_millis(1)) => client.clock.advance(Duration::from_millis(20)),
            }
        }
        assert!(client.clock.now() > began, "frame {n} was sent at once");
    }
}
