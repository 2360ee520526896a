//! Hedges and the service config: its codes, its throttle, and its updates.

use comms_core::resilience::RetryBudgetConfig;
use comms_grpc::Channel;
use h2::Reason;
use tonic::Code;

use super::{METHOD, after, policy};
use crate::{
    h2_peer::{Answer, H2Peer},
    service_config::{builder, keyed_call, method},
    support::{SECOND, call, eventually, millis},
};

/// Returns a config that hedges the method after `delay`, with the further fields `fields`.
fn hedging(delay: &str, fields: &str) -> String {
    method(&format!(r#""hedgingPolicy": {{"maxAttempts": 2, "hedgingDelay": "{delay}"{fields}}}"#))
}

/// Adds a throttle that permits two attempts while no call succeeds.
fn throttled(config: &str) -> String {
    let throttling = r#"{"retryThrottling": {"maxTokens": 6, "tokenRatio": 0.1}"#;
    if config == "{}" {
        format!("{throttling}}}")
    } else {
        config.replacen('{', &format!("{throttling}, "), 1)
    }
}

/// gRFC A6. The kind of the failure would end the call.
#[tokio::test]
async fn a_non_fatal_code_sends_the_next_attempt_at_once() {
    for (codes, answered) in [("[\"INTERNAL\"]", true), ("[13, 14]", true), ("[\"UNAVAILABLE\"]", false)] {
        let peer =
            H2Peer::start(|n| if n == 0 { Answer::Status("13", vec![]) } else { Answer::Success }).await;
        let config = hedging("60s", &format!(", \"nonFatalStatusCodes\": {codes}"));
        let channel = builder(&peer).service_config(config).build().unwrap();
        let result = keyed_call(&channel).await;
        assert_eq!(result.is_ok(), answered, "{codes} {result:?}");
        assert_eq!(peer.received().len(), if answered { 2 } else { 1 }, "{codes}");
        // A listed code does not make a call safe to repeat.
        let peer = H2Peer::start(|_| Answer::Status("13", vec![])).await;
        let config = hedging("0s", &format!(", \"nonFatalStatusCodes\": {codes}"));
        let channel = builder(&peer).service_config(config).build().unwrap();
        assert_eq!(call(&channel, "report", 0).await.unwrap_err().code(), Code::Internal);
        assert_eq!(peer.received().len(), 1, "{codes}");
    }
}

/// The first attempt has no answer, and the second one fails. A failure that was provably not executed would hide that the
/// first attempt may have been.
#[tokio::test]
async fn a_fatal_code_ends_the_call_unless_the_attempt_was_provably_not_executed() {
    let proof = || vec![("comms-not-executed", "not_executed")];
    for (fields, code, proof, is_fatal) in [
        (", \"nonFatalStatusCodes\": [\"UNAVAILABLE\"]", "9", vec![], true),
        (", \"nonFatalStatusCodes\": []", "9", vec![], true),
        (", \"nonFatalStatusCodes\": [9]", "9", vec![], false),
        (", \"nonFatalStatusCodes\": [9]", "14", proof(), false),
        ("", "9", vec![], false),
    ] {
        let answer = Answer::Status(code, proof);
        let peer = H2Peer::start(move |n| if n == 0 { Answer::Silence } else { answer.clone() }).await;
        let timeout = if is_fatal { SECOND * 20 } else { millis(300) };
        let builder = builder(&peer).timeout(timeout).service_config(hedging("0.01s", fields));
        let status = keyed_call(&builder.build().unwrap()).await.unwrap_err();
        let expected = if is_fatal { Code::FailedPrecondition } else { Code::DeadlineExceeded };
        assert_eq!(status.code(), expected, "{fields} {code}");
        eventually("the first attempt is cancelled", || peer.resets() == [Reason::CANCEL]).await;
    }
}

/// One bucket bounds the retries and the hedges of all methods (gRFC A6), also the hedges of the builder.
#[tokio::test]
async fn a_throttle_pays_for_the_hedges_of_the_builder_instead_of_the_policy() {
    for has_own_policy in [false, true] {
        let peer = H2Peer::start(|_| Answer::Silence).await;
        let payer = policy(RetryBudgetConfig::default());
        let channel = builder(&peer).timeout(millis(150)).idempotent_methods([METHOD]);
        let channel = channel.hedge([METHOD], after(10)).service_config(throttled("{}"));
        let channel = match has_own_policy {
            false => channel.policy(payer.clone()),
            true => channel.method_policy(METHOD, payer.clone()),
        };
        let channel = channel.build().unwrap();
        let full = payer.retry_budget().unwrap().available();
        for _ in 0..4 {
            call(&channel, "report", 0).await.unwrap_err();
        }
        let hedged = || peer.received().len();
        if has_own_policy {
            assert_eq!(hedged(), 4 + 4, "the policy of the method replaces the throttle");
            continue;
        }
        assert_eq!(hedged(), 4 + 2, "two hedges leave more than half of the tokens");
        assert_eq!(payer.retry_budget().unwrap().available(), full);
        channel.update_service_config("{}").unwrap();
        call(&channel, "report", 0).await.unwrap_err();
        assert_eq!((hedged(), channel.snapshot().hedges[0].hedges), (6 + 2, 3), "the policy pays again");
    }
}

#[tokio::test]
async fn a_hedge_keeps_its_counts_if_an_update_does_not_change_its_settings() {
    let peer = H2Peer::start(|_| Answer::Silence).await;
    let channel = builder(&peer).timeout(millis(100)).service_config(hedging("0.01s", "")).build().unwrap();
    let counts = |channel: &Channel| channel.snapshot().hedges.iter().map(|h| h.hedges).collect::<Vec<_>>();
    keyed_call(&channel).await.unwrap_err();
    assert_eq!(counts(&channel), [1]);
    let other = hedging("0.01s", ", \"nonFatalStatusCodes\": [14]");
    let other = other.replace("\"hedgingPolicy\"", "\"timeout\": \"0.05s\", \"hedgingPolicy\"");
    for config in [hedging("0.01s", ""), throttled(&hedging("0.01s", "")), other] {
        let before = counts(&channel)[0];
        channel.update_service_config(&config).unwrap();
        keyed_call(&channel).await.unwrap_err();
        assert_eq!(counts(&channel), [before + 1], "{config}");
    }
    channel.update_service_config(&hedging("0.02s", "")).unwrap();
    assert_eq!(counts(&channel), [0], "another delay");
}
