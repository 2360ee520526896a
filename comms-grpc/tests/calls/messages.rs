//! Answers that are not as this library makes them: long status messages, and responses of proxies.

use std::net::SocketAddr;

use comms_core::ErrorKind;
use comms_grpc::{Channel, ServerConfig, from_status, tonic};
use h2::server::SendResponse;
use http::{HeaderMap, HeaderValue, Response};
use tokio::net::TcpListener;
use tonic::{Code, Status};

use crate::probe::{Probe, SECOND, call, channel, start, watch};

/// How the peer answers a call.
#[derive(Clone, Copy)]
enum Answer {
    /// INVALID_ARGUMENT with a message of so many bytes, in a response of headers alone.
    Headers(usize),
    /// The same in trailers.
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

fn answer(mut to: SendResponse<bytes::Bytes>, answer: Answer) {
    let grpc = || Response::builder().header("content-type", "application/grpc");
    match answer {
        Answer::Headers(length) => {
            let mut response = grpc().body(()).unwrap();
            response.headers_mut().extend(invalid(length));
            to.send_response(response, true).unwrap();
        }
        Answer::Trailers(length) => {
            let mut body = to.send_response(grpc().body(()).unwrap(), false).unwrap();
            body.send_trailers(invalid(length)).unwrap();
        }
        Answer::Http(status) => {
            let response = Response::builder().status(status).header("content-type", "text/html");
            let response = response.header("retry-after", "2").body(()).unwrap();
            let mut body = to.send_response(response, false).unwrap();
            body.send_data(bytes::Bytes::from_static(b"<html>"), true).unwrap();
        }
    }
}

/// A peer that answers the first call of its only connection after the second one, with `answers`.
async fn peer(answers: [Answer; 2]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut connection = h2::server::handshake(listener.accept().await.unwrap().0).await.unwrap();
        let (_, first) = connection.accept().await.unwrap().unwrap();
        let mut first = Some(first);
        while let Some(Ok((_, second))) = connection.accept().await {
            answer(second, answers[1]);
            if let Some(first) = first.take() {
                tokio::spawn(async move {
                    tokio::time::sleep(crate::probe::millis(300)).await;
                    answer(first, answers[0]);
                });
            }
        }
    });
    address
}

/// A call that is in flight on the same connection, and the call that gets `answer`.
async fn beside(another: Answer) -> (Status, Status) {
    let channel = channel(peer([Answer::Headers(5), another]).await, SECOND * 5);
    let first = tokio::spawn({
        let channel = channel.clone();
        async move { call(&channel, "report", 0).await.unwrap_err() }
    });
    tokio::time::sleep(crate::probe::millis(200)).await;
    let second = call(&channel, "report", 0).await.unwrap_err();
    (first.await.unwrap(), second)
}

#[tokio::test]
async fn a_long_message_is_cut_and_costs_no_other_call_anything() {
    for answer in
        [17_000, 200_000, 900_000].into_iter().flat_map(|n| [Answer::Headers(n), Answer::Trailers(n)])
    {
        let (beside, status) = beside(answer).await;
        assert_eq!((status.code(), status.message()), (Code::InvalidArgument, &*"m".repeat(4_096)));
        assert_eq!(from_status(&status).kind, ErrorKind::Invalid);
        assert_eq!((beside.code(), beside.message()), (Code::InvalidArgument, "mmmmm"));
    }
}

/// Headers above the limit are a failed call, trailers above it keep their code; the connection stays.
#[tokio::test]
async fn a_message_above_the_limit_costs_no_other_call_anything() {
    let (beside, status) = self::beside(Answer::Headers(1_100_000)).await;
    assert_eq!(from_status(&status).kind, ErrorKind::Indeterminate, "{status:?}");
    assert_eq!(beside.message(), "mmmmm", "{beside:?}");
    let (beside, status) = self::beside(Answer::Trailers(1_100_000)).await;
    assert_eq!((status.code(), status.message()), (Code::InvalidArgument, ""));
    assert_eq!(beside.message(), "mmmmm", "{beside:?}");
}

/// h2 gives up a connection on which a header block has too many frames.
#[tokio::test]
async fn a_message_far_above_the_limit_leaves_every_call_indeterminate() {
    let (beside, status) = self::beside(Answer::Headers(5_000_000)).await;
    for status in [beside, status] {
        assert_ne!(status.code(), Code::DeadlineExceeded);
        assert_eq!(from_status(&status).kind, ErrorKind::Indeterminate, "{status:?}");
    }
}

#[tokio::test]
async fn a_server_sends_no_message_that_a_default_peer_refuses() {
    let server = start(Probe::default(), ServerConfig::default()).await;
    let status = call(&server.channel(SECOND), "long", 0).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::InvalidArgument, &*"ж".repeat(1_024)));
    // With tonic's own channel and its 16 KiB.
    let plain = tonic::transport::Endpoint::from_shared(format!("http://{}", server.address)).unwrap();
    let request = tonic::Request::new(crate::probe::Ask { what: "long".into(), millis: 0 });
    let status = crate::probe::ask(plain.connect().await.unwrap(), request).await.unwrap_err();
    assert_eq!(status.message().len(), 2_048, "{status}");
}

#[tokio::test]
async fn a_proxys_answer_is_a_deployment_fault_or_indeterminate() {
    use ErrorKind::{Indeterminate, Misconfigured};
    let cases = [
        (401, Misconfigured),
        (403, Misconfigured),
        (404, Misconfigured),
        (200, Misconfigured),
        (429, Indeterminate),
    ];
    for (http, kind) in cases.into_iter().chain([502, 503, 504].map(|http| (http, Indeterminate))) {
        let (_, status) = beside(Answer::Http(http)).await;
        let error = from_status(&status);
        assert_eq!((error.kind, error.retry_after), (kind, Some(SECOND * 2)), "{http}: {status:?}");
    }
}

#[tokio::test]
async fn a_channel_that_forwards_credentials_passes_their_refusal_on() {
    for (forwards, kind) in [(false, ErrorKind::Misconfigured), (true, ErrorKind::Unauthenticated)] {
        let address = peer([Answer::Http(403), Answer::Http(401)]).await;
        let channel = Channel::builder(format!("http://{address}"))
            .timeout(SECOND * 5)
            .forwards_credentials(forwards)
            .build()
            .unwrap();
        let first = watch(channel.clone(), "three", 0);
        let (_, second) = tokio::join!(first, async {
            tokio::time::sleep(crate::probe::millis(200)).await;
            call(&channel, "report", 0).await.unwrap_err()
        });
        assert_eq!(from_status(&second).kind, kind, "{forwards}");
    }
}
