//! Channels with several endpoints.

use std::{sync::atomic::Ordering::SeqCst, time::Duration};

use comms_core::{
    ErrorKind,
    clock::Clock,
    context::{Context, Deadline},
    resilience::{Backoff, BreakerConfig, BreakerState, BulkheadConfig, Policy, PolicyConfig, RetryConfig},
};
use comms_grpc::{Balance, Channel, ChannelBuilder, EndpointState, ServerConfig, from_status, tonic};
use tokio::net::TcpListener;
use tonic::Code;

use crate::{
    h2_peer::{Answer, H2Peer},
    support::{SECOND, TestService, call, eventually, millis, server_streaming, start},
};

pub(crate) fn builder(peers: &[&H2Peer]) -> ChannelBuilder {
    let uris: Vec<_> = peers.iter().map(|peer| format!("http://{}", peer.address)).collect();
    Channel::builder(uris[0].clone()).endpoints(uris[1..].to_vec()).peer("test-service").without_policy()
}

/// Calls until each endpoint has a connection.
pub(crate) async fn connect_all(channel: &Channel) {
    let _ = call(channel, "report", 0).await;
    let all_ready = || channel.snapshot().endpoints.iter().all(|e| e.state == EndpointState::Ready);
    eventually("all endpoints are ready", all_ready).await;
}

pub(crate) async fn closed_port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

/// The guards of an endpoint: a breaker that opens after five failures in a row.
fn breaker() -> PolicyConfig {
    PolicyConfig::none().breaker(BreakerConfig::default())
}

#[tokio::test]
async fn calls_go_to_each_endpoint_in_turn() {
    let peers = [
        H2Peer::start(|_| Answer::Success).await,
        H2Peer::start(|_| Answer::Success).await,
        H2Peer::start(|_| Answer::Success).await,
    ];
    let channel = builder(&peers.each_ref()).build().unwrap();
    connect_all(&channel).await;
    let before = peers.each_ref().map(|peer| peer.received().len());
    for _ in 0..30 {
        call(&channel, "report", 0).await.unwrap();
    }
    let after = peers.each_ref().map(|peer| peer.received().len());
    assert_eq!([0, 1, 2].map(|i| after[i] - before[i]), [10, 10, 10]);
    assert!(peers.iter().all(|peer| peer.connections.load(SeqCst) == 1));
}

/// The endpoint is skipped after its first failed connection attempt. No call fails.
#[tokio::test]
async fn an_endpoint_that_is_down_is_skipped() {
    let peer = H2Peer::start(|_| Answer::Success).await;
    let channel = builder(&[&peer]).endpoints([closed_port().await]).build().unwrap();
    for _ in 0..20 {
        call(&channel, "report", 0).await.unwrap();
    }
    let snapshot = channel.snapshot();
    let states: Vec<_> = snapshot.endpoints.iter().map(|endpoint| endpoint.state).collect();
    assert_eq!(states, [EndpointState::Ready, EndpointState::Backoff]);
    assert_eq!(snapshot.endpoints[0].started, 20);
}

#[tokio::test]
async fn a_call_is_not_executed_if_no_endpoint_can_be_reached() {
    let channel = Channel::builder(closed_port().await).endpoints([closed_port().await]);
    let channel = channel.without_policy().build().unwrap();
    for _ in 0..2 {
        let status = call(&channel, "report", 0).await.unwrap_err();
        let error = from_status(&status);
        assert_eq!((status.code(), error.kind), (Code::Unavailable, ErrorKind::NotExecuted), "{status:?}");
        assert!(error.retry_after.is_some_and(|wait| wait > Duration::ZERO), "{status:?}");
        assert!(status.message().contains("refused"), "{status}");
    }
}

