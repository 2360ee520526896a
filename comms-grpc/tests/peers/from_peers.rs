//! Calls from the clients of peers to the server of this crate.

use std::{
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
    time::Duration,
};

use comms_grpc::ServerConfig;
use serde_json::json;

use crate::{
    programs::{Kind, asking},
    service::Running,
};

async fn start() -> Running {
    Running::start(ServerConfig::default()).await
}

/// Waits until `counter` has this value.
async fn reaches(counter: &AtomicUsize, value: usize, what: &str) {
    for _ in 0..1_000 {
        if counter.load(SeqCst) == value {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not within 10 s: {what}");
}

pub(crate) async fn the_deadline_of_a_client_reaches_the_handler_and_ends_it(kind: Kind) {
    let server = start().await;
    let request = json!({ "request": { "action": "echo" }, "timeout_ms": 2_000 });
    let result = kind.call(server.address, request).await;
    let remaining = result["remaining_ms"].as_i64().unwrap();
    assert!((1..=2_000).contains(&remaining), "{result}");

    let result =
        kind.call(server.address, json!({ "request": { "action": "hang" }, "timeout_ms": 2_000 })).await;
    assert_eq!(result["code"], "DEADLINE_EXCEEDED", "{result}");
    reaches(&server.peer.dropped, 1, "the handler is dropped").await;
    server.stop().await;
}

pub(crate) async fn the_limit_of_the_server_ends_a_call_without_a_deadline(kind: Kind) {
    let server = Running::start(ServerConfig::default().max_timeout(Duration::from_millis(300))).await;
    let result = kind.call(server.address, asking(json!({ "action": "hang" }))).await;
    assert_eq!(result["code"], "DEADLINE_EXCEEDED", "{result}");
    reaches(&server.peer.dropped, 1, "the handler is dropped").await;
    server.stop().await;
}

pub(crate) async fn a_cancelled_call_drops_the_handler(kind: Kind) {
    let server = start().await;
    let hang = json!({ "request": { "action": "hang" }, "cancel": true });
    let mut client = kind.client(server.address, "unary", hang);
    reaches(&server.peer.begun, 1, "the call begins").await;
    client.write_line("");
    assert_eq!(client.next().await, json!({ "code": "CANCELLED", "by": "client" }));
    reaches(&server.peer.dropped, 1, "the handler is dropped").await;
    server.stop().await;
}

pub(crate) async fn the_details_of_a_status_reach_the_peer(kind: Kind) {
    let server = start().await;
    let result = kind.call(server.address, asking(json!({ "action": "details" }))).await;
    assert_eq!(result["code"], "RESOURCE_EXHAUSTED", "{result}");
    assert_eq!(result["message"], "no quota: щедро");
    let detail = &result["details"][0];
    assert_eq!(detail["@type"], "type.googleapis.com/google.rpc.ErrorInfo", "{result}");
    assert_eq!((&detail["reason"], &detail["domain"]), (&json!("QUOTA"), &json!("peers.example")));

    let result = kind.call(server.address, asking(json!({ "action": "conflict" }))).await;
    assert_eq!(result["code"], "ABORTED", "{result}");
    assert_eq!(result["message"], "the order has changed: щедро");
    server.stop().await;
}

pub(crate) async fn retries_of_a_client_wait_as_long_as_the_server_asks(kind: Kind) {
    let server = start().await;
    // Without the pushback of the server, the client would wait for at most 10 ms.
    let retry = json!({
        "maxAttempts": 4, "initialBackoff": "0.01s", "maxBackoff": "0.01s", "backoffMultiplier": 1,
        "retryableStatusCodes": ["RESOURCE_EXHAUSTED", "UNAVAILABLE"],
    });
    let refused = json!({
        "request": { "action": "refuse", "times": 2, "ms": 400 },
        "service_config": { "methodConfig": [{ "name": [{ "service": "peers.Peer" }], "retryPolicy": retry }] },
    });
    let result = kind.call(server.address, refused).await;
    assert_eq!(result["code"], "OK", "{result}");
    let gaps: Vec<_> =
        result["gaps_ms"].as_array().unwrap().iter().map(|gap| gap.as_u64().unwrap()).collect();
    assert!(gaps.len() == 2 && gaps.iter().all(|gap| *gap >= 400), "{result}");
    assert_eq!(result["previous"], json!([null, "1", "2"]));
    server.stop().await;
}

pub(crate) async fn big_messages_pass_between_the_peer_and_the_server(kind: Kind) {
    let server = start().await;
    let big = json!({ "action": "echo", "size": 3_000_000, "text": "y".repeat(100_000) });
    let result = kind.call(server.address, asking(big)).await;
    assert_eq!((&result["code"], &result["received"]), (&json!("OK"), &json!(100_000)));
    assert_eq!(result["text"].as_str().unwrap().len(), 3_000_000);

    let flood = json!({ "count": 200, "size": 100_000, "ms": 0 });
    let result = kind.client(server.address, "stream", asking(flood)).next().await;
    assert_eq!(result, json!({ "code": "OK", "count": 200, "size": 20_000_000 }));
    server.stop().await;
}

pub(crate) async fn a_shutdown_lets_calls_finish(kind: Kind) {
    let server = start().await;
    let sleep = json!({ "action": "sleep", "ms": 1_500 });
    let mut running = kind.client(server.address, "unary", asking(sleep));
    reaches(&server.peer.begun, 1, "the call begins").await;
    server.stop().await;
    assert_eq!(running.next().await, json!({ "code": "OK" }));
}

pub(crate) async fn a_shutdown_ends_health_watches(kind: Kind) {
    let server = start().await;
    let states = json!({ "services": ["", "no.Such"], "watch": "" });
    let mut health = kind.client(server.address, "health", states);
    assert_eq!(health.next().await, json!({ "check": "", "status": "SERVING" }));
    assert_eq!(health.next().await, json!({ "check": "no.Such", "status": "NOT_FOUND" }));
    assert_eq!(health.next().await, json!({ "watch": "SERVING" }));
    server.stop().await;
    assert_eq!(health.next().await, json!({ "watch": "NOT_SERVING" }));
}
