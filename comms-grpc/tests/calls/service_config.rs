//! Settings of methods from a service config, and their change while calls run.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Instant,
};

use comms_core::{
    ErrorKind,
    resilience::{Backoff, BreakerState, Policy, PolicyConfig, RetryConfig},
};
use comms_grpc::{Balance, Channel, ChannelBuilder, ServerConfig, from_status, keyed, tonic};
use futures::{future::join_all, stream};
use http::uri::PathAndQuery;
use tokio::{net::TcpListener, time::timeout};
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

use crate::{
    h2_peer::{Answer, H2Peer},
    support::{
        Observation, SECOND, TestRequest, TestService, call, eventually, millis, start, start_on, unary,
    },
};

const METHOD: &str = "/test.Service/Unary";

fn builder(peer: &H2Peer) -> ChannelBuilder {
    Channel::builder(format!("http://{}", peer.address)).peer("test-service")
}

/// Returns a config with the fields `fields` for the method of the test.
fn method(fields: &str) -> String {
    format!(
        r#"{{"methodConfig": [{{"name": [{{"service": "test.Service", "method": "Unary"}}], {fields}}}]}}"#
    )
}

/// Returns a retry policy of `attempts` for the codes `codes`.
fn retry(attempts: u32, codes: &str) -> String {
    format!(
        r#""retryPolicy": {{"maxAttempts": {attempts}, "initialBackoff": "0.001s", "maxBackoff": "0.001s",
            "backoffMultiplier": 1, "retryableStatusCodes": [{codes}]}}"#
    )
}

async fn keyed_call(channel: &Channel) -> Result<Observation, Status> {
    let request = Request::new(TestRequest { action: "report".into(), millis: 0 });
    unary(channel.clone(), keyed(request, "order-7").unwrap()).await
}

async fn failing(status: &'static str) -> H2Peer {
    H2Peer::start(move |_| Answer::Status(status, vec![])).await
}

/// A listed code permits a retry. Only a key, an idempotent method or a proof makes the retry safe.
#[tokio::test]
async fn a_listed_code_is_retried_only_if_the_call_may_be_repeated() {
    const FOUR: usize = 4;
    for (status, codes, is_keyed, attempts) in [
        ("14", "\"UNAVAILABLE\"", true, FOUR),
        ("14", "\"UNAVAILABLE\"", false, 1),
        ("14", "\"INTERNAL\"", true, 1),
        // Codes that the table of kinds never retries, or only with a changed call.
        ("10", "\"ABORTED\"", true, FOUR),
        ("10", "10", false, 1),
        ("5", "\"NOT_FOUND\", \"INTERNAL\"", true, FOUR),
        ("8", "\"UNAVAILABLE\"", true, 1),
    ] {
        let peer = failing(status).await;
        let channel = builder(&peer).service_config(method(&retry(4, codes))).build().unwrap();
        let result = if is_keyed { keyed_call(&channel).await } else { call(&channel, "report", 0).await };
        assert_eq!(result.unwrap_err().code(), Code::from_bytes(status.as_bytes()));
        assert_eq!(peer.received().len(), attempts, "{status} {codes} {is_keyed}");
    }
    let peer = failing("14").await;
    let channel = builder(&peer).service_config(method(&retry(4, "14"))).idempotent_methods([METHOD]);
    call(&channel.build().unwrap(), "report", 0).await.unwrap_err();
    assert_eq!(peer.received().len(), FOUR);
}

/// Other implementations report it as UNAVAILABLE.
#[tokio::test]
async fn a_lost_connection_is_retried_as_unavailable() {
    for (codes, is_retried) in [("\"UNAVAILABLE\"", true), ("\"UNKNOWN\"", false)] {
        let peer = H2Peer::start(|number| if number == 0 { Answer::Cut } else { Answer::Success }).await;
        let channel = builder(&peer).service_config(method(&retry(2, codes))).build().unwrap();
        assert_eq!(keyed_call(&channel).await.is_ok(), is_retried, "{codes}");
    }
}

