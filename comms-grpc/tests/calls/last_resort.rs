//! An ejected endpoint takes the calls that no other endpoint can take.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use comms_core::resilience::Backoff;
use comms_grpc::{Channel, EndpointState};
use tokio::net::TcpListener;

use crate::{
    endpoints::{builder, closed_port},
    frames::{END_STREAM, headers, success},
    h2_peer::{Answer, H2Peer},
    outliers::outlier,
    raw_peer::{RawPeer, max_streams},
    support::{SECOND, call, millis},
};

/// Ejection refuses no call: the endpoint that is ejected takes calls while the other one is down.
#[tokio::test]
async fn an_ejected_endpoint_is_the_last_resort() {
    for waits in [false, true] {
        let peer =
            H2Peer::start(|n| if n < 5 { Answer::Status("14", vec![]) } else { Answer::Success }).await;
        let channel = builder(&[&peer]).endpoints([closed_port().await]).wait_for_ready(waits).build();
        let channel = channel.unwrap();
        for _ in 0..5 {
            call(&channel, "report", 0).await.unwrap_err();
        }
        assert!(outlier(&channel, 0).ejected);
        for _ in 0..5 {
            call(&channel, "report", 0).await.unwrap();
        }
        assert!(outlier(&channel, 0).ejected, "for its time");
    }
}

/// The other endpoint has closed one connection, and accepts the next ones in silence.
#[tokio::test]
async fn a_call_takes_an_ejected_endpoint_rather_than_wait_for_a_repeated_connection_attempt() {
    let peer = H2Peer::start(|n| if n < 5 { Answer::Status("14", vec![]) } else { Answer::Success }).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = format!("http://{}", listener.local_addr().unwrap());
    let (accepted, number) = (Arc::new(AtomicUsize::new(0)), |n: &AtomicUsize| n.load(SeqCst));
    let counted = accepted.clone();
    tokio::spawn(async move {
        drop(listener.accept().await);
        counted.fetch_add(1, SeqCst);
        let _silent = listener.accept().await;
        counted.fetch_add(1, SeqCst);
        std::future::pending::<()>().await;
    });
    let backoff = Backoff::new(millis(1), millis(1)).unwrap();
    let channel = builder(&[&peer]).endpoints([silent]).reconnect_backoff(backoff).timeout(SECOND * 5);
    let channel = channel.connect_timeout(SECOND * 60).build().unwrap();
    while !outlier(&channel, 0).ejected || number(&accepted) < 2 {
        let _ = call(&channel, "report", 0).await;
        tokio::time::sleep(millis(2)).await;
    }
    for _ in 0..5 {
        call(&channel, "report", 0).await.unwrap();
    }
    assert!(outlier(&channel, 0).ejected && channel.snapshot().endpoints[1].started == 0);
}

/// The other endpoint is silent from the start, as an address that drops packets.
#[tokio::test]
async fn a_first_connection_attempt_that_hangs_holds_no_call_while_an_ejected_endpoint_is_ready() {
    let peer = H2Peer::start(|n| if n < 5 { Answer::Status("14", vec![]) } else { Answer::Success }).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = format!("http://{}", listener.local_addr().unwrap());
    let channel = builder(&[&peer]).endpoints([silent]).timeout(SECOND * 20).connect_timeout(SECOND * 60);
    let channel = channel.build().unwrap();
    for _ in 0..5 {
        call(&channel, "report", 0).await.unwrap_err();
    }
    for _ in 0..5 {
        call(&channel, "report", 0).await.unwrap();
    }
    assert!(outlier(&channel, 0).ejected);
    assert_eq!(channel.snapshot().endpoints[1].state, EndpointState::Connecting);
}

#[tokio::test]
async fn a_call_waits_for_a_free_stream_of_an_ejected_endpoint() {
    let peer = RawPeer::start(|_| max_streams(1)).await;
    let channel = Channel::builder(format!("http://{}", peer.address)).endpoints([closed_port().await]);
    let channel = channel.without_policy().timeout(SECOND * 20).build().unwrap();
    let spawn_call = || {
        tokio::spawn({
            let channel = channel.clone();
            async move { call(&channel, "report", 0).await }
        })
    };
    for number in 0..5 {
        let failing = spawn_call();
        peer.wait_for_calls(number + 1).await;
        let unavailable = [("content-type", "application/grpc"), ("grpc-status", "14")];
        peer.send(0, &headers(number as u32 * 2 + 1, END_STREAM, &unavailable)).await;
        failing.await.unwrap().unwrap_err();
    }
    assert!(outlier(&channel, 0).ejected);
    let first = spawn_call();
    peer.wait_for_calls(6).await;
    let second = spawn_call();
    tokio::time::sleep(millis(100)).await;
    assert!(!second.is_finished(), "the call waits for the only stream");
    peer.send(0, &success(11)).await;
    first.await.unwrap().unwrap();
    peer.wait_for_calls(7).await;
    peer.send(0, &success(13)).await;
    second.await.unwrap().unwrap();
}
