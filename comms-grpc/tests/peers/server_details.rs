//! What clients of peers read of the server beyond responses: the details of errors, and the health of a service.

use comms_grpc::ServerConfig;
use serde_json::json;

use crate::{
    programs::{Kind, asking},
    service::Running,
};

pub(crate) async fn the_wait_of_a_refusal_is_read_as_retry_info(kind: Kind) {
    let server = Running::start(ServerConfig::default()).await;
    let refused = json!({ "action": "refuse", "times": 1, "ms": 1_500 });
    let result = kind.call(server.address, asking(refused)).await;
    assert_eq!(result["trailers"]["grpc-retry-pushback-ms"], "1500", "{result}");
    let details = result["details"].as_array().unwrap();
    let of_type = |name: &str| {
        details.iter().find(|detail| detail["@type"] == format!("type.googleapis.com/google.rpc.{name}"))
    };
    assert_eq!(of_type("RetryInfo").expect("RetryInfo")["retryDelay"], "1.500s", "{result}");
    assert_eq!(of_type("ErrorInfo").expect("ErrorInfo")["domain"], "comms", "{result}");
    server.stop().await;
}

pub(crate) async fn the_health_of_a_service_is_that_of_the_server(kind: Kind) {
    let server = Running::start(ServerConfig::default()).await;
    let states = json!({ "services": ["", "peers.Peer", "no.Such"], "watch": "peers.Peer" });
    let mut health = kind.client(server.address, "health", states);
    for (name, status) in [("", "SERVING"), ("peers.Peer", "SERVING"), ("no.Such", "NOT_FOUND")] {
        assert_eq!(health.next().await, json!({ "check": name, "status": status }));
    }
    assert_eq!(health.next().await, json!({ "watch": "SERVING" }));
    server.stop().await;
    assert_eq!(health.next().await, json!({ "watch": "NOT_SERVING" }));
}