/// A refusal that is provably not executed needs no key, and no wait of the peer if its code is listed.
#[tokio::test]
async fn a_proven_refusal_is_retried_if_its_code_is_listed() {
    for (codes, attempts) in [("\"RESOURCE_EXHAUSTED\"", 3), ("\"UNAVAILABLE\"", 1)] {
        let marker = || Answer::Status("8", vec![("comms-not-executed", "rejected")]);
        assert_eq!(comms_core::wire::NOT_EXECUTED, "comms-not-executed");
        let peer = H2Peer::start(move |_| marker()).await;
        let channel = builder(&peer).service_config(method(&retry(3, codes))).build().unwrap();
        let error = from_status(&call(&channel, "report", 0).await.unwrap_err());
        assert_eq!((error.kind, peer.received().len()), (ErrorKind::Rejected, attempts), "{codes}");
    }
}

#[tokio::test]
async fn the_calls_of_a_configured_method_share_the_guards_of_the_channel() {
    let peer = failing("14").await;
    let json = method(&format!("{}, \"timeout\": \"3s\"", retry(5, "14")));
    let channel = builder(&peer).service_config(json).build().unwrap();
    for _ in 0..4 {
        keyed_call(&channel).await.unwrap_err();
    }
    let policy = channel.snapshot().policy;
    assert_eq!(policy.breaker.unwrap().state, BreakerState::Open, "twenty failures in all");
    assert!(policy.budget.unwrap() <= 100 - 16 + 1, "{:?}", policy.budget);
}

#[tokio::test]
async fn settings_in_code_precede_the_config() {
    let backoff = Backoff::new(millis(1), millis(1)).unwrap();
    let twice = PolicyConfig::none().retry(RetryConfig::default().max_attempts(2).backoff(backoff));
    let policy = Policy::new("twice", twice).unwrap();
    let peer = failing("14").await;
    let json = method(&retry(4, "13"));
    let channel = builder(&peer).method_policy(METHOD, policy).service_config(json.clone()).build().unwrap();
    keyed_call(&channel).await.unwrap_err();
    assert_eq!(peer.received().len(), 2, "the policy of the method");

    let peer = failing("13").await;
    keyed_call(&builder(&peer).without_policy().service_config(json).build().unwrap()).await.unwrap_err();
    assert_eq!(peer.received().len(), 1, "retries are off");
}

#[tokio::test]
async fn the_timeout_of_a_method_ends_its_calls_if_it_is_shorter_than_that_of_the_channel() {
    let peer = H2Peer::start(|_| Answer::Silence).await;
    let limits = |channel, method| (millis(channel), format!("\"timeout\": \"{method}s\""));
    for (channel, fields) in [limits(20_000, "0.2"), limits(200, "20")] {
        let channel = builder(&peer).timeout(channel).service_config(method(&fields)).build().unwrap();
        let ended = timeout(SECOND * 10, call(&channel, "report", 0)).await.expect("ends in time");
        assert_eq!(ended.unwrap_err().code(), Code::DeadlineExceeded, "{fields}");
        let failures = channel.snapshot().endpoints[0].failed;
        assert_eq!(failures, 1, "a peer that does not answer within the timeout has failed");
    }
}

#[tokio::test]
async fn an_attempt_that_takes_too_long_is_replaced() {
    let peer = H2Peer::start(|number| if number == 0 { Answer::Silence } else { Answer::Success }).await;
    let policy =
        retry(2, "14").replace("\"maxAttempts\"", "\"perAttemptRecvTimeout\": \"0.1s\", \"maxAttempts\"");
    let channel = builder(&peer).timeout(SECOND * 20).service_config(method(&policy)).build().unwrap();
    timeout(SECOND * 10, keyed_call(&channel)).await.expect("ends in time").unwrap();
    assert_eq!(peer.received().len(), 2);
}

#[tokio::test]
async fn wait_for_ready_is_a_setting_of_the_method_unless_the_code_sets_it() {
    let json = method("\"waitForReady\": true");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let builder = || Channel::builder(format!("http://{address}")).timeout(SECOND * 20).without_policy();
    let quick = Backoff::new(millis(20), millis(20)).unwrap();
    let refused = builder().wait_for_ready(false).service_config(json.clone()).build().unwrap();
    for _ in 0..2 {
        let error = from_status(&call(&refused, "report", 0).await.unwrap_err());
        assert_eq!(error.kind, ErrorKind::NotExecuted);
    }
    let channel = builder().reconnect_backoff(quick).service_config(json).build().unwrap();
    let waiting = tokio::spawn(async move { call(&channel, "report", 0).await });
    tokio::time::sleep(millis(200)).await;
    let service = TestService::default();
    let _server = start_on(TcpListener::bind(address).await.unwrap(), service, ServerConfig::default());
    timeout(SECOND * 10, waiting).await.expect("ends in time").unwrap().unwrap();
}

