//! Operators of sagas and projections: the lists, the timeline of a run, and the requests that change it.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::{Buyer, Deployment, Marketplace, eventually};

const LIMIT: Duration = Duration::from_secs(30);

/// A marketplace whose payments wait, because an operator has opened the breaker of the calls to payment-service.
async fn without_payments(more: &[(&str, &str)]) -> Marketplace {
    let env = [&[("COMMS_CONSUMER__BACKOFF_CAP", "1s")], more].concat();
    let marketplace = Marketplace::start_with(Deployment::Embedded, &env).await;
    operate(&marketplace, "/policies/payment/breaker/open", None, 200).await;
    marketplace
}

async fn get(marketplace: &Marketplace, path: &str, status: u16) -> Value {
    let answer = reqwest::get(marketplace.processes[0].admin_url(path)).await.unwrap();
    assert_eq!(answer.status().as_u16(), status, "{path}");
    answer.json().await.unwrap()
}

async fn operate(marketplace: &Marketplace, path: &str, body: Option<Value>, status: u16) -> Value {
    let answer = marketplace.operate(path, body.as_ref()).await;
    let (answered, text) = (answer.status().as_u16(), answer.text().await.unwrap());
    assert_eq!(answered, status, "{path}: {text}");
    serde_json::from_str(&text).unwrap()
}

/// Waits until the run of `order` is in `phase`, and returns its timeline.
async fn timeline(marketplace: &Marketplace, order: &str, phase: &str) -> Value {
    eventually(&format!("the run is {phase}"), LIMIT, async || {
        let path = format!("/sagas/order/{order}");
        let timeline: Value =
            reqwest::get(marketplace.processes[0].admin_url(&path)).await.ok()?.json().await.ok()?;
        (timeline["phase"] == phase).then_some(timeline)
    })
    .await
}

async fn status(buyer: &Buyer, location: &str) -> Value {
    let order: Value = buyer.get(location).await.unwrap().json().await.unwrap();
    order["status"].clone()
}

#[tokio::test]
async fn an_operator_cancels_an_order_before_its_pivot_embedded() {
    let marketplace = without_payments(&[]).await;
    let ann = marketplace.buyer("ann");
    let order = ann.place("key-1", 129_900).await;
    let other = ann.place("key-2", 100).await;
    let run = format!("/sagas/order/{}", order.order_id);

    let list = get(&marketplace, "/sagas?phase=running&saga=order&limit=1", 200).await;
    assert_eq!(
        list["services"][0]["counts"][0],
        json!({"saga": "order", "version": 1, "phase": "running", "runs": 2, "failing": 0})
    );
    assert_eq!(list["runs"].as_array().unwrap().len(), 1, "{list}");
    let next = &list["next"];
    let query = ["after_service", "after_saga", "after_id"]
        .map(|name| format!("{name}={}", next[name].as_str().unwrap()));
    let rest =
        get(&marketplace, &format!("/sagas?phase=running&saga=order&limit=1&{}", query.join("&")), 200).await;
    let mut ids = [&list, &rest].map(|page| page["runs"][0]["id"].as_str().unwrap().to_owned());
    ids.sort_unstable();
    let mut placed = [order.order_id.clone(), other.order_id.clone()];
    placed.sort_unstable();
    assert_eq!((ids, &rest["next"]), (placed, &Value::Null), "each run is on one page");
    assert_eq!(get(&marketplace, "/sagas", 200).await["runs"], json!([]), "no run is held");

    let diagram = reqwest::get(marketplace.processes[0].admin_url("/sagas/order/diagram")).await.unwrap();
    assert_eq!(diagram.headers()["content-type"], "text/plain; charset=utf-8");
    let diagram = diagram.text().await.unwrap();
    assert!(diagram.starts_with("%% order v1\nstateDiagram-v2\n"), "{diagram}");
    refusals(&marketplace, &run).await;

    let cancelled =
        operate(&marketplace, &format!("{run}/cancel"), Some(json!({"reason": "fraud"})), 200).await;
    assert_eq!(cancelled["run"]["phase"], "compensating", "{cancelled}");
    let waiting = timeline(&marketplace, &order.order_id, "compensating").await;
    assert!(!waiting["timers"].as_array().unwrap().is_empty(), "the run waits for the payment: {waiting}");
    assert_eq!(status(&ann, &order.location).await, "CANCELLED");

    operate(&marketplace, "/policies/payment/breaker/reset", None, 200).await;
    let ended = timeline(&marketplace, &order.order_id, "failed").await;
    assert_eq!(ended["cause"], json!({"reason": "fraud"}));
    assert_eq!(
        (&ended["steps"][0]["name"], &ended["steps"][0]["status"]),
        (&json!("payment"), &json!("compensated"))
    );
    let log = ended["log"].as_array().unwrap();
    let inputs: Vec<_> = log.iter().map(|line| line["input"]["type"].as_str().unwrap()).collect();
    assert_eq!(inputs[..2], ["start", "operator"], "{ended}");
    assert!(inputs[2..].contains(&"message"), "the replies of payment-service: {ended}");
    let operator = json!({"type": "operator", "operator": "admin", "operation": "cancel", "reason": "fraud"});
    assert_eq!(log[1]["input"], operator);
    let effects: Vec<_> = log.iter().flat_map(|line| line["effects"].as_array().unwrap()).collect();
    let commands =
        |action: &str| effects.iter().filter(|it| it["type"] == "command" && it["action"] == action).count();
    assert_eq!((commands("execute"), commands("compensate")), (1, 1), "{ended}");
    assert!(effects.iter().any(|effect| effect["type"] == "timer"), "the waits: {ended}");
    let again = operate(&marketplace, &format!("{run}/cancel"), Some(json!({"reason": "again"})), 409).await;
    assert!(again["detail"].as_str().unwrap().contains("has ended"), "{again}");
}

