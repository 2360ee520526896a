//! Hedged calls.

mod failures;
mod service_config;
mod trials;

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
};

use comms_core::{
    ErrorKind,
    resilience::{Backoff, HedgeConfig, HedgeDelay, Policy, PolicyConfig, RetryBudgetConfig, RetryConfig},
};
use comms_grpc::{Channel, ChannelBuilder, EndpointState, ServerConfig, from_status, keyed, tonic};
use h2::Reason;
use tonic::Request;

use crate::{
    h2_peer::{Answer, H2Peer},
    support::{TestRequest, TestService, call, eventually, millis, start, unary},
};

const METHOD: &str = "/test.Service/Unary";

/// A channel whose idempotent method is hedged after 30 ms.
fn builder(addresses: &[std::net::SocketAddr]) -> ChannelBuilder {
    let uris: Vec<_> = addresses.iter().map(|address| format!("http://{address}")).collect();
    let builder = Channel::builder(uris[0].clone()).endpoints(uris[1..].to_vec()).peer("test-service");
    builder.idempotent_methods([METHOD]).hedge([METHOD], after(30))
}

fn after(delay: u64) -> HedgeConfig {
    HedgeConfig::default().delay(HedgeDelay::Fixed(millis(delay)))
}

/// A policy with quick retries and `budget`.
fn policy(budget: RetryBudgetConfig) -> Policy {
    let backoff = Backoff::new(millis(1), millis(1)).unwrap();
    Policy::new("hedged", PolicyConfig::none().retry(RetryConfig::default().backoff(backoff).budget(budget)))
        .unwrap()
}

/// Calls until each endpoint has a connection.
async fn connect_all(channel: &Channel) {
    let _ = call(channel, "report", 0).await;
    let all_ready = || channel.snapshot().endpoints.iter().all(|e| e.state == EndpointState::Ready);
    eventually("all endpoints are ready", all_ready).await;
}

fn previous_attempts(peer: &H2Peer) -> Vec<u32> {
    let number = |value: &http::HeaderValue| value.to_str().unwrap().parse().unwrap();
    let received = peer.received();
    received.iter().map(|r| r.headers.get("grpc-previous-rpc-attempts").map_or(0, number)).collect()
}

/// Two peers that answer at once, and once `slow` is set, leave each first request of a call unanswered.
async fn two_peers() -> ([H2Peer; 2], Arc<AtomicBool>) {
    let (slow, received) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let peer = || {
        let (slow, received) = (slow.clone(), received.clone());
        let is_slow = move || slow.load(SeqCst) && received.fetch_add(1, SeqCst) % 2 == 0;
        H2Peer::start(move |_| if is_slow() { Answer::Silence } else { Answer::Success })
    };
    ([peer().await, peer().await], slow)
}

/// A peer that answers its first request only, which opens the connection.
async fn silent_later() -> H2Peer {
    H2Peer::start(|n| if n == 0 { Answer::Success } else { Answer::Silence }).await
}

/// Returns such a peer, and a channel that is connected to it.
async fn connected(builder: impl Fn(&H2Peer) -> ChannelBuilder) -> (H2Peer, Channel) {
    let peer = silent_later().await;
    let channel = builder(&peer).build().unwrap();
    call(&channel, "report", 0).await.unwrap();
    (peer, channel)
}

#[tokio::test]
async fn a_slow_call_is_hedged_at_another_endpoint_and_the_loser_is_cancelled() {
    let (peers, slow) = two_peers().await;
    let channel = builder(&[peers[0].address, peers[1].address]).build().unwrap();
    connect_all(&channel).await;
    let warm = peers.each_ref().map(|peer| peer.received().len());
    slow.store(true, SeqCst);
    for calls in 1..=4 {
        call(&channel, "report", 0).await.unwrap();
        let received = peers.each_ref().map(|peer| peer.received().len());
        assert_eq!([0, 1].map(|i| received[i] - warm[i]), [calls, calls], "each attempt at its own endpoint");
    }
    let resets = || peers.iter().flat_map(H2Peer::resets).collect::<Vec<_>>();
    eventually("the losers are cancelled", || resets() == [Reason::CANCEL; 4]).await;
    let mut previous: Vec<_> = peers.iter().flat_map(previous_attempts).collect();
    previous.sort_unstable();
    assert_eq!(previous[previous.len() - 8..], [0, 0, 0, 0, 1, 1, 1, 1]);

    let snapshot = channel.snapshot();
    let [hedge] = snapshot.hedges.as_slice() else { panic!("one method is hedged") };
    assert_eq!(hedge.name, "test-service/test.Service/Unary");
    assert_eq!((hedge.hedges, hedge.wins), (4, 4));
    assert!(snapshot.endpoints.iter().all(|e| (e.failed, e.in_flight) == (0, 0)), "{snapshot:?}");
}

