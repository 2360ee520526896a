//! Channels with several endpoints.

use std::{sync::atomic::Ordering::SeqCst, time::Duration};

use comms_core::{
    ErrorKind,
    resilience::{Backoff, BreakerState, BulkheadConfig, PolicyConfig},
};
use comms_grpc::{Balance, Channel, ChannelBuilder, EndpointState, ServerConfig, from_status, tonic};
use tokio::net::TcpListener;
use tonic::Code;

use crate::{
    h2_peer::{Answer, H2Peer},
    support::{SECOND, TestService, call, eventually, millis, server_streaming, start},
};

fn builder(peers: &[&H2Peer]) -> ChannelBuilder {
    let uris: Vec<_> = peers.iter().map(|peer| format!("http://{}", peer.address)).collect();
    Channel::builder(uris[0].clone()).endpoints(uris[1..].to_vec()).peer("test-service").without_policy()
}

/// Calls until each endpoint has a connection.
async fn connect_all(channel: &Channel) {
    let _ = call(channel, "report", 0).await;
    let all_ready = || channel.snapshot().endpoints.iter().all(|e| e.state == EndpointState::Ready);
    eventually("all endpoints are ready", all_ready).await;
}

async fn closed_port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
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
    let channel = builder(&[&bad, &good]).build().unwrap();
    connect_all(&channel).await;
    for _ in 0..20 {
        let _ = call(&channel, "report", 0).await;
    }
    assert_eq!(bad.received().len(), 5, "the default breaker opens after five failures in a row");
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
    assert_eq!(from_status(&status).kind, ErrorKind::NotExecuted, "{status:?}");
    assert!(status.message().contains("calls in flight"), "{status}");
    drop(first);
    call(&channel, "report", 0).await.unwrap();
    drop(second);
    assert_eq!(in_flight(&channel), [0, 0]);
}

/// One endpoint does not answer. Its calls in flight keep new calls away from it.
#[tokio::test]
async fn the_less_loaded_endpoint_gets_the_call() {
    let slow = H2Peer::start(|_| Answer::Silence).await;
    let fast = H2Peer::start(|_| Answer::Success).await;
    let channel = builder(&[&slow, &fast]).balance(Balance::LeastLoaded).timeout(SECOND * 2);
    let channel = channel.endpoint_policy(PolicyConfig::none()).build().unwrap();
    let warm_up: Vec<_> = (0..2)
        .map(|_| {
            let channel = channel.clone();
            tokio::spawn(async move { call(&channel, "report", 0).await })
        })
        .collect();
    connect_all(&channel).await;
    let calls = futures::future::join_all((0..100).map(|_| call(&channel, "report", 0))).await;
    let done = calls.iter().filter(|result| result.is_ok()).count();
    assert!(slow.received().len() < fast.received().len(), "{done} of 100 done");
    for call in warm_up {
        let _ = call.await.unwrap();
    }
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
