//! An order from the request to the socket: delivered, and declined.

use serde_json::Value;

use crate::{
    metrics,
    support::{Buyer, Deployment, Marketplace},
};

#[tokio::test]
async fn an_order_reaches_the_buyers_socket_embedded() {
    journey(Deployment::Embedded).await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL and Apache Kafka; run scripts/test"]
async fn an_order_reaches_the_buyers_socket_full() {
    journey(Deployment::Full).await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL and Apache Kafka; run scripts/test"]
async fn an_order_reaches_the_buyers_socket_full_by_role() {
    journey(Deployment::FullByRole).await;
}

async fn journey(deployment: Deployment) {
    let mut marketplace = Marketplace::start(deployment).await;
    let (ann, bob) = (marketplace.buyer("ann"), marketplace.buyer("bob"));
    let (mut anns, mut bobs) = (ann.socket().await, bob.socket().await);

    let placed = ann.place("key-1", 129_900).await;
    assert_eq!(placed.location, format!("/v1/orders/{}", placed.order_id));
    let events = anns.until(&placed.order_id, "DELIVERED").await;
    let statuses: Vec<&str> = events.iter().map(|event| event["data"]["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["CREATED", "PAID", "SHIPPED", "DELIVERED"]);
    for event in &events {
        assert_eq!(event["topic"], "user/ann");
        assert_eq!(event["event"], "order.status.changed.v1");
    }
    // The courier's report of the delivery begins a trace of its own.
    for event in &events[..3] {
        let traceparent = event["traceparent"].as_str().unwrap();
        assert!(traceparent.contains(&placed.trace_id), "the push has the trace of the request: {event}");
    }

    let order: Value = ann.get(&placed.location).await.unwrap().json().await.unwrap();
    assert_eq!(order["status"], "DELIVERED");
    assert_eq!(order["total"]["minor"], 129_900);
    assert!(order["payment_id"].is_string());

    replays(&ann, &placed.order_id).await;
    isolation(&bob, &placed.order_id).await;
    let bobs_order = bob.place("key-1", 5).await;
    assert_ne!(bobs_order.order_id, placed.order_id, "a key is unique for its user only");
    let first = bobs.event().await.unwrap();
    assert_eq!(
        first["data"]["order_id"],
        bobs_order.order_id.as_str(),
        "bob receives no event of ann's order"
    );

    let declined = ann.place("key-2", 100_000_001).await;
    let events = anns.until(&declined.order_id, "PAYMENT_FAILED").await;
    assert_eq!(events.last().unwrap()["data"]["reason"], "limit_exceeded");

    observability(&marketplace).await;
    for process in &mut marketplace.processes {
        let status = process.terminate().await;
        assert!(status.success(), "{}: {status}\n{}", process.name, process.log());
    }
    assert_eq!(anns.close_code().await, Some(1001), "the socket closes with a code: going away");
}

async fn replays(ann: &Buyer, order_id: &str) {
    let again = ann.place("key-1", 129_900).await;
    assert!(again.replayed);
    assert_eq!(again.order_id, order_id);
    let other = ann.post(Some("key-1"), Buyer::body(1).to_string()).await.unwrap();
    assert_eq!(other.status(), 422, "the same key with another request");
    let both = tokio::join!(ann.place("key-race", 7), ann.place("key-race", 7));
    assert_eq!(both.0.order_id, both.1.order_id, "two concurrent requests with one key are one order");
}

async fn isolation(bob: &Buyer, order_id: &str) {
    let response = bob.get(&format!("/v1/orders/{order_id}")).await.unwrap();
    assert_eq!(response.status(), 404, "the order of another user is 404");
    assert_eq!(response.headers()["content-type"], "application/problem+json");
}

async fn observability(marketplace: &Marketplace) {
    let mut all = String::new();
    for process in &marketplace.processes {
        let live = reqwest::get(process.admin_url("/livez")).await.unwrap();
        assert!(live.status().is_success());
        let scrape = reqwest::get(process.admin_url("/metrics")).await.unwrap().text().await.unwrap();
        metrics::check_conventions(&scrape);
        all += &scrape;
    }
    for name in [
        "http_server_request_duration_seconds_bucket",
        "rpc_server_call_duration_seconds_bucket",
        "rpc_client_call_duration_seconds_bucket",
        "messaging_process_duration_seconds_bucket",
        "comms_outbox_relayed_total",
        "comms_ws_sessions",
        "comms_ws_delivered_total",
    ] {
        assert!(all.contains(name), "{name} is not in /metrics");
    }
}
