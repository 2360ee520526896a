//! The figures of administrators: they follow the orders, buyers cannot read them, and a higher revision repairs them.

use std::time::Duration;

use reqwest::{StatusCode, header};
use serde_json::Value;

use crate::support::{Buyer, Deployment, Marketplace, eventually};

const SERVICE: &str = "analytics_service";
const LIMIT: Duration = Duration::from_secs(60);

#[tokio::test]
async fn figures_follow_the_orders_and_are_rebuilt_embedded() {
    figures(Deployment::Embedded).await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL and Apache Kafka; run scripts/test"]
async fn figures_follow_the_orders_and_are_rebuilt_full() {
    figures(Deployment::Full).await;
}

async fn figures(deployment: Deployment) {
    let mut marketplace = Marketplace::start(deployment).await;
    let (ann, admin) = (marketplace.buyer("ann"), marketplace.admin());
    let none = body(&admin, "/v1/analytics/orders").await;
    assert_eq!((&none["hours"], &none["as_of"]), (&serde_json::json!([]), &Value::Null), "{none}");
    for number in 0..3 {
        ann.place(&format!("key-{number}"), 100).await;
    }
    shows(&admin, [3, 3, 3, 300, 3]).await;
    let figures = body(&admin, "/v1/analytics/revenue").await;
    assert_eq!(figures["days"][0]["revenue"]["currency"], "RUB", "{figures}");
    assert!(figures["as_of"].is_string() && figures["lag_events"].is_number(), "{figures}");
    only_administrators(&ann, &marketplace.gateway).await;
    bad_queries(&admin).await;

    // The figures are damaged while the process is down.
    assert!(marketplace.processes[0].terminate().await.success());
    for damage in ["UPDATE {s}.hours SET orders = orders + 10", "DELETE FROM {s}.revenue"] {
        marketplace.databases.execute(SERVICE, damage).await.unwrap();
    }
    marketplace.processes[0].spawn();
    marketplace.ready().await;
    assert_ne!(sums(&admin).await, Some([3, 3, 3, 300, 3]), "the damage is visible");

    assert!(marketplace.processes[0].terminate().await.success());
    marketplace.processes[0].set("COMMS_ANALYTICS__REVISION", "2");
    marketplace.processes[0].spawn();
    marketplace.ready().await;
    shows(&admin, [3, 3, 3, 300, 3]).await;
    ann.place("key-3", 100).await;
    shows(&admin, [4, 4, 4, 400, 4]).await;
    eventually("the figures of revision 1 are deleted", LIMIT, async || {
        let rows = "SELECT COUNT(*) FROM {s}.orders WHERE revision = 1";
        (marketplace.databases.number(SERVICE, rows).await.ok()? == 0).then_some(())
    })
    .await;
    assert!(marketplace.processes[0].terminate().await.success());
}

/// Waits until the figures have these sums, in the order of [`sums`].
async fn shows(admin: &Buyer, expected: [i64; 5]) {
    eventually(&format!("the figures are {expected:?}"), LIMIT, async || {
        (sums(admin).await? == expected).then_some(())
    })
    .await;
}

/// Returns the orders that are DELIVERED, the transitions to CREATED and to PAID, the revenue, and the number of paid orders.
async fn sums(admin: &Buyer) -> Option<[i64; 5]> {
    let orders: Value = admin.get("/v1/analytics/orders").await.ok()?.json().await.ok()?;
    let revenue: Value = admin.get("/v1/analytics/revenue").await.ok()?.json().await.ok()?;
    let sum = |list: &Value, field: &str| {
        let numbers = list.as_array()?.iter().filter_map(|item| item.pointer(field)?.as_i64());
        Some(numbers.sum::<i64>())
    };
    Some([
        sum(&orders["hours"], "/orders/DELIVERED")?,
        sum(&orders["hours"], "/transitions/CREATED")?,
        sum(&orders["hours"], "/transitions/PAID")?,
        sum(&revenue["days"], "/revenue/minor")?,
        sum(&revenue["days"], "/paid")?,
    ])
}

async fn only_administrators(ann: &Buyer, gateway: &str) {
    for path in ["/v1/analytics/orders", "/v1/analytics/revenue"] {
        let refused = ann.get(path).await.unwrap();
        assert_eq!(refused.status(), StatusCode::FORBIDDEN, "{path}");
        let challenge = refused.headers()[header::WWW_AUTHENTICATE].to_str().unwrap().to_owned();
        assert!(challenge.contains("insufficient_scope"), "{challenge}");
        let problem: Value = refused.json().await.unwrap();
        assert_eq!(problem["type"], "/problems/forbidden", "{problem}");
        let anonymous = reqwest::get(format!("{gateway}{path}")).await.unwrap();
        assert_eq!(anonymous.status(), StatusCode::UNAUTHORIZED, "{path}");
    }
}

async fn bad_queries(admin: &Buyer) {
    for (query, pointer) in [
        ("from=yesterday", "/from"),
        ("to=2026-11-27", "/to"),
        ("from=2026-01-01T00:00:00Z&to=2026-02-01T00:00:01Z", "/from"),
        ("from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", "/from"),
        ("hour=1", "/hour"),
    ] {
        let refused = admin.get(&format!("/v1/analytics/revenue?{query}")).await.unwrap();
        assert_eq!(refused.status(), StatusCode::UNPROCESSABLE_ENTITY, "{query}");
        let problem: Value = refused.json().await.unwrap();
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{query}: {problem}");
    }
    let january = body(admin, "/v1/analytics/orders?from=2026-01-01T00:00:00Z&to=2026-02-01T00:00:00Z").await;
    assert_eq!(january["from"], "2026-01-01T00:00:00.000Z", "{january}");
}

async fn body(admin: &Buyer, path: &str) -> Value {
    let answer = admin.get(path).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK, "{path}");
    answer.json().await.unwrap()
}
