//! The list of a buyer's orders: newest first, in pages, and without the orders of other buyers.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::Value;

use crate::support::{Buyer, Deployment, Marketplace, eventually};

#[tokio::test]
async fn orders_are_listed_newest_first_and_by_pages_embedded() {
    listing(Deployment::Embedded).await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL and Apache Kafka; run scripts/test"]
async fn orders_are_listed_newest_first_and_by_pages_full() {
    listing(Deployment::Full).await;
}

async fn listing(deployment: Deployment) {
    let marketplace = Marketplace::start(deployment).await;
    let (ann, bob) = (marketplace.buyer("ann"), marketplace.buyer("bob"));
    assert_eq!(page(&ann, "").await, (vec![], None), "no orders, no next page");

    let mut placed = Vec::new();
    for number in 0..25 {
        placed.insert(0, ann.place(&format!("key-{number}"), 100).await.order_id);
    }
    let bobs = bob.place("key-1", 100).await.order_id;
    let (first, next) = page(&ann, "").await;
    assert_eq!(first, placed[..20], "20 orders without a limit");
    assert_eq!(page(&ann, "?limit=25").await, (placed.clone(), None), "a full last page has no next page");

    stable_while_orders_are_added(&ann, &placed).await;
    assert_eq!(page(&bob, "").await, (vec![bobs], None), "bob sees only his order");
    let anns_cursor = next.unwrap();
    assert_eq!(
        page(&bob, &format!("?cursor={anns_cursor}")).await,
        (vec![], None),
        "a cursor of ann shows bob none of her orders"
    );
    whole_orders(&ann, &placed[0]).await;
    bad_queries(&ann, &marketplace.gateway).await;
}

/// Places an order after each page. The pages neither repeat nor omit an order, and the new orders come first in the
/// list.
async fn stable_while_orders_are_added(ann: &Buyer, placed: &[String]) {
    let (mut walked, mut query, mut added) = (Vec::new(), "?limit=7".to_owned(), Vec::new());
    loop {
        let (ids, next) = page(ann, &query).await;
        walked.extend(ids);
        added.insert(0, ann.place(&format!("added-{}", added.len()), 100).await.order_id);
        let Some(next) = next else { break };
        query = format!("?cursor={next}&limit=7");
    }
    assert_eq!(walked, placed);
    let (newest, _) = page(ann, &format!("?limit={}", added.len())).await;
    assert_eq!(newest, added);
}

/// An order in the list has the same fields as at its URL.
async fn whole_orders(ann: &Buyer, order_id: &str) {
    let list = body(ann, "?limit=100").await;
    let listed = list["orders"].as_array().unwrap().iter().find(|order| order["order_id"] == order_id);
    let shown: Value = ann.get(&format!("/v1/orders/{order_id}")).await.unwrap().json().await.unwrap();
    for field in ["ad_id", "quantity", "price", "total", "created_at", "links"] {
        assert_eq!(listed.unwrap()[field], shown[field], "{field}");
        assert!(!shown[field].is_null(), "{field}");
    }
}

async fn bad_queries(ann: &Buyer, gateway: &str) {
    let table = [
        ("?limit=0", "limit"),
        ("?limit=101", "limit"),
        ("?limit=many", "limit"),
        ("?limit=1&limit=2", "limit"),
        ("?cursor=", "cursor"),
        ("?cursor=nonsense", "cursor"),
        ("?cursor=%00%ff", "cursor"),
        ("?cursor=0193c3a0-0000-7000-8000-000000000001", "cursor"),
        ("?page=2", "page"),
        ("?buyer_id=bob", "buyer_id"),
    ];
    for (query, parameter) in table {
        let response = ann.get(&format!("/v1/orders{query}")).await.unwrap();
        assert_eq!(response.status(), StatusCode::UNPROCESSABLE_ENTITY, "{query}");
        assert_eq!(response.headers()["content-type"], "application/problem+json", "{query}");
        let problem: Value = response.json().await.unwrap();
        assert!(problem["errors"][0].to_string().contains(parameter), "{query}: {problem}");
        assert!(problem["trace_id"].is_string(), "{query}: {problem}");
    }
    let anonymous = reqwest::get(format!("{gateway}/v1/orders")).await.unwrap();
    assert_eq!(anonymous.status(), StatusCode::UNAUTHORIZED);
}

/// Returns a page that has every order that was placed before.
async fn body(buyer: &Buyer, query: &str) -> Value {
    eventually("the list is up to date", Duration::from_secs(20), async || {
        let response = buyer.get(&format!("/v1/orders{query}")).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{query}");
        let body: Value = response.json().await.unwrap();
        body["up_to_date"].as_bool().unwrap().then_some(body)
    })
    .await
}

/// Returns the order ids of a page, and the cursor of the next page.
async fn page(buyer: &Buyer, query: &str) -> (Vec<String>, Option<String>) {
    let body = body(buyer, query).await;
    let ids = body["orders"].as_array().unwrap().iter();
    let ids = ids.map(|order| order["order_id"].as_str().unwrap().to_owned()).collect();
    assert!(body["next"].is_string() || body["next"].is_null(), "{body}");
    (ids, body["next"].as_str().map(str::to_owned))
}
