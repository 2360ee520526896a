//! A slow application, and futures that are dropped.

use futures::FutureExt;
use serde_json::json;

use crate::support::{Server, start, text};

#[tokio::test]
async fn a_dropped_future_takes_no_item() {
    let server = Server::start().await;
    let mut client = start(&server, |builder| builder);
    let mut peer = server.accept().await;
    peer.welcome("a:1:0:m", None).await;
    client.items(2).await;
    let sending = tokio::spawn(async move {
        for offset in 1..=200 {
            peer.event("a", offset).await;
            tokio::task::yield_now().await;
        }
        peer
    });
    let mut offsets = Vec::new();
    while offsets.len() < 200 {
        if let Some(Some(item)) = client.events.next().now_or_never() {
            offsets.push(text(&item.unwrap()));
        }
        tokio::task::yield_now().await;
    }
    let expected: Vec<_> = (1..=200).map(|offset| format!("event a {offset}")).collect();
    assert_eq!(offsets, expected);
    drop(sending);
}

/// The events do not fit into the buffers of the sockets: the server can send them all only when the client reads.
#[tokio::test]
async fn a_full_queue_stops_the_reads_from_the_connection() {
    const EVENTS: u64 = 300;
    let server = Server::start().await;
    let mut client = start(&server, |builder| builder.queue_items(5));
    let mut peer = server.accept().await;
    peer.welcome("a:1:0:m", None).await;
    let sending = tokio::spawn(async move {
        for offset in 1..=EVENTS {
            let data = "x".repeat(100_000);
            peer.send(json!({"type": "event", "topic": "a", "offset": offset, "event": "e", "data": data}))
                .await;
        }
        peer
    });
    client.items(2).await;
    // The client sends its subscriptions also while it does not read.
    client.client.subscribe("b").await.unwrap();
    for _ in 0..200 {
        tokio::task::yield_now().await;
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    assert!(!sending.is_finished(), "30 MB were read into a queue of 5 items");
    for offset in 1..=EVENTS {
        let event = client.event().await;
        assert_eq!(event.offset, Some(offset));
        assert_eq!(event.data::<String>().unwrap().len(), 100_000);
    }
    let mut peer = sending.await.unwrap();
    assert_eq!(peer.next().await, json!({"type": "subscribe", "topic": "b"}));
}
