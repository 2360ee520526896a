//! The change of a service config while calls run, and the parts that cannot change.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Instant,
};

use comms_core::{ErrorKind, resilience::BreakerState};
use comms_grpc::{Balance, Channel, from_status, tonic};
use futures::future::join_all;
use tonic::Code;

use crate::{
    h2_peer::{Answer, H2Peer},
    service_config::{builder, failing, keyed_call, method, retry},
    support::{SECOND, call, eventually, millis},
};

#[tokio::test(flavor = "multi_thread")]
async fn updates_under_load_fail_no_call_and_keep_the_connection() {
    let peer = H2Peer::start(|_| Answer::Success).await;
    let channel = builder(&peer).timeout(SECOND * 20).build().unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let callers = (0..16).map(|_| {
        let (channel, done) = (channel.clone(), done.clone());
        tokio::spawn(async move {
            let mut calls = 0;
            while !done.load(SeqCst) {
                keyed_call(&channel).await.unwrap();
                calls += 1;
            }
            calls
        })
    });
    let callers: Vec<_> = callers.collect();
    for number in 0..200 {
        let json = method(&format!("{}, \"timeout\": \"{}s\"", retry(2 + number % 3, "14"), 5 + number));
        channel.update_service_config(if number % 4 == 0 { "{}" } else { &json }).unwrap();
        channel.update_service_config("{ \"methodConfig\": [ { \"timeout\": \"?\" } ] }").unwrap_err();
        tokio::time::sleep(millis(1)).await;
    }
    done.store(true, SeqCst);
    let calls: u32 = join_all(callers).await.into_iter().map(Result::unwrap).sum();
    assert!(calls > 100, "{calls}");
    assert_eq!(peer.connections.load(SeqCst), 1);
}

#[tokio::test]
async fn an_update_applies_to_new_calls_and_a_bad_one_changes_nothing() {
    let peer = H2Peer::start(|_| Answer::Silence).await;
    let channel =
        builder(&peer).timeout(SECOND * 20).service_config(method("\"timeout\": \"15s\"")).build().unwrap();
    let before = tokio::spawn({
        let channel = channel.clone();
        async move { call(&channel, "report", 0).await }
    });
    eventually("the call is sent", || peer.received().len() == 1).await;
    let started = Instant::now();
    channel.update_service_config(&method("\"timeout\": \"0.1s\"")).unwrap();
    for json in [method("\"timeout\": \"0\""), method(&retry(1, "14")), "no JSON".to_owned()] {
        let error = channel.update_service_config(&json).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Invalid);
        assert!(error.to_string().contains("test-service"), "{error}");
    }
    let status = call(&channel, "report", 0).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert!(started.elapsed() < SECOND * 10);
    assert!(!before.is_finished(), "a call keeps the settings with which it started");
    before.abort();
}

/// Breakers, budgets and tokens survive an update.
#[tokio::test]
async fn an_update_keeps_the_breaker_open_and_the_tokens_spent() {
    let peer = failing("14").await;
    let throttled = |extra: &str| {
        method(&retry(3, "14")).replacen(
            '{',
            &format!(r#"{{"retryThrottling": {{"maxTokens": 4, "tokenRatio": 1}}, {extra} "#),
            1,
        )
    };
    let channel = builder(&peer).service_config(throttled("")).build().unwrap();
    keyed_call(&channel).await.unwrap_err();
    assert_eq!(peer.received().len(), 2, "one retry leaves half of the tokens");
    channel.update_service_config(&throttled("\"x\": 1,")).unwrap();
    keyed_call(&channel).await.unwrap_err();
    assert_eq!(peer.received().len(), 3, "no token");
    for _ in 0..20 {
        let _ = keyed_call(&channel).await;
    }
    let state = || channel.snapshot().policy.breaker.unwrap().state;
    assert_eq!(state(), BreakerState::Open);
    channel.update_service_config("{}").unwrap();
    assert_eq!(state(), BreakerState::Open);
    assert_eq!(from_status(&keyed_call(&channel).await.unwrap_err()).kind, ErrorKind::Rejected);
}

#[tokio::test]
async fn the_choice_of_endpoints_is_that_of_the_build() {
    let robin = r#"{"loadBalancingConfig": [{"round_robin": {}}]}"#;
    let least = r#"{"loadBalancingConfig": [{"least_request_experimental": {}}]}"#;
    let first = r#"{"loadBalancingConfig": [{"pick_first": {}}]}"#;
    let builder = || Channel::builder("http://127.0.0.1:1").endpoints(["http://127.0.0.1:2"]);
    let channel = builder().service_config(least).build().unwrap();
    channel.update_service_config(least).unwrap();
    for other in [robin, first, "{}"] {
        channel.update_service_config(other).unwrap_err();
    }
    let channel = builder().service_config(least).balance(Balance::RoundRobin).build().unwrap();
    channel.update_service_config(least).unwrap();
    let error = builder().service_config(first).build().unwrap_err();
    assert!(error.chain().to_string().contains("none of pick_first is supported"), "{error}");
    Channel::builder("http://127.0.0.1:1").service_config(first).build().unwrap();
}

/// A hedge takes its token from the throttle of all calls, and an update removes the hedges.
#[tokio::test]
async fn a_throttle_ends_the_hedges_and_an_update_removes_them() {
    let peer = H2Peer::start(|_| Answer::Silence).await;
    let hedging = method(r#""hedgingPolicy": {"maxAttempts": 2, "hedgingDelay": "0.01s"}"#);
    let throttling = r#"{"retryThrottling": {"maxTokens": 6, "tokenRatio": 0.1}, "#;
    let channel = builder(&peer).timeout(millis(150)).service_config(hedging.replacen('{', throttling, 1));
    let channel = channel.build().unwrap();
    for _ in 0..4 {
        keyed_call(&channel).await.unwrap_err();
    }
    assert_eq!(peer.received().len(), 4 + 2, "two hedges leave more than half of the tokens");
    channel.update_service_config("{}").unwrap();
    assert!(channel.snapshot().hedges.is_empty());
}

/// gRFC A17. A peer that does not implement the check counts as healthy.
#[tokio::test]
async fn a_health_check_of_the_config_watches_the_peer() {
    let config = r#"{"healthCheckConfig": {"serviceName": "test.Service"}}"#;
    let peer =
        H2Peer::start(|number| if number == 0 { Answer::Status("12", vec![]) } else { Answer::Success })
            .await;
    let channel = builder(&peer).service_config(config).build().unwrap();
    call(&channel, "report", 0).await.unwrap();
    assert_eq!(peer.received().len(), 2, "the watch, and the call");
    let error = channel.update_service_config("{}").unwrap_err();
    assert!(error.chain().to_string().contains("healthCheckConfig: cannot change"), "{error}");
}
