//! The proof that comms-grpc's own server gives: on what it refuses before a handler runs, and on nothing else.

use std::{sync::atomic::Ordering::SeqCst, time::Duration};

use comms_core::{BoxError, Error, ErrorKind, clock::Clock, wire::NOT_EXECUTED};
use comms_grpc::{ServerConfig, ServerLayer, from_status, refused, tonic};
use http::HeaderMap;
use tokio::net::TcpStream;
use tonic::{Code, Status, body::Body};
use tower::ServiceExt;
use tower_layer::Layer;

use crate::probe::{Probe, SECOND, call, start, watch};

/// The headers that the server answers to `/test.Probe/Ask` with `grpc-timeout`, as they stand on the wire.
async fn raw(address: std::net::SocketAddr, timeout: &str, ask: &'static [u8]) -> HeaderMap {
    let socket = TcpStream::connect(address).await.unwrap();
    let (client, connection) = h2::client::handshake(socket).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::post("http://probe/test.Probe/Ask")
        .header("content-type", "application/grpc")
        .header("grpc-timeout", timeout)
        .body(())
        .unwrap();
    let (response, mut body) = client.ready().await.unwrap().send_request(request, false).unwrap();
    body.send_data(bytes::Bytes::from_static(ask), true).unwrap();
    response.await.unwrap().headers().clone()
}

#[tokio::test]
async fn a_deadline_that_passed_on_the_way_is_refused_with_a_proof() {
    let probe = Probe::default();
    let server = start(probe.clone(), ServerConfig::default()).await;
    let headers = raw(server.address, "0m", b"\0\0\0\0\0").await;
    assert_eq!(
        (&headers["grpc-status"], &headers[NOT_EXECUTED]),
        (&"4".parse().unwrap(), &"rejected".parse().unwrap())
    );
    assert_eq!(probe.begun.load(SeqCst), 0);
    // A deadline that passes while the handler runs proves nothing.
    let headers = raw(server.address, "50m", b"\0\0\0\0\x06\x0a\x04hang").await;
    assert_eq!(headers["grpc-status"], "4");
    assert!(headers.get(NOT_EXECUTED).is_none());
}

#[tokio::test]
async fn a_handlers_refusal_arrives_with_its_kind_and_wait() {
    let server = start(Probe::default(), ServerConfig::default()).await;
    let channel = server.channel(SECOND);
    let error = from_status(&call(&channel, "refuse", 250).await.unwrap_err());
    assert_eq!((error.kind, error.retry_after), (ErrorKind::Rejected, Some(Duration::from_millis(250))));
    let status = call(&channel, "not ready", 0).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Unavailable, "unavailable"));
    assert_eq!(from_status(&status).kind, ErrorKind::NotExecuted);
}

/// The handler that forwards has run itself, and may have had effects.
#[tokio::test]
async fn a_forwarded_or_forged_proof_is_removed() {
    let last = start(Probe::default(), ServerConfig::default()).await;
    let next = Some(last.channel(SECOND));
    let first = start(Probe { next, ..Probe::default() }, ServerConfig::default()).await;
    let channel = first.channel(SECOND);
    let forwarded = call(&channel, "forward", 250).await.unwrap_err();
    let error = from_status(&forwarded);
    assert_eq!((error.kind, error.retry_after), (ErrorKind::Indeterminate, Some(Duration::from_millis(250))));
    let forged = call(&channel, "forge", 0).await.unwrap_err();
    assert_eq!((forged.code(), from_status(&forged).kind), (Code::Unavailable, ErrorKind::Indeterminate));
    let headers = raw(first.address, "1S", b"\0\0\0\0\x07\x0a\x05forge").await;
    assert!(headers.get(NOT_EXECUTED).is_none(), "{headers:?}");
}

#[tokio::test]
async fn a_stream_that_has_begun_cannot_be_refused() {
    let server = start(Probe::default(), ServerConfig::default()).await;
    let mut stream = watch(server.channel(SECOND), "refuse", 0).await.unwrap();
    stream.message().await.unwrap().unwrap();
    let status = stream.message().await.unwrap_err();
    assert_eq!((status.code(), from_status(&status).kind), (Code::Unavailable, ErrorKind::Indeterminate));
}

/// What the server layer sends for an error of a service below it.
async fn below(error: impl Fn() -> BoxError + Clone + Send + 'static) -> HeaderMap {
    let service = tower::service_fn(move |_: http::Request<Body>| {
        let error = error();
        async move { Err::<http::Response<Body>, _>(error) }
    });
    let layer = ServerLayer::new(SECOND, Clock::system()).unwrap();
    layer.layer(service).oneshot(http::Request::new(Body::empty())).await.unwrap().headers().clone()
}

#[tokio::test]
async fn an_error_of_a_layer_below_is_sent_by_the_table() {
    let full = || Error::rejected("full", None);
    let headers = below(move || full().into()).await;
    assert_eq!((&headers["grpc-status"], headers.get(NOT_EXECUTED)), (&"8".parse().unwrap(), None));
    let headers = below(move || refused(&full()).into()).await;
    assert_eq!(
        (&headers["grpc-status"], &headers[NOT_EXECUTED]),
        (&"8".parse().unwrap(), &"rejected".parse().unwrap())
    );
    for error in [|| Error::misconfigured("hunter2").into(), || -> BoxError { "hunter2".into() }] {
        let status = Status::from_header_map(&below(error).await).unwrap();
        assert_eq!((status.code(), status.message()), (Code::Internal, "internal error"));
    }
}

/// Connections end in order while calls are made. Some calls fail; those that count as not executed were not.
#[tokio::test(flavor = "multi_thread")]
async fn no_call_that_counts_as_not_executed_has_run() {
    let probe = Probe::default();
    let mut config = ServerConfig::default();
    config.max_connection_age = crate::probe::millis(20);
    let server = start(probe.clone(), config).await;
    let channel = server.channel(SECOND * 5);
    let callers = (0..16).map(|_| {
        let channel = channel.clone();
        tokio::spawn(async move {
            let mut kinds = Vec::new();
            for _ in 0..300 {
                let failed = call(&channel, "report", 0).await.err();
                let kind = failed.as_ref().map(|status| from_status(status).kind);
                // hyper's words for a call that was still queued when its connection ended.
                let queued = failed.is_some_and(|status| status.message().ends_with(": connection closed"));
                assert!(!queued || kind == Some(ErrorKind::NotExecuted));
                kinds.push(kind);
            }
            kinds
        })
    });
    let ended = futures::future::join_all(callers).await;
    let kinds: Vec<_> = ended.into_iter().flat_map(Result::unwrap).collect();
    let count = |wanted| kinds.iter().filter(|kind| **kind == wanted).count();
    let (done, unclear) = (count(None), count(Some(ErrorKind::Indeterminate)));
    let unexecuted = count(Some(ErrorKind::NotExecuted));
    assert_eq!(done + unclear + unexecuted, kinds.len());
    assert!(unexecuted > 0, "{done} done, {unclear} indeterminate");
    let begun = probe.begun.load(SeqCst);
    assert!((done..=done + unclear).contains(&begun), "{begun} begun, {done} done, {unclear} indeterminate");
}
