//! Topics at run time, and the content of events.

use std::time::Duration;

use comms_core::{
    ErrorKind,
    resilience::{Backoff, Jitter},
};
use comms_ws::{Filter, client::Subscription};
use serde_json::json;

use crate::support::{Server, start};

#[tokio::test]
async fn topics_of_the_builder_and_of_run_time_are_subscribed_again() {
    let server = Server::start().await;
    let mut client = start(&server, |builder| {
        builder
            .topic("news")
            .topic(Subscription::new("orders").filter(Filter::default().event("paid").key("order/7")))
    });
    let mut peer = server.accept().await;
    assert_eq!(peer.query, "topic=news");
    peer.welcome("news:1:0:m", None).await;
    let filter = json!({"events": ["paid"], "keys": ["order/7"]});
    assert_eq!(peer.next().await, json!({"type": "subscribe", "topic": "orders", "filter": filter}));
    peer.send(json!({"type": "subscribed", "topic": "orders", "cursor": "orders:1:4:m"})).await;
    client.client.subscribe("prices").await.unwrap();
    assert_eq!(peer.next().await, json!({"type": "subscribe", "topic": "prices"}));
    peer.send(json!({"type": "subscribed", "topic": "prices", "cursor": "prices:1:0:m"})).await;
    client.client.subscribe("secret").await.unwrap();
    assert_eq!(peer.next().await["topic"], "secret");
    peer.send(json!({"type": "error", "code": "forbidden", "detail": "secret"})).await;
    let items = client.items(5).await;
    let expected = [
        "connected",
        "subscribed news",
        "subscribed orders",
        "subscribed prices",
        "refused forbidden secret",
    ];
    assert_eq!(items, expected);
    client.client.unsubscribe("news").await.unwrap();
    assert_eq!(peer.next().await, json!({"type": "unsubscribe", "topic": "news"}));
    peer.send(json!({"type": "unsubscribed", "topic": "news"})).await;
    assert_eq!(client.items(1).await, ["unsubscribed news"]);
    drop(peer);
    client.disconnected().await;
    let mut peer = server.accept().await;
    assert_eq!(peer.query, "topic=prices&cursor=prices:1:0:m");
    peer.welcome("prices:1:0:m", Some(true)).await;
    let subscribe =
        json!({"type": "subscribe", "topic": "orders", "cursor": "orders:1:4:m", "filter": filter});
    assert_eq!(peer.next().await, subscribe);
}

#[tokio::test]
async fn the_content_of_an_event_is_parsed_on_demand() {
    #[derive(Debug, PartialEq, serde::Deserialize)]
    struct Order {
        status: String,
    }
    let server = Server::start().await;
    let mut client = start(&server, |builder| builder);
    let mut peer = server.accept().await;
    peer.welcome("a:1:0:m", None).await;
    peer.send(json!({"type": "event", "topic": "a", "offset": 1, "id": "svc/1", "event": "order.v1", "later": true,
        "time": "2026-11-21T07:00:00.123Z", "key": "order/7", "traceparent": "00-1-2-01", "data": {"status": "PAID"}}))
        .await;
    client.items(2).await;
    let event = client.event().await;
    assert_eq!(event.data::<Order>().unwrap(), Order { status: "PAID".into() });
    assert_eq!(event.json(), r#"{"status":"PAID"}"#);
    let error = event.data::<u32>().unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid);
    assert_eq!((event.id.as_str(), event.event.as_str()), ("svc/1", "order.v1"));
    assert_eq!(event.key.as_deref(), Some("order/7"));
    assert_eq!(event.time.as_deref(), Some("2026-11-21T07:00:00.123Z"));
    assert_eq!(event.traceparent.as_deref(), Some("00-1-2-01"));
}

#[tokio::test]
async fn a_topic_whose_permission_could_not_be_looked_up_is_subscribed_again_after_a_growing_wait() {
    let server = Server::start().await;
    let backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60)).unwrap();
    let mut client = start(&server, |builder| {
        builder.topic("news").backoff(backoff.with_jitter(Jitter::Ratio(0.0)).unwrap())
    });
    let mut peer = server.accept().await;
    peer.welcome("a:1:0:m", None).await;
    client.items(2).await;
    for (n, wait) in [(1, 1), (2, 2), (3, 4), (4, 1)] {
        if n == 4 {
            peer.send(json!({"type": "subscribed", "topic": "news", "cursor": "news:1:5:m"})).await;
            assert_eq!(client.items(1).await, ["subscribed news"]);
        }
        peer.send(json!({"type": "error", "code": "unavailable", "detail": "news"})).await;
        peer.event("a", n).await;
        assert_eq!(client.event().await.offset, Some(n));
        client.clock.advance(Duration::from_secs(wait) - Duration::from_millis(1));
        client.client.unsubscribe("other").await.unwrap();
        assert_eq!(peer.next().await["topic"], "other", "not before its time");
        client.clock.advance(Duration::from_millis(1));
        let mut frame = json!({"type": "subscribe", "topic": "news"});
        if n == 4 {
            frame["cursor"] = json!("news:1:5:m");
        }
        assert_eq!(peer.next().await, frame);
    }
}
