//! Calls to a service that is unavailable: the breaker opens, readiness shows it, and probes close it again.

use std::{net::TcpListener, time::Duration};

use serde_json::Value;

use crate::{
    support::{Buyer, Deployment, Marketplace, eventually},
    tcp_proxy::TcpProxy,
};

const LIMIT: Duration = Duration::from_secs(30);

/// Returns the status and the body of a GET from the admin listener.
async fn admin(marketplace: &Marketplace, path: &str) -> (u16, Value) {
    let answer = reqwest::get(marketplace.processes[0].admin_url(path)).await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

async fn breaker(marketplace: &Marketplace, name: &str) -> String {
    let (_, policies) = admin(marketplace, "/policies").await;
    let policy = policies.as_array().unwrap().iter().find(|policy| policy["name"] == name).unwrap();
    policy["breaker"]["state"].as_str().unwrap().to_owned()
}

/// Returns the state of the channel from order-service to payment-service.
async fn channel(marketplace: &Marketplace) -> Value {
    let (_, channels) = admin(marketplace, "/channels").await;
    let is_it = |channel: &&Value| channel["service"] == "order" && channel["peer"] == "payment";
    channels.as_array().unwrap().iter().find(is_it).unwrap().clone()
}

/// Returns a free port below the range of outgoing connections.
fn free_port() -> u16 {
    (0..)
        .map(|n: u16| 20_000 + (std::process::id() as u16 % 1_000) * 10 + n)
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .unwrap()
}

#[tokio::test]
async fn orders_wait_for_an_unavailable_payment_service_and_none_is_lost_embedded() {
    let payment = format!("127.0.0.1:{}", free_port());
    let mut proxy = TcpProxy::to(payment.parse().unwrap()).await;
    let marketplace = Marketplace::start_with(
        Deployment::Embedded,
        &[
            ("COMMS_PAYMENT__LISTEN", &payment),
            ("COMMS_PAYMENT__URL", &format!("https://{}", proxy.address())),
            ("COMMS_POLICIES__PAYMENT__BREAKER__OPEN_DURATION", "1s"),
            ("COMMS_POLICIES__PAYMENT__BREAKER__MAX_OPEN_DURATION", "1s"),
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
    // The event of the payment may arrive before the answer to the call.
    let shown = eventually("the call has ended", LIMIT, async || {
        let shown = channel(&marketplace).await;
        (shown["endpoints"][0]["in_flight"] == 0).then_some(shown)
    })
    .await;
    let endpoint = &shown["endpoints"][0];
    assert_eq!(
        (&endpoint["state"], &endpoint["address"]),
        (&"ready".into(), &proxy.address().to_string().into())
    );
    assert_eq!((&endpoint["started"], &endpoint["failed"]), (&1.into(), &0.into()));
    assert_eq!(
        (&shown["policy"]["name"], &shown["policy"]["breaker"]["state"]),
        (&"payment".into(), &"closed".into())
    );

    proxy.close().await;
    for n in 0..10 {
        ann.place(&format!("away-{n}"), 100).await;
    }
    eventually("the breaker opens", LIMIT, async || {
        (breaker(&marketplace, "payment").await == "open").then_some(())
    })
    .await;
    eventually("readiness is degraded and the process stays in rotation", LIMIT, async || {
        let (status, report) = admin(&marketplace, "/readyz").await;
        assert_eq!(status, 200, "{report}");
        let part = &report["parts"]["policy payment"];
        let has_reason = part["reason"].as_str().is_some_and(|reason| reason.contains("breaker is open"));
        (report["status"] == "degraded" && part["status"] == "degraded" && has_reason).then_some(())
    })
    .await;
    eventually("the consumer of the commands holds orders", LIMIT, async || {
        let (_, holds) = admin(&marketplace, "/holds").await;
        let held = holds["consumers"].as_array().unwrap();
        assert!(held.iter().all(|hold| hold["group"] == "order-commands"), "{holds}");
        (!held.is_empty()).then_some(())
    })
    .await;
    let shown = channel(&marketplace).await;
    assert_ne!(shown["endpoints"][0]["state"], "ready", "{shown}");
    assert_ne!(shown["policy"]["breaker"]["state"], "closed", "{shown}");
    // New orders are accepted during the outage.
    let late = ann.place("late", 100).await;
    let order: Value = ann.get(&late.location).await.unwrap().json().await.unwrap();
    assert_eq!(order["status"], "CREATED");
    // The outage lasts until a probe has failed, which opens the breaker again.
    eventually("a probe has failed", LIMIT, async || {
        (transitions(&marketplace, "half_open").await >= 2).then_some(())
    })
    .await;
    let waiting = marketplace.databases.counts().await.unwrap();
    assert_eq!((waiting.orders, waiting.paid, waiting.payments, waiting.parked), (12, 1, 1, 0));

    proxy.reopen().await;
    marketplace.settled(12, LIMIT).await;
    eventually("probes close the breaker", LIMIT, async || {
        (breaker(&marketplace, "payment").await == "closed").then_some(())
    })
    .await;
    assert_eq!(transitions(&marketplace, "closed").await, 1);
    let (status, report) = admin(&marketplace, "/readyz").await;
    assert_eq!((status, &report["status"]), (200, &"ready".into()), "{report}");
    let counts = marketplace.databases.counts().await.unwrap();
    assert_eq!((counts.orders, counts.paid, counts.payments, counts.charges), (12, 12, 12, 12));
    assert_eq!((counts.notifications, counts.parked, counts.broken_sequences), (48, 0, 0));
}

/// Returns how many times the breaker of the policy `payment` has changed to `state`.
async fn transitions(marketplace: &Marketplace, state: &str) -> u64 {
    let url = marketplace.processes[0].admin_url("/metrics");
    let metrics = reqwest::get(url).await.unwrap().text().await.unwrap();
    let series = format!("comms_breaker_transitions_total{{name=\"payment\",state=\"{state}\"}} ");
    metrics.lines().find_map(|line| line.strip_prefix(&series)?.parse().ok()).unwrap_or_default()
}

#[tokio::test]
async fn timeouts_of_hasty_clients_do_not_open_the_breaker() {
    let marketplace = Marketplace::start(Deployment::Embedded).await;
    let ann = marketplace.buyer("ann");
    let mut late = 0;
    // A fast machine answers some of the requests in time.
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
    assert!(late >= 10, "only {late} of 300 requests timed out: too few for this test");
    assert_eq!(breaker(&marketplace, "order").await, "closed");
    ann.place("patient", 100).await;
}

#[tokio::test]
async fn while_a_breaker_is_forced_open_the_gateway_answers_503() {
    let marketplace = Marketplace::start(Deployment::Embedded).await;
    let ann = marketplace.buyer("ann");
    ann.place("before", 100).await;

    let forced = marketplace.operate("/policies/order/breaker/open", None).await;
    assert_eq!(forced.status(), 200);
    let shown: Value = forced.json().await.unwrap();
    assert_eq!((&shown["name"], &shown["breaker"]["state"]), (&"order".into(), &"forced_open".into()));
    assert_eq!(
        shown["config"]["breaker"]["open_duration"], "2s",
        "the settings are shown as in the configuration"
    );
    let refused = ann.post(Some("refused"), Buyer::body(100).to_string()).await.unwrap();
    assert_eq!(refused.status(), 503, "429 is only for a client that calls too often");
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
        ("/policies/mail/breaker/open", 404, r#""order", "payment""#),
        ("/policies/order/breaker/ajar", 400, "open, closed or reset"),
    ] {
        let answer = marketplace.operate(path, None).await;
        assert_eq!(answer.headers()["content-type"], "application/problem+json", "{path}");
        let (answered, problem) = (answer.status(), answer.json::<Value>().await.unwrap());
        let detail = problem["detail"].as_str().unwrap();
        assert!(
            answered == status && problem["status"] == status && detail.contains(what),
            "{path}: {answered} {problem}"
        );
    }
    assert_eq!(breaker(&marketplace, "order").await, "closed");
}
