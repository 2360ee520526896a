//! The number of calls that a peer permits at the same time on a connection.

use std::time::Duration;

use comms_core::{
    ErrorKind,
    clock::Clock,
    context::{Context, Deadline},
};
use comms_grpc::{Channel, ChannelBuilder, EndpointState, from_status, tonic};
use tokio::{task::JoinHandle, time::sleep};
use tonic::{Code, Status};

use crate::{
    frames::{NO_ERROR, SETTINGS, frame, goaway, success},
    raw_peer::{RawPeer, max_streams},
    support::{Observation, SECOND, call, eventually, millis},
};

fn builder(peer: &RawPeer) -> ChannelBuilder {
    Channel::builder(format!("http://{}", peer.address)).peer("test-service").without_policy()
}

fn spawn_call(channel: &Channel) -> JoinHandle<Result<Observation, Status>> {
    let channel = channel.clone();
    tokio::spawn(async move { call(&channel, "report", 0).await })
}

/// Makes a call that uses the only stream of the first connection.
async fn use_the_only_stream(peer: &RawPeer, channel: &Channel) -> JoinHandle<Result<Observation, Status>> {
    let first = spawn_call(channel);
    peer.wait_for_calls(1).await;
    first
}

fn started(channel: &Channel) -> (u64, u64, usize) {
    let endpoint = &channel.snapshot().endpoints[0];
    (endpoint.started, endpoint.failed, endpoint.in_flight)
}

#[tokio::test]
async fn a_call_that_gets_no_stream_before_its_deadline_is_never_sent() {
    let peer = RawPeer::start(|_| max_streams(1)).await;
    let channel = builder(&peer).build().unwrap();
    let first = use_the_only_stream(&peer, &channel).await;
    let clock = Clock::system();
    let context = Context::root(&clock).with_deadline(Deadline::after(millis(200), &clock));
    let status = context.scope(call(&channel, "report", 0)).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
    assert_eq!(from_status(&status).kind, ErrorKind::NotExecuted, "{status:?}");
    assert_eq!(started(&channel), (1, 0, 1), "the call has not left this process");

    peer.send(0, &success(1)).await;
    first.await.unwrap().unwrap();
    sleep(millis(100)).await;
    assert_eq!(peer.calls(), [(0, 1)], "the late call is not sent");
}

/// The queue is bounded, and its calls are sent in their order as streams end.
#[tokio::test]
async fn calls_beyond_the_limit_of_the_peer_wait_in_order() {
    let peer = RawPeer::start(|_| max_streams(1)).await;
    let channel = builder(&peer).max_waiting(2).build().unwrap();
    let first = use_the_only_stream(&peer, &channel).await;
    let mut waiting = Vec::new();
    for _ in 0..2 {
        waiting.push(spawn_call(&channel));
        sleep(millis(50)).await;
    }
    let status = call(&channel, "report", 0).await.unwrap_err();
    assert_eq!(from_status(&status).kind, ErrorKind::Rejected, "{status:?}");

    peer.send(0, &success(1)).await;
    first.await.unwrap().unwrap();
    for (next, waiting) in waiting.into_iter().enumerate() {
        peer.wait_for_calls(next + 2).await;
        assert_eq!(peer.calls().len(), next + 2, "one call at a time");
        peer.send(0, &success(next as u32 * 2 + 3)).await;
        waiting.await.unwrap().unwrap();
    }
    assert_eq!((peer.connections(), started(&channel)), (1, (3, 0, 0)));
}

#[tokio::test]
async fn a_peer_that_permits_no_call_is_not_connected() {
    let peer = RawPeer::start(|_| max_streams(0)).await;
    let channel = builder(&peer).connect_timeout(millis(200)).build().unwrap();
    let status = call(&channel, "report", 0).await.unwrap_err();
    assert_eq!(from_status(&status).kind, ErrorKind::NotExecuted, "{status:?}");
    assert!(status.message().contains("SETTINGS_MAX_CONCURRENT_STREAMS"), "{status}");
    assert_eq!(channel.snapshot().endpoints[0].state, EndpointState::Backoff);
    assert_eq!(peer.calls(), []);
}

