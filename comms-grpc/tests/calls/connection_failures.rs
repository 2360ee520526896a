//! Calls to a peer that is down, closes the connection, vanishes, or rejects the call.

use std::time::Duration;

use comms_core::{ErrorKind, resilience::Backoff};
use comms_grpc::{Channel, ServerConfig, from_status, tonic};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpSocket},
    time::sleep,
};
use tonic::Code;

use crate::{
    frames::{SETTINGS, frame, peer, serve_frames, success},
    support::{
        SECOND, TestService, call, channel, millis, server_streaming, single_attempt, start, start_on,
    },
};

/// Reserves a port without a listener, on which a server can listen later.
fn reserve_port() -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    socket
}

#[tokio::test]
async fn a_call_to_a_server_that_is_down_is_not_executed_and_the_channel_reconnects() {
    let port = reserve_port();
    let backoff = Backoff::new(millis(50), millis(50)).unwrap();
    let builder = Channel::builder(format!("http://{}", port.local_addr().unwrap())).peer("test-service");
    let channel = builder.without_policy().reconnect_backoff(backoff).build().unwrap();
    for _ in 0..3 {
        let status = call(&channel, "report", 0).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{status}");
        assert!(status.message().contains("test-service"), "{status}");
        let error = from_status(&status);
        assert_eq!(error.kind, ErrorKind::NotExecuted);
        assert!(error.retry_after.is_some_and(|wait| wait <= millis(60)), "the wait until the next attempt");
    }
    let server = start_on(port.listen(64).unwrap(), TestService::default(), ServerConfig::default());
    sleep(millis(100)).await;
    call(&channel, "report", 0).await.unwrap();

    // The server shuts down, and another one starts on the same port.
    server.stop.send(()).unwrap();
    server.ended.await.unwrap().unwrap();
    let status = call(&channel, "report", 0).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    let listener = TcpListener::bind(server.address).await.unwrap();
    let _again = start_on(listener, TestService::default(), ServerConfig::default());
    sleep(millis(100)).await;
    call(&channel, "report", 0).await.unwrap();
}

/// The policy waits until the next connection attempt, so a peer that starts in the meantime answers the call.
#[tokio::test]
async fn a_call_is_retried_when_the_next_connection_attempt_is_due() {
    let port = reserve_port();
    let channel = channel(port.local_addr().unwrap(), SECOND * 5);
    let calling = tokio::spawn(async move { call(&channel, "report", 0).await });
    sleep(millis(300)).await;
    let _server = start_on(port.listen(64).unwrap(), TestService::default(), ServerConfig::default());
    calling.await.unwrap().unwrap();
}

/// The peer may have executed the call.
#[tokio::test]
async fn a_call_is_indeterminate_if_the_peer_closes_the_connection() {
    let address = peer(|_| (vec![], true)).await;
    let status = call(&channel(address, SECOND * 5), "report", 0).await.unwrap_err();
    assert_ne!(status.code(), Code::DeadlineExceeded, "{status}");
    assert_eq!(from_status(&status).kind, ErrorKind::Indeterminate, "{status}");
}

/// The peer accepts the connection and reads and sends nothing. No call is sent to it.
#[tokio::test]
async fn a_peer_that_never_speaks_is_not_connected() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let uri = format!("http://{}", silent.local_addr().unwrap());
    let builder = Channel::builder(uri).without_policy();
    let late = builder.clone().timeout(millis(200)).build().unwrap();
    let status = call(&late, "report", 0).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
    assert_eq!(from_status(&status).kind, ErrorKind::NotExecuted, "{status:?}");

    let channel = builder.connect_timeout(millis(200)).build().unwrap();
    let status = call(&channel, "report", 0).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert_eq!(from_status(&status).kind, ErrorKind::NotExecuted, "{status:?}");
}

/// The bound on calls that wait for one connection.
#[tokio::test]
async fn a_call_beyond_the_maximum_of_waiting_calls_is_rejected_at_once() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let builder = Channel::builder(format!("http://{}", silent.local_addr().unwrap()));
    let channel = builder.without_policy().timeout(SECOND).max_waiting(2).build().unwrap();
    let calls = futures::future::join_all((0..3).map(|_| call(&channel, "report", 0))).await;
    let kinds: Vec<_> = calls.iter().map(|result| from_status(result.as_ref().unwrap_err()).kind).collect();
    assert_eq!(kinds, [ErrorKind::NotExecuted, ErrorKind::NotExecuted, ErrorKind::Rejected], "{calls:?}");
}

