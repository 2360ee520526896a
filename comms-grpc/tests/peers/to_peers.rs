//! Calls from the channel to the server of a peer.

use std::time::Duration;

use comms_core::{
    ErrorKind,
    resilience::{Policy, PolicyConfig},
};
use comms_grpc::{Channel, from_status, keyed, tonic};
use serde_json::{Value, json};
use tonic::{Code, Request, Status};

use crate::{
    calls::{ask, stream, unary},
    programs::{Kind, Server},
};

/// Makes a call under a policy that retries it as a call with an idempotency key.
async fn with_retries(channel: &Channel, request: &Value) -> Value {
    let policy = Policy::new("peers", PolicyConfig::interactive()).unwrap();
    let attempt = || async {
        let request = keyed(Request::new(request.to_string()), request["key"].as_str().unwrap())?;
        unary(channel.clone(), request).await.map_err(|status| from_status(&status))
    };
    let response = policy.run_idempotent(attempt).await.unwrap();
    serde_json::from_str(response.get_ref()).unwrap()
}

async fn failure(channel: Channel, request: Value) -> Status {
    ask(channel, request).await.unwrap_err()
}

pub(crate) async fn an_unavailable_call_with_an_idempotency_key_is_retried(kind: Kind) {
    let server = kind.server(json!({})).await;
    let request = json!({ "action": "fail", "key": "k", "times": 1, "code": "UNAVAILABLE" });
    let response = with_retries(&server.channel(), &request).await;
    assert_eq!(response["attempts"], 2);
}

pub(crate) async fn a_retry_waits_as_long_as_the_server_asks(kind: Kind) {
    let server = kind.server(json!({})).await;
    let request =
        json!({ "action": "fail", "key": "k", "times": 1, "code": "UNAVAILABLE", "pushback": "700" });
    let response = with_retries(&server.channel(), &request).await;
    assert_eq!(response["attempts"], 2);
    assert!(response["gaps_ms"][0].as_u64().unwrap() >= 700, "{response}");
}

pub(crate) async fn an_unavailable_call_without_a_proof_is_attempted_once(kind: Kind) {
    let server = kind.server(json!({})).await;
    let request = json!({ "action": "fail", "key": "k", "times": 1, "code": "UNAVAILABLE", "pushback": "1" });
    let status = failure(server.channel(), request.clone()).await;
    let error = from_status(&status);
    assert_eq!((status.code(), error.kind), (Code::Unavailable, ErrorKind::Indeterminate));
    assert_eq!(error.retry_after, Some(Duration::from_millis(1)));
    // The second call is the second attempt that the server notes.
    assert_eq!(ask(server.channel(), request).await.unwrap()["attempts"], 2);
}

pub(crate) async fn a_negative_or_malformed_pushback_allows_no_retry(kind: Kind) {
    let server = kind.server(json!({})).await;
    for pushback in ["-1", "soon"] {
        let request = json!({
            "action": "fail", "key": pushback, "times": 1, "code": "UNAVAILABLE", "pushback": pushback,
        });
        let error = from_status(&failure(server.channel(), request).await);
        assert_eq!(error.retry_after, Some(Duration::MAX), "{pushback}");
    }
}

pub(crate) async fn the_server_observes_the_deadline_and_the_end_of_the_call(kind: Kind) {
    let server = kind.server(json!({})).await;
    let address = format!("http://{}", server.address);
    let channel = Channel::builder(address).timeout(Duration::from_secs(2)).build().unwrap();
    let remaining = ask(channel.clone(), json!({ "action": "echo" })).await.unwrap()["remaining_ms"].clone();
    assert!((1..=2_000).contains(&remaining.as_i64().unwrap()), "{remaining}");

    let status = failure(channel, json!({ "action": "sleep", "ms": 20_000 })).await;
    let error = from_status(&status);
    assert_eq!((status.code(), error.kind), (Code::DeadlineExceeded, ErrorKind::Indeterminate));
    seen(&server, "the handler is cancelled", |seen| seen["cancelled"] == 1).await;
}

pub(crate) async fn a_dropped_call_is_cancelled_at_the_server(kind: Kind) {
    let server = kind.server(json!({})).await;
    let call = tokio::spawn(ask(server.channel(), json!({ "action": "sleep", "ms": 20_000 })));
    seen(&server, "the handler begins", |seen| seen["begun"] == 1).await;
    call.abort();
    seen(&server, "the handler is cancelled", |seen| seen["cancelled"] == 1).await;
}

pub(crate) async fn the_details_of_a_status_are_read(kind: Kind) {
    let server = kind.server(json!({})).await;
    let status = failure(server.channel(), json!({ "action": "details" })).await;
    assert_eq!((status.code(), status.message()), (Code::ResourceExhausted, "no quota: щедро"));
    // The bytes of google.rpc.Status hold the type of the detail.
    let type_url = b"type.googleapis.com/google.rpc.RetryInfo";
    assert!(status.details().windows(type_url.len()).any(|part| part == type_url), "{:?}", status.details());
}

pub(crate) async fn big_messages_pass_between_the_channel_and_the_peer(kind: Kind) {
    let server = kind.server(json!({})).await;
    let request = json!({ "action": "echo", "size": 3_000_000, "text": "y".repeat(3_000_000) });
    let response = ask(server.channel(), request).await.unwrap();
    assert_eq!(response["text"].as_str().unwrap().len(), 3_000_000);

    let request = json!({ "count": 200, "size": 100_000, "ms": 0 });
    let mut messages = stream(server.channel(), request).await.unwrap();
    let mut size = 0;
    while let Some(text) = messages.message().await.unwrap() {
        size += text.len();
    }
    assert_eq!(size, 20_000_000);
}

/// Waits until the server reports what `test` accepts.
pub(crate) async fn seen(server: &Server, what: &str, test: impl Fn(&Value) -> bool) {
    for _ in 0..400 {
        let seen = ask(server.channel(), json!({ "action": "seen" })).await.unwrap();
        if test(&seen) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("not within 10 s: {what}");
}
