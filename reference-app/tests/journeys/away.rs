//! A service that is away: who calls it stops asking, says so, and finds out when it is back.

use std::{net::TcpListener, time::Duration};

use serde_json::Value;

use crate::{
    road::Road,
    support::{Buyer, Marketplace, Shape, eventually},
};

const LIMIT: Duration = Duration::from_secs(30);

/// What the admin listener answers to GET `path`.
async fn admin(marketplace: &Marketplace, path: &str) -> (u16, Value) {
    let answer = reqwest::get(marketplace.processes[0].admin_url(path)).await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

async fn breaker(marketplace: &Marketplace, name: &str) -> String {
    let (_, policies) = admin(marketplace, "/policies").await;
    let policy = policies.as_array().unwrap().iter().find(|policy| policy["name"] == name).unwrap();
    policy["breaker"]["state"].as_str().unwrap().to_owned()
}

/// A port that was free a moment ago, below those the system gives to connections.
fn free_port() -> u16 {
    (0..)
        .map(|n: u16| 20_000 + (std::process::id() as u16 % 1_000) * 10 + n)
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .unwrap()
}

#[tokio::test]
async fn orders_wait_for_a_payment_service_that_is_away_and_none_is_lost_embedded() {
    let payment = format!("127.0.0.1:{}", free_port());
    let mut road = Road::open_to(payment.parse().unwrap()).await;
    let marketplace = Marketplace::start_with(
        Shape::Embedded,
        &[
            ("COMMS_PAYMENT__LISTEN", &payment),
            ("COMMS_PAYMENT__URL", &road.url()),
            ("COMMS_POLICIES__PAYMENT__BREAKER__OPEN_DURATION", "1s"),
            ("COMMS_POLICIES__PAYMENT__BREAKER__OPEN_LIMIT", "1s"),
            ("COMMS_CONSUMER__BACKOFF_CAP", "1s"),
        ],
    )
    .await;
    let ann = marketplace.buyer("ann");
    let mut socket = ann.socket().await;
    let first = ann.place("first", 100).await;
    socket.until(&first.order_id, "PAID").await;
    assert_eq!(admin(&marketplace, "/readyz").await.1["status"], "ready");
    assert_eq!(breaker(&marketplace, "payment").await, "closed");

    road.close().await;
    for n in 0..10 {
        ann.place(&format!("away-{n}"), 100).await;
    }
    eventually("the breaker opens", LIMIT, async || {
        (breaker(&marketplace, "payment").await == "open").then_some(())
    })
    .await;
    eventually("readiness is degraded by it, and stays in rotation", LIMIT, async || {
        let (status, report) = admin(&marketplace, "/readyz").await;
        assert_eq!(status, 200, "{report}");
        let part = &report["parts"]["policy payment"];
        let told = part["reason"].as_str().is_some_and(|reason| reason.contains("breaker is open"));
        (report["status"] == "degraded" && part["status"] == "degraded" && told).then_some(())
    })
    .await;
    // Accepted as if nothing were, and safe.
    let late = ann.place("late", 100).await;
    let order: Value = ann.get(&late.location).await.unwrap().json().await.unwrap();
    assert_eq!(order["status"], "CREATED");
    // Long enough for probes that fail: they open it again.
    eventually("a probe has failed", LIMIT, async || {
        (transitions(&marketplace, "half_open").await >= 2).then_some(())
    })
    .await;
    let waiting = marketplace.books.counts().await.unwrap();
    assert_eq!((waiting.orders, waiting.paid, waiting.payments, waiting.parked), (12, 1, 1, 0));

    road.reopen().await;
    marketplace.settled(12, LIMIT).await;
    eventually("the breaker is closed by its probes", LIMIT, async || {
        (breaker(&marketplace, "payment").await == "closed").then_some(())
    })
    .await;
    assert_eq!(transitions(&marketplace, "closed").await, 1);
    let (status, report) = admin(&marketplace, "/readyz").await;
    assert_eq!((status, &report["status"]), (200, &"ready".into()), "{report}");
    let counts = marketplace.books.counts().await.unwrap();
    assert_eq!((counts.orders, counts.paid, counts.payments, counts.charges), (12, 12, 12, 12));
    assert_eq!((counts.notifications, counts.parked, counts.broken_sequences), (24, 0, 0));
}

/// How often the breaker of payment has gone to `state`.
async fn transitions(marketplace: &Marketplace, state: &str) -> u64 {
    let url = marketplace.processes[0].admin_url("/metrics");
    let metrics = reqwest::get(url).await.unwrap().text().await.unwrap();
    let series = format!("comms_breaker_transitions_total{{name=\"payment\",state=\"{state}\"}} ");
    metrics.lines().find_map(|line| line.strip_prefix(&series)?.parse().ok()).unwrap_or_default()
}

#[tokio::test]
async fn clients_that_do_not_wait_open_no_breaker_for_the_others() {
    let marketplace = Marketplace::start(Shape::Embedded).await;
    let ann = marketplace.buyer("ann");
    let mut late = 0;
    // A quick machine answers some of them in time.
    for n in 0..300 {
        if late == 10 {
            break;
        }
        let answer = reqwest::Client::new()
            .post(format!("{}/v1/orders", marketplace.gateway))
            .bearer_auth(&ann.token)
            .header("request-timeout", "1ms")
            .header("idempotency-key", format!("hasty-{n}"))
            .json(&Buyer::body(100))
            .send()
            .await
            .unwrap();
        late += usize::from(answer.status() == 504);
    }
    assert!(late >= 10, "{late} of 300 were too late: too few to show anything");
    assert_eq!(breaker(&marketplace, "order").await, "closed");
    ann.place("patient", 100).await;
}

#[tokio::test]
async fn a_breaker_that_is_forced_open_answers_503_until_it_is_reset() {
    let marketplace = Marketplace::start(Shape::Embedded).await;
    let ann = marketplace.buyer("ann");
    ann.place("before", 100).await;

    let turned = marketplace.operate("/policies/order/breaker/open", None).await;
    assert_eq!(turned.status(), 200);
    let shown: Value = turned.json().await.unwrap();
    assert_eq!((&shown["name"], &shown["breaker"]["state"]), (&"order".into(), &"forced_open".into()));
    assert_eq!(shown["config"]["breaker"]["open_duration"], "2s", "with its settings, as they are written");
    let refused = ann.post(Some("refused"), Buyer::body(100).to_string()).await.unwrap();
    assert_eq!(refused.status(), 503, "not 429: it is not the client's fault");
    let wait: u64 = refused.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    assert_eq!(refused.headers()["content-type"], "application/problem+json");
    let problem: Value = refused.json().await.unwrap();
    assert_eq!((&problem["type"], &problem["guard"]), (&"/problems/unavailable".into(), &"breaker".into()));
    let (status, report) = admin(&marketplace, "/readyz").await;
    let reason = report["parts"]["policy order"]["reason"].as_str().unwrap();
    assert!(status == 200 && reason.contains("/policies/order/breaker/reset"), "{report}");

    marketplace.operate("/policies/order/breaker/closed", None).await;
    assert_eq!(breaker(&marketplace, "order").await, "forced_closed");
    marketplace.operate("/policies/order/breaker/reset", None).await;
    assert_eq!(breaker(&marketplace, "order").await, "closed");
    ann.place("refused", 100).await;

    for (path, status, what) in [
        ("/policies/mail/breaker/open", 404, r#"the policies are ["order", "payment""#),
        ("/policies/order/breaker/ajar", 400, "open, closed or reset"),
    ] {
        let answer = marketplace.operate(path, None).await;
        assert_eq!(answer.headers()["content-type"], "application/problem+json", "{path}");
        let (told, problem) = (answer.status(), answer.json::<Value>().await.unwrap());
        let detail = problem["detail"].as_str().unwrap();
        assert!(
            told == status && problem["status"] == status && detail.contains(what),
            "{path}: {told} {problem}"
        );
    }
    assert_eq!(breaker(&marketplace, "order").await, "closed");
}