#[tokio::test]
async fn a_request_over_the_limit_is_not_sent() {
    let peer = H2Peer::start(|_| Answer::Success).await;
    let json = method("\"maxRequestMessageBytes\": 100");
    let channel = builder(&peer).service_config(json).build().unwrap();
    let request = |size| Request::new(TestRequest { action: "x".repeat(size), millis: 0 });
    let status = unary(channel.clone(), request(99)).await.unwrap_err();
    assert_eq!((status.code(), from_status(&status).kind), (Code::ResourceExhausted, ErrorKind::Invalid));
    assert!(status.message().contains("limit of 100 bytes"), "{status:?}");
    assert_eq!(peer.received().len(), 0);
    unary(channel.clone(), request(98)).await.unwrap();

    // A later message of a stream: what was sent before may have been processed.
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await.unwrap();
    let path = PathAndQuery::from_static("/test.Service/Unary");
    let messages = stream::unfold(0, |sent| async move {
        tokio::time::sleep(millis(20)).await;
        let size = [10, 10, 200][sent];
        Some((TestRequest { action: "x".repeat(size), millis: 0 }, sent + 1))
    });
    let codec = ProstCodec::<TestRequest, Observation>::default();
    let sent = grpc.client_streaming(Request::new(messages), path, codec).await;
    let status = sent.unwrap_err();
    assert_eq!(
        (status.code(), from_status(&status).kind),
        (Code::ResourceExhausted, ErrorKind::Indeterminate)
    );
}

#[tokio::test]
async fn a_response_over_the_limit_ends_the_call() {
    let server = start(TestService::default(), ServerConfig::default()).await;
    for (limit, fits) in [(10, false), (1_000, true)] {
        let json = method(&format!("\"maxResponseMessageBytes\": {limit}"));
        let channel =
            Channel::builder(format!("http://{}", server.address)).service_config(json).build().unwrap();
        let result = call(&channel, "report", 0).await;
        assert_eq!(result.as_ref().map_err(Status::code).err(), (!fits).then_some(Code::ResourceExhausted));
    }
}

/// gRFC A6: one throttle for all methods of the channel.
#[tokio::test]
async fn a_throttle_ends_the_retries_of_an_outage() {
    let peer = failing("14").await;
    let json = method(&retry(5, "14")).replacen(
        '{',
        r#"{"retryThrottling": {"maxTokens": 12, "tokenRatio": 0.1}, "#,
        1,
    );
    let channel = builder(&peer).service_config(json).build().unwrap();
    for _ in 0..10 {
        keyed_call(&channel).await.unwrap_err();
    }
    assert_eq!(peer.received().len(), 10 + 5, "five failures leave more than half of the tokens");
}

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

/// gRFC A6, as `ChannelBuilder::hedge`.
#[tokio::test]
async fn a_hedging_policy_sends_a_second_attempt_of_a_call_that_may_be_repeated() {
    let hedging = method(r#""hedgingPolicy": {"maxAttempts": 2, "hedgingDelay": "0.05s"}"#);
    let slow = || H2Peer::start(|number| if number == 0 { Answer::Silence } else { Answer::Success });
    let peer = slow().await;
    let channel = builder(&peer).timeout(SECOND * 20).service_config(hedging.clone()).build().unwrap();
    timeout(SECOND * 10, keyed_call(&channel)).await.expect("the hedge answers").unwrap();
    assert_eq!(peer.received().len(), 2);
    let hedges = channel.snapshot().hedges;
    assert_eq!((hedges.len(), hedges[0].hedges, hedges[0].wins), (1, 1, 1));

    let quick = |peer: &H2Peer| builder(peer).timeout(millis(300)).service_config(hedging.clone());
    let without_key = call(&quick(&slow().await).build().unwrap(), "report", 0).await;
    assert_eq!(without_key.unwrap_err().code(), Code::DeadlineExceeded);
    let without_retries = quick(&slow().await).without_policy().build().unwrap();
    assert_eq!(keyed_call(&without_retries).await.unwrap_err().code(), Code::DeadlineExceeded);
    assert!(without_retries.snapshot().hedges.is_empty());
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
