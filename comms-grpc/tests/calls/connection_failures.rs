//! Calls to a peer that is down, closes the connection, vanishes, or rejects the call.

use std::time::Duration;

use comms_core::ErrorKind;
use comms_grpc::{ServerConfig, from_status, tonic};
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpSocket},
};
use tonic::Code;

use crate::support::{SECOND, TestService, call, channel, millis, start, start_on};

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
    let channel = channel(port.local_addr().unwrap(), SECOND * 5);
    for _ in 0..3 {
        let status = call(&channel, "report", 0).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{status}");
        assert!(status.message().contains("test-service"), "{status}");
        assert_eq!(from_status(&status).kind, ErrorKind::NotExecuted);
    }
    let server = start_on(port.listen(64).unwrap(), TestService::default(), ServerConfig::default());
    call(&channel, "report", 0).await.unwrap();

    // The server shuts down, and another one starts on the same port.
    server.stop.send(()).unwrap();
    server.ended.await.unwrap().unwrap();
    let status = call(&channel, "report", 0).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    let listener = TcpListener::bind(server.address).await.unwrap();
    let _again = start_on(listener, TestService::default(), ServerConfig::default());
    call(&channel, "report", 0).await.unwrap();
}

/// The peer may have executed the call.
#[tokio::test]
async fn a_call_is_indeterminate_if_the_peer_closes_the_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let channel = channel(listener.local_addr().unwrap(), SECOND * 5);
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut bytes = [0; 1024];
        // Reads the request, and closes after 200 ms without further bytes.
        while let Ok(Ok(n @ 1..)) = tokio::time::timeout(millis(200), socket.read(&mut bytes)).await {
            let _ = n;
        }
    });
    let status = call(&channel, "report", 0).await.unwrap_err();
    assert_ne!(status.code(), Code::DeadlineExceeded, "{status}");
    assert_eq!(from_status(&status).kind, ErrorKind::Indeterminate, "{status}");
}

/// The peer reads nothing, so that its receive buffer is full. The connection then waits for an acknowledgement as for
/// a peer that vanished, and the kernel closes the connection after `TCP_USER_TIMEOUT`.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_call_is_indeterminate_if_the_peer_vanishes_and_the_next_call_reconnects() {
    let socket = reserve_port();
    socket.set_recv_buffer_size(4 * 1024).unwrap();
    let listener = socket.listen(64).unwrap();
    let channel = comms_grpc::Channel::builder(format!("http://{}", listener.local_addr().unwrap()))
        .timeout(SECOND * 30)
        .keep_alive_timeout(SECOND)
        .build()
        .unwrap();
    let silent = tokio::spawn(async move { (listener.accept().await.unwrap(), listener) });
    let status = call(&channel, &"x".repeat(60_000), 0).await.unwrap_err();
    assert_ne!(status.code(), Code::DeadlineExceeded, "the kernel closes the connection first: {status}");
    assert_eq!(from_status(&status).kind, ErrorKind::Indeterminate, "{status}");

    let (_held, listener) = silent.await.unwrap();
    let _server = start_on(listener, TestService::default(), ServerConfig::default());
    call(&channel, "report", 0).await.unwrap();
}

#[tokio::test]
async fn a_rejection_by_a_handler_keeps_its_wait_and_is_no_proof() {
    let server = start(TestService::default(), ServerConfig::default()).await;
    let error = from_status(&call(&server.channel(SECOND), "busy", 250).await.unwrap_err());
    assert_eq!((error.kind, error.retry_after), (ErrorKind::Indeterminate, Some(Duration::from_millis(250))));
}
