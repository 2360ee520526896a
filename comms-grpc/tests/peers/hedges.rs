//! Hedged calls of the channel, against the server of a peer.

use std::time::Duration;

use comms_core::resilience::{HedgeConfig, HedgeDelay};
use comms_grpc::{Channel, tonic};
use serde_json::{Value, json};
use tonic::Code;

use crate::{
    calls::ask,
    programs::{Kind, Server},
    to_peers::seen,
};

const METHOD: &str = "/peers.Peer/Unary";

/// A channel whose calls get a second attempt after `delay`.
fn hedged(server: &Server, delay: Duration, timeout: Duration) -> Channel {
    let config = HedgeConfig::default().delay(HedgeDelay::Fixed(delay));
    let builder = Channel::builder(format!("http://{}", server.address)).timeout(timeout);
    builder.idempotent_methods([METHOD]).hedge([METHOD], config).build().unwrap()
}

fn fails(pushback: Option<&str>) -> Value {
    let mut request = json!({ "action": "fail", "key": "k", "times": 1, "code": "UNAVAILABLE" });
    pushback.iter().for_each(|wait| request["pushback"] = json!(wait));
    request
}

pub(crate) async fn a_hedge_carries_its_number_and_waits_as_long_as_the_server_asks(kind: Kind) {
    let (long, limit) = (Duration::from_secs(10), Duration::from_secs(20));
    let server = kind.server(json!({})).await;
    let response = ask(hedged(&server, long, limit), fails(None)).await.unwrap();
    assert_eq!((&response["attempts"], &response["previous"]), (&json!(2), &json!([null, "1"])));

    let server = kind.server(json!({})).await;
    let response = ask(hedged(&server, long, limit), fails(Some("700"))).await.unwrap();
    assert!(response["gaps_ms"][0].as_u64().unwrap() >= 700, "{response}");

    let server = kind.server(json!({})).await;
    let status = ask(hedged(&server, long, limit), fails(Some("-1"))).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
}

pub(crate) async fn all_attempts_of_a_hedged_call_are_cancelled_at_the_server(kind: Kind) {
    let server = kind.server(json!({})).await;
    let channel = hedged(&server, Duration::from_millis(100), Duration::from_secs(20));
    let call = tokio::spawn(ask(channel, json!({ "action": "sleep", "ms": 20_000 })));
    seen(&server, "two handlers begin", |seen| seen["begun"] == 2).await;
    call.abort();
    seen(&server, "the handlers are cancelled", |seen| seen["cancelled"] == 2).await;
}