#[tokio::test]
async fn only_calls_that_may_be_executed_twice_are_hedged() {
    let keyed_request = || {
        let request = Request::new(TestRequest { action: "x".repeat(10_000), millis: 0 });
        keyed(request, "order-7").unwrap()
    };
    let plain = |peer: &H2Peer| {
        Channel::builder(format!("http://{}", peer.address)).timeout(millis(400)).hedge([METHOD], after(20))
    };

    let (peer, channel) = connected(plain).await;
    call(&channel, "report", 0).await.unwrap_err();
    assert_eq!(peer.received().len(), 2, "neither a key nor an idempotent method");

    let (peer, channel) = connected(plain).await;
    unary(channel, keyed_request()).await.unwrap_err();
    let received = &peer.received()[1..];
    assert_eq!(received.len(), 2, "a key");
    assert!(received.iter().all(|r| r.headers["idempotency-key"] == "order-7" && r.body.len() > 10_000));

    let (peer, channel) = connected(|peer| plain(peer).replay_limit(9_999)).await;
    unary(channel, keyed_request()).await.unwrap_err();
    assert_eq!(peer.received().len(), 2, "the request is longer than the replay limit");

    let other = |peer: &H2Peer| {
        let builder = Channel::builder(format!("http://{}", peer.address)).timeout(millis(400));
        builder.idempotent_methods([METHOD]).hedge(["/test.Service/Other"], after(20))
    };
    let (peer, channel) = connected(other).await;
    call(&channel, "report", 0).await.unwrap_err();
    assert_eq!(peer.received().len(), 2, "an idempotent method that is not hedged");
}

#[tokio::test]
async fn hedges_are_paid_from_the_retry_budget_of_the_policy() {
    let one_token = policy(RetryBudgetConfig::default().ratio(0.0).min_per_second(0));
    let builder = |peer: &H2Peer| builder(&[peer.address]).timeout(millis(400)).policy(one_token.clone());
    let (peer, channel) = connected(builder).await;
    for received in [3, 4] {
        call(&channel, "report", 0).await.unwrap_err();
        assert_eq!(peer.received().len(), received);
    }
    assert_eq!(one_token.retry_budget().unwrap().available(), 0);
}

#[tokio::test]
async fn a_dropped_call_cancels_all_attempts() {
    let (service, other) = (TestService::default(), TestService::default());
    let servers = [
        start(service.clone(), ServerConfig::default()).await,
        start(other.clone(), ServerConfig::default()).await,
    ];
    let channel = builder(&[servers[0].address, servers[1].address]).build().unwrap();
    connect_all(&channel).await;
    let begun = || service.begun.load(SeqCst) + other.begun.load(SeqCst);
    let before = begun();
    let calling = tokio::spawn(async move { call(&channel, "hang", 0).await });
    eventually("two attempts run", || begun() == before + 2).await;
    calling.abort();
    for service in [service, other] {
        eventually("the handler is dropped", || service.dropped.load(SeqCst) == 1).await;
    }
}

/// A hedged call has the attempts of its hedge, and any other call of the method those of its policy.
#[tokio::test]
async fn a_call_is_hedged_or_retried() {
    let failing = || H2Peer::start(|_| Answer::Status("14", vec![("comms-not-executed", "not_executed")]));
    let peer = failing().await;
    let channel = builder(&[peer.address]).policy(policy(RetryBudgetConfig::default())).build().unwrap();
    let error = from_status(&call(&channel, "report", 0).await.unwrap_err());
    assert_eq!((error.kind, peer.received().len()), (ErrorKind::NotExecuted, 2), "hedged");

    let peer = failing().await;
    let channel = Channel::builder(format!("http://{}", peer.address)).hedge([METHOD], after(30));
    let channel = channel.policy(policy(RetryBudgetConfig::default())).build().unwrap();
    call(&channel, "report", 0).await.unwrap_err();
    assert_eq!(peer.received().len(), 5, "retried");
}

#[tokio::test]
async fn a_transparent_retry_is_neither_an_attempt_nor_a_hedge() {
    let peer = H2Peer::start(|n| match n {
        0 => Answer::Reset(Reason::REFUSED_STREAM),
        _ => Answer::Success,
    });
    let peer = peer.await;
    let channel = builder(&[peer.address]).build().unwrap();
    call(&channel, "report", 0).await.unwrap();
    assert_eq!((previous_attempts(&peer), channel.snapshot().hedges[0].hedges), (vec![0, 0], 0));
}

#[tokio::test]
async fn the_default_delay_is_a_percentile_of_the_calls_of_the_method() {
    let peer = H2Peer::start(|n| if n == 100 { Answer::Silence } else { Answer::Success }).await;
    let channel = builder(&[peer.address]).hedge([METHOD], HedgeConfig::default()).build().unwrap();
    for _ in 0..100 {
        call(&channel, "report", 0).await.unwrap();
    }
    let samples = channel.snapshot().hedges[0].samples;
    assert_eq!((peer.received().len(), samples), (100, 100), "too few samples for a hedge");
    call(&channel, "report", 0).await.unwrap();
    assert_eq!((peer.received().len(), channel.snapshot().hedges[0].wins), (102, 1));
}

#[tokio::test]
async fn settings_that_cannot_work_are_refused_with_the_method() {
    let build = |channel: ChannelBuilder| channel.build().unwrap_err();
    let plain = || Channel::builder("http://127.0.0.1:1");
    for (channel, reason) in [
        (plain().hedge(["test.Service/Unary"], after(30)), "/package.Service/Method"),
        (plain().idempotent_methods(["Unary"]), "/package.Service/Method"),
        (plain().hedge([METHOD], after(30).max_attempts(9)), "max_attempts"),
        (plain().without_policy().hedge([METHOD], after(30)), "retry budget"),
    ] {
        let error = build(channel);
        assert_eq!(error.kind, ErrorKind::Invalid);
        let text = error.chain().to_string();
        assert!(text.contains(reason) && text.contains("method") && text.contains("Unary"), "{text}");
    }
}
