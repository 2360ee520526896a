//! The history of an order: its events, for the buyer alone.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::{Buyer, Deployment, Marketplace};

#[tokio::test]
async fn a_buyer_reads_the_history_of_an_order_embedded() {
    history(Deployment::Embedded).await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL and Apache Kafka; run scripts/test"]
async fn a_buyer_reads_the_history_of_an_order_full_by_role() {
    history(Deployment::FullByRole).await;
}

async fn history(deployment: Deployment) {
    let marketplace = Marketplace::start(deployment).await;
    let (ann, bob) = (marketplace.buyer("ann"), marketplace.buyer("bob"));
    let mut socket = ann.socket().await;

    let placed = ann.place("delivered", 129_900).await;
    assert_eq!(events(&ann, &placed.location).await[0]["type"], "order.placed.v1", "readable at once");
    socket.until(&placed.order_id, "DELIVERED").await;
    let order: Value = ann.get(&placed.location).await.unwrap().json().await.unwrap();
    let delivered = events(&ann, &placed.location).await;
    let types: Vec<_> = delivered.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(
        types,
        [
            "order.placed.v1",
            "order.payment.started.v1",
            "order.paid.v1",
            "order.reserved.v1",
            "order.shipped.v1",
            "order.delivered.v1"
        ]
    );
    let versions = delivered.iter().map(|event| event["version"].as_u64().unwrap());
    assert!(versions.eq(1..=6), "{delivered:?}");
    let price = json!({"minor": 129_900, "currency": "RUB"});
    assert_eq!(delivered[0]["data"], json!({"ad_id": order["ad_id"], "quantity": 1, "price": price}));
    assert_eq!(delivered[0]["actor"], json!({"type": "app_user", "id": "ann"}));
    assert_eq!(delivered[1]["data"], json!({"payment_id": order["payment_id"]}));
    assert_eq!(delivered[2]["actor"], json!({"type": "system", "id": "order"}), "the saga");
    for event in &delivered {
        assert!(event["time"].as_str().unwrap().ends_with('Z') && event["why"].is_string(), "{event}");
    }

    let declined = ann.place("declined", 100_000_001).await;
    socket.until(&declined.order_id, "PAYMENT_FAILED").await;
    let last = events(&ann, &declined.location).await.pop().unwrap();
    assert_eq!(last["type"], "order.payment.failed.v1");
    assert_eq!(last["data"], json!({"reason": "limit_exceeded"}));

    for path in [&*placed.location, "/v1/orders/0193c3a0-0000-7000-8000-000000000001", "/v1/orders/x"] {
        let response = bob.get(&format!("{path}/history")).await.unwrap();
        assert_eq!(response.status(), StatusCode::NOT_FOUND, "{path}");
        assert_eq!(response.headers()["content-type"], "application/problem+json", "{path}");
    }
    let anonymous =
        reqwest::get(format!("{}{}/history", marketplace.gateway, placed.location)).await.unwrap();
    assert_eq!(anonymous.status(), StatusCode::UNAUTHORIZED);
}

async fn events(buyer: &Buyer, location: &str) -> Vec<Value> {
    let response = buyer.get(&format!("{location}/history")).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let body: Value = response.json().await.unwrap();
    body["events"].as_array().unwrap().clone()
}
