//! The retries of the channel, against the server of a peer.

use std::time::{Duration, Instant};

use comms_core::resilience::{Policy, PolicyConfig};
use comms_grpc::{Channel, from_status, keyed, tonic};
use serde_json::{Value, json};
use tonic::{Code, Request, Status};

use crate::{
    calls::{LIMIT, ask, unary},
    connections::{calls, executions},
    programs::{Kind, Server},
};

/// Makes a call with an idempotency key, the `key` of the request.
async fn ask_keyed(channel: &Channel, request: Value) -> Result<Value, Status> {
    let call = keyed(Request::new(request.to_string()), request["key"].as_str().unwrap()).unwrap();
    let response = unary(channel.clone(), call).await?;
    Ok(serde_json::from_str(response.get_ref()).unwrap())
}

fn fails(key: &str, times: u32) -> Value {
    json!({ "action": "fail", "key": key, "times": times, "code": "UNAVAILABLE" })
}

fn uri(server: &Server) -> String {
    format!("http://{}", server.address)
}

/// The server ends each connection after about one second. A call that the GOAWAY excludes is made on another one.
pub(crate) async fn no_call_is_lost_when_connections_reach_their_maximum_age(kind: Kind) {
    let age = json!({ "grpc.max_connection_age_ms": 1_000, "grpc.max_connection_age_grace_ms": 2_000 });
    let server = kind.server(age).await;
    let (channel, until) = (server.channel(), Instant::now() + Duration::from_secs(6));
    let (done, failed) = calls(&channel, until).await;
    assert!(done.len() > 80, "the calls stand still: {}", done.len());
    assert!(failed.is_empty(), "{failed:?}");
    let executed = executions(&channel).await;
    assert!(done.iter().all(|key| executed[key] == 1), "{executed:?}");
    println!("{} calls, none lost", done.len());
}

pub(crate) async fn the_channel_retries_a_call_with_an_idempotency_key(kind: Kind) {
    let server = kind.server(json!({})).await;
    let response = ask_keyed(&server.channel(), fails("k", 2)).await.unwrap();
    assert_eq!((&response["attempts"], &response["previous"]), (&json!(3), &json!([null, "1", "2"])));
}

pub(crate) async fn the_channel_retries_a_call_of_an_idempotent_method(kind: Kind) {
    let server = kind.server(json!({})).await;
    let channel = Channel::builder(uri(&server)).idempotent_methods(["/peers.Peer/Unary"]).build().unwrap();
    assert_eq!(ask(channel, fails("k", 1)).await.unwrap()["attempts"], 2);
}

pub(crate) async fn the_channel_waits_as_long_as_the_server_asks(kind: Kind) {
    let server = kind.server(json!({})).await;
    let mut request = fails("k", 1);
    request["pushback"] = json!("700");
    let response = ask_keyed(&server.channel(), request).await.unwrap();
    assert!(response["gaps_ms"][0].as_u64().unwrap() >= 700, "{response}");
}

pub(crate) async fn a_negative_or_malformed_pushback_ends_the_call(kind: Kind) {
    let server = kind.server(json!({})).await;
    for pushback in ["-1", "soon"] {
        let mut request = fails(pushback, 1);
        request["pushback"] = json!(pushback);
        let status = ask_keyed(&server.channel(), request.clone()).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{pushback}");
        // The second call is the second attempt that the server notes.
        assert_eq!(ask(server.channel(), request).await.unwrap()["attempts"], 2, "{pushback}");
    }
}

pub(crate) async fn the_deadline_of_an_attempt_is_that_of_the_server(kind: Kind) {
    let server = kind.server(json!({})).await;
    let config = PolicyConfig::interactive().attempt_timeout(Duration::from_millis(400));
    let policy = Policy::new("peers attempts", config).unwrap();
    let channel = Channel::builder(uri(&server)).timeout(LIMIT).policy(policy).build().unwrap();
    let remaining = ask(channel, json!({ "action": "echo" })).await.unwrap()["remaining_ms"].clone();
    assert!((1..=400).contains(&remaining.as_i64().unwrap()), "{remaining}");
}

pub(crate) async fn calls_with_a_key_survive_the_end_of_one_of_two_servers(kind: Kind) {
    let (mut ends, stays) = (kind.server(json!({})).await, kind.server(json!({})).await);
    let channel = Channel::builder(uri(&ends)).endpoints([uri(&stays)]).timeout(LIMIT).build().unwrap();
    for n in 0..60 {
        if n == 20 {
            ends.program.kill();
        }
        let request = json!({ "action": "sleep", "ms": 10, "key": n.to_string() });
        ask_keyed(&channel, request).await.unwrap_or_else(|status| panic!("{n}: {:?}", from_status(&status)));
    }
}

pub(crate) async fn a_call_waits_for_a_server_that_is_not_there_yet(kind: Kind) {
    let mut server = kind.server(json!({})).await;
    let port = server.address.port();
    server.program.kill();
    let channel = Channel::builder(uri(&server)).timeout(LIMIT).wait_for_ready(true).build().unwrap();
    let waiting = tokio::spawn(ask(channel, json!({ "action": "echo" })));
    tokio::time::sleep(Duration::from_millis(500)).await;
    let _server = kind.server_on(port, json!({})).await;
    waiting.await.unwrap().unwrap();
}
