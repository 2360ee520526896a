//! Long status messages, and responses of proxies.

use std::net::SocketAddr;

use comms_core::ErrorKind;
use comms_grpc::{Channel, ServerConfig, from_status, tonic};
use h2::server::SendResponse;
use http::{HeaderMap, HeaderValue, Response};
use tokio::net::TcpListener;
use tonic::{Code, Status};

use crate::support::{SECOND, TestService, call, channel, server_streaming, start};

/// The response of the peer to a call.
#[derive(Clone, Copy)]
enum Reply {
    /// INVALID_ARGUMENT with a message of this length in bytes, in a response without a body.
    Headers(usize),
    /// INVALID_ARGUMENT with a message of this length in bytes, in trailers.
    Trailers(usize),
    /// The HTTP status of a proxy.
    Http(u16),
}

fn invalid(length: usize) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("grpc-status", HeaderValue::from_static("3"));
    headers.insert("grpc-message", "m".repeat(length).parse().unwrap());
    headers
}

fn send(mut to: SendResponse<bytes::Bytes>, reply: Reply) {
    let grpc = || Response::builder().header("content-type", "application/grpc");
    match reply {
        Reply::Headers(length) => {
            let mut response = grpc().body(()).unwrap();
            response.headers_mut().extend(invalid(length));
            to.send_response(response, true).unwrap();
        }
        Reply::Trailers(length) => {
            let mut body = to.send_response(grpc().body(()).unwrap(), false).unwrap();
            body.send_trailers(invalid(length)).unwrap();
        }
        Reply::Http(status) => {
            let response = Response::builder().status(status).header("content-type", "text/html");
            let response = response.header("retry-after", "2").body(()).unwrap();
            let mut body = to.send_response(response, false).unwrap();
            body.send_data(bytes::Bytes::from_static(b"<html>"), true).unwrap();
        }
    }
}

/// Starts a peer that responds to the first call of its only connection 300 ms after the second call, with `replies`.
async fn peer(replies: [Reply; 2]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut connection = h2::server::handshake(listener.accept().await.unwrap().0).await.unwrap();
        let (_, first) = connection.accept().await.unwrap().unwrap();
        let mut first = Some(first);
        while let Some(Ok((_, second))) = connection.accept().await {
            send(second, replies[1]);
            if let Some(first) = first.take() {
                tokio::spawn(async move {
                    tokio::time::sleep(crate::support::millis(300)).await;
                    send(first, replies[0]);
                });
            }
        }
    });
    address
}

/// Makes two calls on one connection. Returns the status of the first call, which is in flight while the second call
/// gets the reply `second`, and the status of the second call.
async fn two_calls(second: Reply) -> (Status, Status) {
    let channel = channel(peer([Reply::Headers(5), second]).await, SECOND * 60);
    let first = tokio::spawn({
        let channel = channel.clone();
        async move { call(&channel, "report", 0).await.unwrap_err() }
    });
    tokio::time::sleep(crate::support::millis(200)).await;
    let second = call(&channel, "report", 0).await.unwrap_err();
    (first.await.unwrap(), second)
}

#[tokio::test]
async fn a_long_message_is_truncated_and_does_not_affect_other_calls() {
    for reply in [17_000, 200_000, 900_000].into_iter().flat_map(|n| [Reply::Headers(n), Reply::Trailers(n)])
    {
        let (other, status) = two_calls(reply).await;
        assert_eq!((status.code(), status.message()), (Code::InvalidArgument, &*"m".repeat(4_096)));
        assert_eq!(from_status(&status).kind, ErrorKind::Invalid);
        assert_eq!((other.code(), other.message()), (Code::InvalidArgument, "mmmmm"));
    }
}

/// Headers above the limit fail the call. Trailers above the limit keep their code. The connection stays open.
#[tokio::test]
async fn a_message_above_the_limit_does_not_affect_other_calls() {
    let (other, status) = two_calls(Reply::Headers(1_100_000)).await;
    assert_eq!(from_status(&status).kind, ErrorKind::Indeterminate, "{status:?}");
    assert_eq!(other.message(), "mmmmm", "{other:?}");
    let (other, status) = two_calls(Reply::Trailers(1_100_000)).await;
    assert_eq!((status.code(), status.message()), (Code::InvalidArgument, ""));
    assert_eq!(other.message(), "mmmmm", "{other:?}");
}

/// h2 closes a connection on which a header block has too many frames.
#[tokio::test]
async fn a_message_far_above_the_limit_leaves_every_call_indeterminate() {
    let (other, status) = two_calls(Reply::Headers(5_000_000)).await;
    for status in [other, status] {
        assert_ne!(status.code(), Code::DeadlineExceeded);
        assert_eq!(from_status(&status).kind, ErrorKind::Indeterminate, "{status:?}");
    }
}

#[tokio::test]
async fn a_server_truncates_messages_to_the_default_limits_of_peers() {
    let server = start(TestService::default(), ServerConfig::default()).await;
    let status = call(&server.channel(SECOND), "long", 0).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::InvalidArgument, &*"ж".repeat(1_024)));
    // The channel of tonic has the default limit of 16 KiB.
    let plain = tonic::transport::Endpoint::from_shared(format!("http://{}", server.address)).unwrap();
    let request = tonic::Request::new(crate::support::TestRequest { action: "long".into(), millis: 0 });
    let status = crate::support::unary(plain.connect().await.unwrap(), request).await.unwrap_err();
    assert_eq!(status.message().len(), 2_048, "{status}");
}

#[tokio::test]
async fn a_response_of_a_proxy_is_misconfigured_or_indeterminate() {
    use ErrorKind::{Indeterminate, Misconfigured};
    let cases = [
        (401, Misconfigured),
        (403, Misconfigured),
        (404, Misconfigured),
        (200, Misconfigured),
        (429, Indeterminate),
    ];
    for (http, kind) in cases.into_iter().chain([502, 503, 504].map(|http| (http, Indeterminate))) {
        let (_, status) = two_calls(Reply::Http(http)).await;
        let error = from_status(&status);
        assert_eq!((error.kind, error.retry_after), (kind, Some(SECOND * 2)), "{http}: {status:?}");
    }
}

#[tokio::test]
async fn a_channel_that_forwards_credentials_reports_their_refusal_as_the_callers() {
    for (forwards, kind) in [(false, ErrorKind::Misconfigured), (true, ErrorKind::Unauthenticated)] {
        let address = peer([Reply::Http(403), Reply::Http(401)]).await;
        let channel = Channel::builder(format!("http://{address}"))
            .timeout(SECOND * 60)
            .forwards_credentials(forwards)
            .build()
            .unwrap();
        let first = server_streaming(channel.clone(), "three", 0);
        let (_, second) = tokio::join!(first, async {
            tokio::time::sleep(crate::support::millis(200)).await;
            call(&channel, "report", 0).await.unwrap_err()
        });
        assert_eq!(from_status(&second).kind, kind, "{forwards}");
    }
}