/// Only the endpoint that fails gets an open breaker.
#[tokio::test]
async fn an_endpoint_with_an_open_breaker_is_skipped() {
    let bad = H2Peer::start(|_| Answer::Status("14", vec![])).await;
    let good = H2Peer::start(|_| Answer::Success).await;
    let channel = builder(&[&bad, &good]).outliers(None).endpoint_policy(breaker()).build().unwrap();
    connect_all(&channel).await;
    for _ in 0..20 {
        let _ = call(&channel, "report", 0).await;
    }
    assert_eq!(bad.received().len(), 5, "the breaker opens after five failures in a row");
    for _ in 0..10 {
        call(&channel, "report", 0).await.unwrap();
    }
    let snapshot = channel.snapshot();
    let states: Vec<_> = snapshot.endpoints.iter().map(|e| e.breaker.as_ref().unwrap().state).collect();
    assert_eq!(states, [BreakerState::Open, BreakerState::Closed]);
    assert_eq!(snapshot.endpoints[0].failed, 5);

    let all_bad =
        builder(&[&bad, &bad]).endpoint_policy(PolicyConfig::none().bulkhead(BulkheadConfig::new(1)));
    let all_bad = all_bad.build().unwrap();
    let status = call(&all_bad, "report", 0).await.unwrap_err();
    assert_eq!(from_status(&status).kind, ErrorKind::Indeterminate, "an answer of the peer: {status:?}");
}

#[tokio::test]
async fn an_endpoint_at_its_limit_of_calls_is_skipped_until_the_body_has_ended() {
    let (one, two) = (TestService::default(), TestService::default());
    let servers = [
        start(one.clone(), ServerConfig::default()).await,
        start(two.clone(), ServerConfig::default()).await,
    ];
    let builder = Channel::builder(format!("http://{}", servers[0].address));
    let builder = builder.endpoints([format!("http://{}", servers[1].address)]).without_policy();
    let limit = PolicyConfig::none().bulkhead(BulkheadConfig::new(1));
    let channel = builder.endpoint_policy(limit).build().unwrap();
    connect_all(&channel).await;

    let first = server_streaming(channel.clone(), "ticks", 10).await.unwrap();
    let second = server_streaming(channel.clone(), "ticks", 10).await.unwrap();
    let in_flight = |channel: &Channel| -> Vec<_> {
        channel.snapshot().endpoints.iter().map(|endpoint| endpoint.in_flight).collect()
    };
    assert_eq!(in_flight(&channel), [1, 1]);
    let status = call(&channel, "report", 0).await.unwrap_err();
    // No fault of the peer, so that no breaker opens.
    assert_eq!(from_status(&status).kind, ErrorKind::Rejected, "{status:?}");
    assert!(status.message().contains("calls in flight"), "{status}");
    drop(first);
    call(&channel, "report", 0).await.unwrap();
    drop(second);
    assert_eq!(in_flight(&channel), [0, 0]);
}

/// One endpoint does not answer. Its call in flight keeps new calls away from it.
#[tokio::test]
async fn the_less_loaded_endpoint_gets_the_call() {
    let slow = H2Peer::start(|_| Answer::Silence).await;
    let fast = H2Peer::start(|_| Answer::Success).await;
    let channel =
        builder(&[&slow, &fast]).balance(Balance::LeastLoaded).timeout(SECOND * 60).build().unwrap();
    let mut calls = Vec::new();
    while slow.received().is_empty() {
        assert!(calls.len() < 200, "two idle endpoints are chosen at random");
        let channel = channel.clone();
        calls.push(tokio::spawn(async move { call(&channel, "report", 0).await }));
        tokio::time::sleep(millis(20)).await;
    }
    for _ in 0..20 {
        call(&channel, "report", 0).await.unwrap();
    }
    assert_eq!(slow.received().len(), 1);
    calls.iter().for_each(|call| call.abort());
}