/// A peer that speaks late answers later calls on the connection that the first call has opened.
#[tokio::test]
async fn a_call_that_gives_up_does_not_stop_the_connection_attempt() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let channel = single_attempt(listener.local_addr().unwrap(), millis(200));
    let accepted = tokio::spawn(async move { (listener.accept().await.unwrap().0, listener) });
    call(&channel, "report", 0).await.unwrap_err();
    let (socket, listener) = accepted.await.unwrap();
    tokio::spawn(serve_frames(socket, |stream| (success(stream), false)));
    // The peer has spoken when the client has read its settings.
    sleep(millis(200)).await;
    call(&channel, "report", 0).await.unwrap();
    let second = tokio::time::timeout(millis(100), listener.accept()).await;
    assert!(second.is_err(), "there is no second connection");
}

#[tokio::test]
async fn a_call_waits_for_a_connection_if_the_channel_waits_for_readiness() {
    let port = reserve_port();
    let backoff = Backoff::new(millis(20), millis(20)).unwrap();
    let builder = Channel::builder(format!("http://{}", port.local_addr().unwrap())).without_policy();
    let channel = builder.wait_for_ready(true).reconnect_backoff(backoff).build().unwrap();
    let calling = tokio::spawn(async move { call(&channel, "report", 0).await });
    sleep(millis(300)).await;
    assert!(!calling.is_finished(), "the call waits through several connection attempts");
    let _server = start_on(port.listen(64).unwrap(), TestService::default(), ServerConfig::default());
    calling.await.unwrap().unwrap();
}

/// The peer stops to read, so that its receive buffer is full. The connection then waits for an acknowledgement as for
/// a peer that vanished, and the kernel closes the connection after `TCP_USER_TIMEOUT`.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_call_is_indeterminate_if_the_peer_vanishes_and_the_next_call_reconnects() {
    let socket = reserve_port();
    socket.set_recv_buffer_size(4 * 1024).unwrap();
    let listener = socket.listen(64).unwrap();
    let channel = Channel::builder(format!("http://{}", listener.local_addr().unwrap()))
        .timeout(SECOND * 30)
        .keep_alive_timeout(SECOND)
        .build()
        .unwrap();
    let silent = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        socket.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
        (socket, listener)
    });
    let status = call(&channel, &"x".repeat(60_000), 0).await.unwrap_err();
    assert_ne!(status.code(), Code::DeadlineExceeded, "the kernel closes the connection first: {status}");
    assert_eq!(from_status(&status).kind, ErrorKind::Indeterminate, "{status}");

    let (_held, listener) = silent.await.unwrap();
    let _server = start_on(listener, TestService::default(), ServerConfig::default());
    call(&channel, "report", 0).await.unwrap();
}

/// The calls in flight end, although nothing but them refers to the channel.
#[tokio::test]
async fn a_call_in_flight_continues_when_the_channel_is_dropped() {
    let server = start(TestService::default(), ServerConfig::default()).await;
    let channel = server.channel(SECOND * 5);
    let mut ticks = server_streaming(channel.clone(), "ticks", 10).await.unwrap();
    let slow = tokio::spawn({
        let channel = channel.clone();
        async move { call(&channel, "sleep", 300).await }
    });
    sleep(millis(100)).await;
    drop(channel);
    slow.await.unwrap().unwrap();
    for _ in 0..3 {
        ticks.message().await.unwrap().unwrap();
    }
}

/// A call after the end of the runtime that drives the connections fails, and does not hang.
#[test]
fn a_call_fails_when_the_runtime_of_the_channel_has_ended() {
    let runtime =
        || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (serving, connecting, calling) = (runtime(), runtime(), runtime());
    let server = serving.block_on(start(TestService::default(), ServerConfig::default()));
    let channel = connecting.block_on(async {
        let channel = single_attempt(server.address, SECOND * 5);
        call(&channel, "report", 0).await.unwrap();
        channel
    });
    let in_flight = calling.spawn({
        let channel = channel.clone();
        async move { call(&channel, "hang", 0).await }
    });
    std::thread::sleep(millis(200));
    drop(connecting);
    let status = calling.block_on(in_flight).unwrap().unwrap_err();
    assert_eq!(from_status(&status).kind, ErrorKind::Indeterminate, "{status}");
    let status = calling.block_on(call(&channel, "report", 0)).unwrap_err();
    assert_eq!(from_status(&status).kind, ErrorKind::NotExecuted, "{status}");
    assert!(status.message().contains("runtime"), "{status}");
}

#[tokio::test]
async fn a_rejection_by_a_handler_keeps_its_wait_and_is_no_proof() {
    let server = start(TestService::default(), ServerConfig::default()).await;
    let error = from_status(&call(&server.channel(SECOND), "busy", 250).await.unwrap_err());
    assert_eq!((error.kind, error.retry_after), (ErrorKind::Indeterminate, Some(Duration::from_millis(250))));
}