#[tokio::test]
async fn a_call_waits_for_a_limit_that_is_raised() {
    let peer = RawPeer::start(|_| max_streams(0)).await;
    let channel = builder(&peer).build().unwrap();
    let (first, second) = (spawn_call(&channel), spawn_call(&channel));
    eventually("the peer is connected", || peer.connections() == 1).await;
    for (limit, stream) in [(1, 1), (2, 3)] {
        sleep(millis(50)).await;
        assert_eq!(peer.calls().len(), limit as usize - 1);
        peer.send(0, &max_streams(limit)).await;
        peer.wait_for_calls(limit as usize).await;
        assert_eq!(peer.calls().last(), Some(&(0, stream)));
    }
    peer.send(0, &[success(1), success(3)].concat()).await;
    first.await.unwrap().unwrap();
    second.await.unwrap().unwrap();
    assert_eq!(peer.connections(), 1);
}

/// The call in flight goes on. The further ones get a new connection after the connect timeout.
#[tokio::test]
async fn a_connection_whose_peer_permits_no_further_call_is_replaced() {
    let peer = RawPeer::start(|_| max_streams(5)).await;
    let channel = builder(&peer).connect_timeout(millis(200)).build().unwrap();
    let first = use_the_only_stream(&peer, &channel).await;
    peer.send(0, &max_streams(0)).await;
    sleep(millis(50)).await;
    let second = spawn_call(&channel);
    peer.wait_for_calls(2).await;
    assert_eq!(peer.calls(), [(0, 1), (1, 1)]);
    peer.send(1, &success(1)).await;
    second.await.unwrap().unwrap();
    peer.send(0, &success(1)).await;
    first.await.unwrap().unwrap();
}

/// A connection with a GOAWAY stays open for its calls, and its queue moves to another connection.
#[tokio::test]
async fn a_goaway_wakes_the_calls_that_wait_for_a_stream() {
    let peer = RawPeer::start(|_| max_streams(1)).await;
    let channel = builder(&peer).build().unwrap();
    let first = use_the_only_stream(&peer, &channel).await;
    let second = spawn_call(&channel);
    sleep(millis(50)).await;
    peer.send(0, &goaway(1, NO_ERROR)).await;
    peer.wait_for_calls(2).await;
    assert_eq!(peer.calls()[1], (1, 1));
    peer.send(1, &success(1)).await;
    second.await.unwrap().unwrap();
    peer.send(0, &success(1)).await;
    first.await.unwrap().unwrap();
}

#[tokio::test]
async fn an_endpoint_without_a_free_stream_is_skipped() {
    let (full, free) =
        (RawPeer::start(|_| max_streams(1)).await, RawPeer::start(|_| frame(SETTINGS, 0, 0, &[])).await);
    let channel = builder(&full).endpoints([format!("http://{}", free.address)]).build().unwrap();
    let calls: Vec<_> = (0..6).map(|_| spawn_call(&channel)).collect();
    full.wait_for_calls(1).await;
    free.wait_for_calls(5).await;
    assert_eq!((full.calls().len(), free.calls().len()), (1, 5));
    calls.iter().for_each(JoinHandle::abort);
}

/// A lowered limit may be reached again only when calls end.
#[tokio::test]
async fn a_lowered_limit_holds_for_further_calls() {
    let peer = RawPeer::start(|_| max_streams(3)).await;
    let channel = builder(&peer).timeout(Duration::from_secs(30)).build().unwrap();
    let calls: Vec<_> = (0..3).map(|_| spawn_call(&channel)).collect();
    peer.wait_for_calls(3).await;
    peer.send(0, &max_streams(1)).await;
    sleep(millis(50)).await;
    let further = spawn_call(&channel);
    peer.send(0, &[success(1), success(3)].concat()).await;
    sleep(millis(100)).await;
    assert_eq!(peer.calls().len(), 3, "one stream is in use");
    peer.send(0, &success(5)).await;
    peer.wait_for_calls(4).await;
    peer.send(0, &success(7)).await;
    for call in calls.into_iter().chain([further]) {
        tokio::time::timeout(SECOND * 5, call).await.unwrap().unwrap().unwrap();
    }
}