/// One endpoint refuses each call at once, and so has no calls in flight. Its refusals count as load.
#[tokio::test]
async fn an_endpoint_that_sheds_load_does_not_get_more_calls() {
    const CALLS: usize = 400;
    let proof = vec![("comms-not-executed", "rejected")];
    let full = H2Peer::start(move |_| Answer::Status("8", proof.clone())).await;
    let service = TestService::default();
    let server = start(service.clone(), ServerConfig::default()).await;
    let channel = builder(&[&full]).endpoints([format!("http://{}", server.address)]);
    let channel = channel.balance(Balance::LeastLoaded).build().unwrap();
    connect_all(&channel).await;
    let before = full.received().len();
    let calls = (0..8).map(|_| async {
        for _ in 0..CALLS / 8 {
            let _ = call(&channel, "sleep", 5).await;
        }
    });
    futures::future::join_all(calls).await;
    let refused = full.received().len() - before;
    assert!(refused <= CALLS / 10, "{refused} of {CALLS} calls went to the endpoint that sheds");
    assert!(!channel.snapshot().endpoints[0].outlier.as_ref().unwrap().ejected, "a refusal is no failure");
}

#[tokio::test]
async fn the_snapshot_of_a_channel_can_be_serialized() {
    let peer = H2Peer::start(|_| Answer::Success).await;
    let channel = Channel::builder(format!("http://{}", peer.address)).peer("payment").build().unwrap();
    let state = |channel: &Channel| serde_json::to_value(channel.snapshot()).unwrap();
    assert_eq!(state(&channel)["endpoints"][0]["state"], "idle");
    call(&channel, "report", 0).await.unwrap();
    let state = state(&channel);
    assert_eq!(state["peer"], "payment");
    assert_eq!(state["policy"]["bulkhead"]["in_use"], 0);
    let endpoint = &state["endpoints"][0];
    assert_eq!((&endpoint["state"], &endpoint["started"]), (&"ready".into(), &1.into()));
    assert_eq!(endpoint["address"], peer.address.to_string());
}

/// The addresses of `localhost` include that of the peer. The `:authority` is the host of the URI.
#[tokio::test]
async fn the_host_is_resolved_to_endpoints() {
    let peer = H2Peer::start(|_| Answer::Success).await;
    let builder = Channel::builder(format!("http://localhost:{}", peer.address.port())).without_policy();
    let channel =
        builder.reconnect_backoff(Backoff::new(SECOND, SECOND).unwrap()).resolve(SECOND * 30).build();
    let channel = channel.unwrap();
    call(&channel, "report", 0).await.unwrap();
    assert!(channel.snapshot().endpoints.iter().any(|e| e.address == peer.address.to_string()));

    let unknown = Channel::builder("http://host.invalid:1").without_policy().resolve(SECOND).build().unwrap();
    let status = call(&unknown, "report", 0).await.unwrap_err();
    assert_eq!(from_status(&status).kind, ErrorKind::NotExecuted, "{status:?}");
    tokio::time::sleep(millis(1)).await;
}

/// An attempt that takes longer than the policy grants counts against the endpoint. The deadline of a caller does not.
#[tokio::test]
async fn an_endpoint_that_does_not_answer_gets_an_open_breaker() {
    let (silent, good) = (H2Peer::start(|_| Answer::Silence).await, H2Peer::start(|_| Answer::Success).await);
    let config = PolicyConfig::none().attempt_timeout(millis(100)).retry(RetryConfig::default());
    let uris = [&silent, &good].map(|peer| format!("http://{}", peer.address));
    let builder = Channel::builder(uris[0].clone()).endpoints([uris[1].clone()]).timeout(SECOND * 60);
    let builder = builder.outliers(None).endpoint_policy(breaker());
    let policy = Policy::new("slow", config).unwrap();
    let channel = builder.policy(policy).idempotent_methods(["/test.Service/Unary"]).build().unwrap();
    connect_all(&channel).await;
    let breaker = || channel.snapshot().endpoints[0].breaker.as_ref().unwrap().state;

    let clock = Clock::system();
    for _ in 0..12 {
        let deadline = Deadline::after(millis(50), &clock);
        let _ = Context::root(&clock).with_deadline(deadline).scope(call(&channel, "report", 0)).await;
    }
    assert_eq!(breaker(), BreakerState::Closed, "the callers were impatient");

    for _ in 0..12 {
        call(&channel, "report", 0).await.unwrap();
    }
    assert_eq!(breaker(), BreakerState::Open);
    assert_eq!(channel.snapshot().endpoints[0].in_flight, 0);
}