/// A refused request changes nothing, and names the cause.
async fn refusals(marketplace: &Marketplace, run: &str) {
    let cancel = format!("{run}/cancel");
    for path in [cancel.as_str(), "/projections/orders/skip"] {
        let url = marketplace.processes[0].admin_url(path);
        let anonymous = reqwest::Client::new().post(url).json(&json!({"reason": "x"})).send().await.unwrap();
        assert_eq!(anonymous.status(), StatusCode::UNAUTHORIZED, "{path}");
    }
    for (path, body, status, text) in [
        (cancel.as_str(), json!({}), 422, "reason"),
        (&cancel, json!({"reason": " "}), 422, "line of text"),
        (&cancel, json!({"reason": "a\u{0}b"}), 422, "line of text"),
        (&format!("{run}/retry"), json!({}), 409, "nothing is held"),
        (&format!("{run}/force"), json!({"step": "payment", "status": "paid"}), 422, "/status"),
        (&format!("{run}/force"), json!({"step": "paymint", "status": "done"}), 409, "no step paymint"),
        ("/sagas/orders/7/cancel", json!({"reason": "x"}), 404, "order-choreographed"),
        ("/sagas/order/7/cancel", json!({"reason": "x"}), 404, "there is no run"),
        ("/projections/none/retry", json!({"revision": 1, "event": "7"}), 404, "order"),
    ] {
        let problem = operate(marketplace, path, Some(body), status).await;
        assert!(problem.to_string().contains(text), "{path}: {problem}");
    }
    for (path, status) in
        [("/sagas?phase=stuck", 422), ("/sagas/order/7", 404), ("/sagas/orders/diagram", 404)]
    {
        get(marketplace, path, status).await;
    }
    let projections = get(marketplace, "/projections", 200).await;
    let all = projections.as_array().unwrap();
    assert!(all.len() > 1, "{projections}");
    for projection in all {
        let (name, revision) = (projection["name"].as_str().unwrap(), &projection["revision"]);
        assert_eq!((&projection["parked"], projection.get("unavailable")), (&json!([]), None));
        let body = json!({"revision": revision, "event": "7", "reason": "x"});
        let problem = operate(marketplace, &format!("/projections/{name}/skip"), Some(body), 409).await;
        assert!(problem["detail"].as_str().unwrap().contains("not parked at the event 7"), "{problem}");
    }
}

/// The compensation of a payment without an answer is held: an operator repeats it, or sets its result.
#[tokio::test]
async fn an_operator_continues_held_runs_embedded() {
    let limits = [("COMMS_ORDER__SAGA__ATTEMPTS", "1"), ("COMMS_ORDER__SAGA__PAYMENT_LIMIT", "1s")];
    let marketplace = without_payments(&limits).await;
    let ann = marketplace.buyer("ann");
    let (retried, forced) = (ann.place("retried", 100).await, ann.place("forced", 100).await);
    for order in [&retried, &forced] {
        timeline(&marketplace, &order.order_id, "held").await;
    }
    let list = get(&marketplace, "/sagas", 200).await;
    let held = list["runs"].as_array().unwrap();
    assert_eq!(held.len(), 2, "{list}");
    for run in held {
        assert_eq!((&run["saga"], &run["held"][0]["name"]), (&json!("order"), &json!("payment")), "{run}");
        assert!(!run["held"][0]["reason"].as_str().unwrap().is_empty(), "{run}");
    }
    let ready = get(&marketplace, "/readyz", 200).await;
    assert_eq!(ready["parts"]["sagas orders"]["status"], "degraded", "{ready}");

    let force = json!({"step": "payment", "status": "compensated"});
    let run =
        operate(&marketplace, &format!("/sagas/order/{}/force", forced.order_id), Some(force), 200).await;
    assert_eq!(run["run"]["phase"], "failed", "{run}");
    operate(&marketplace, "/policies/payment/breaker/reset", None, 200).await;
    let path = format!("/sagas/order/{}/retry", retried.order_id);
    // The delivery that was held may answer first, which ends the run.
    let answer = marketplace.operate(&path, None).await.status();
    assert!([StatusCode::OK, StatusCode::CONFLICT].contains(&answer), "{answer}");
    timeline(&marketplace, &retried.order_id, "failed").await;
    assert_eq!(get(&marketplace, "/sagas", 200).await["runs"], json!([]));
    for order in [&retried, &forced] {
        assert_eq!(status(&ann, &order.location).await, "CANCELLED");
    }
}
