//! The proof header of comms-grpc's server: it is sent only on calls that are refused before a handler runs.

use std::{sync::atomic::Ordering::SeqCst, time::Duration};

use comms_core::{BoxError, Error, ErrorKind, clock::Clock, resilience::Backoff, wire::NOT_EXECUTED};
use comms_grpc::{Channel, ServerConfig, ServerLayer, from_status, refused, tonic};
use http::HeaderMap;
use tokio::net::TcpStream;
use tonic::{Code, Status, body::Body};
use tower::ServiceExt;
use tower_layer::Layer;

use crate::support::{SECOND, TestService, call, millis, server_streaming, start};

/// Calls `/test.Service/Unary` with the header `grpc-timeout`, and returns the response headers of the wire.
async fn raw_call(address: std::net::SocketAddr, timeout: &str, message: &'static [u8]) -> HeaderMap {
    let socket = TcpStream::connect(address).await.unwrap();
    let (client, connection) = h2::client::handshake(socket).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::post("http://test/test.Service/Unary")
        .header("content-type", "application/grpc")
        .header("grpc-timeout", timeout)
        .body(())
        .unwrap();
    let (response, mut body) = client.ready().await.unwrap().send_request(request, false).unwrap();
    body.send_data(bytes::Bytes::from_static(message), true).unwrap();
    response.await.unwrap().headers().clone()
}

#[tokio::test]
async fn a_call_that_arrives_after_its_deadline_is_refused_with_a_proof() {
    let service = TestService::default();
    let server = start(service.clone(), ServerConfig::default()).await;
    let headers = raw_call(server.address, "0m", b"\0\0\0\0\0").await;
    assert_eq!(
        (&headers["grpc-status"], &headers[NOT_EXECUTED]),
        (&"4".parse().unwrap(), &"rejected".parse().unwrap())
    );
    assert_eq!(service.begun.load(SeqCst), 0);
    // A deadline that passes while the handler runs is no proof.
    let headers = raw_call(server.address, "50m", b"\0\0\0\0\x06\x0a\x04hang").await;
    assert_eq!(headers["grpc-status"], "4");
    assert!(headers.get(NOT_EXECUTED).is_none());
}

#[tokio::test]
async fn a_refusal_by_a_handler_arrives_with_its_kind_and_wait() {
    let server = start(TestService::default(), ServerConfig::default()).await;
    let channel = server.channel(SECOND);
    let error = from_status(&call(&channel, "refuse", 250).await.unwrap_err());
    assert_eq!((error.kind, error.retry_after), (ErrorKind::Rejected, Some(Duration::from_millis(250))));
    let status = call(&channel, "not ready", 0).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Unavailable, "unavailable"));
    assert_eq!(from_status(&status).kind, ErrorKind::NotExecuted);
}

/// A handler that forwards a status has run, and may have had effects.
#[tokio::test]
async fn a_forwarded_or_forged_proof_is_removed() {
    let last = start(TestService::default(), ServerConfig::default()).await;
    let next = Some(last.channel(SECOND));
    let first = start(TestService { next, ..TestService::default() }, ServerConfig::default()).await;
    let channel = first.channel(SECOND);
    let forwarded = call(&channel, "forward", 250).await.unwrap_err();
    let error = from_status(&forwarded);
    assert_eq!((error.kind, error.retry_after), (ErrorKind::Indeterminate, Some(Duration::from_millis(250))));
    let forged = call(&channel, "forge", 0).await.unwrap_err();
    assert_eq!((forged.code(), from_status(&forged).kind), (Code::Unavailable, ErrorKind::Indeterminate));
    let headers = raw_call(first.address, "1S", b"\0\0\0\0\x07\x0a\x05forge").await;
    assert!(headers.get(NOT_EXECUTED).is_none(), "{headers:?}");
}

#[tokio::test]
async fn a_refusal_after_the_response_has_begun_is_no_proof() {
    let server = start(TestService::default(), ServerConfig::default()).await;
    let mut stream = server_streaming(server.channel(SECOND), "refuse", 0).await.unwrap();
    stream.message().await.unwrap().unwrap();
    let status = stream.message().await.unwrap_err();
    assert_eq!((status.code(), from_status(&status).kind), (Code::Unavailable, ErrorKind::Indeterminate));
}

/// Returns the response headers of the server layer for an `error` of the service below it.
async fn response_to_error(error: impl Fn() -> BoxError + Clone + Send + 'static) -> HeaderMap {
    let service = tower::service_fn(move |_: http::Request<Body>| {
        let error = error();
        async move { Err::<http::Response<Body>, _>(error) }
    });
    let layer = ServerLayer::new(SECOND, Clock::system()).unwrap();
    layer.layer(service).oneshot(http::Request::new(Body::empty())).await.unwrap().headers().clone()
}

#[tokio::test]
async fn an_error_of_a_layer_below_is_sent_as_its_kind() {
    let full = || Error::rejected("full", None);
    let headers = response_to_error(move || full().into()).await;
    assert_eq!((&headers["grpc-status"], headers.get(NOT_EXECUTED)), (&"8".parse().unwrap(), None));
    let headers = response_to_error(move || refused(&full()).into()).await;
    assert_eq!(
        (&headers["grpc-status"], &headers[NOT_EXECUTED]),
        (&"8".parse().unwrap(), &"rejected".parse().unwrap())
    );
    for error in [|| Error::misconfigured("hunter2").into(), || -> BoxError { "hunter2".into() }] {
        let status = Status::from_header_map(&response_to_error(error).await).unwrap();
        assert_eq!((status.code(), status.message()), (Code::Internal, "internal error"));
    }
}

/// Connections are closed gracefully, after about 20 ms each, while calls are made. The channel repeats a call that
/// crosses the GOAWAY. Handlers of calls that fail as `NotExecuted` have not run.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_closed_in_order_loses_no_call() {
    let service = TestService::default();
    let mut config = ServerConfig::default();
    config.max_connection_age = millis(20);
    let server = start(service.clone(), config).await;
    let channel = Channel::builder(format!("http://{}", server.address))
        .timeout(SECOND * 60)
        .without_policy()
        // A loaded machine closes connections before they answer a call. The calls wait for the next one.
        .wait_for_ready(true)
        .reconnect_backoff(Backoff::new(millis(5), millis(20)).unwrap())
        .build()
        .unwrap();
    let callers = (0..16).map(|_| {
        let channel = channel.clone();
        tokio::spawn(async move {
            let mut failures = Vec::new();
            for _ in 0..300 {
                failures.extend(call(&channel, "report", 0).await.err());
            }
            failures
        })
    });
    let ended = futures::future::join_all(callers).await;
    let failures: Vec<_> = ended.into_iter().flat_map(Result::unwrap).collect();
    // Two refusals in a row end a call, because a transparent retry happens once. A policy retries it. A connection that
    // is cut together with its GOAWAY leaves calls without proof.
    let (not_executed, unproven): (Vec<_>, Vec<_>) =
        failures.iter().partition(|status| from_status(status).kind == ErrorKind::NotExecuted);
    for status in &unproven {
        assert_eq!(from_status(status).kind, ErrorKind::Indeterminate, "{status:?}");
    }
    assert!(failures.len() < 100, "{} failures, such as {:?}", failures.len(), failures.last());
    let begun = service.begun.load(SeqCst);
    assert!((4_800 - failures.len()..=4_800 - not_executed.len()).contains(&begun), "{begun}: {failures:?}");
}

/// Without a policy, each call has one attempt. The server closes each connection after at most 330 ms.
#[tokio::test(flavor = "multi_thread")]
async fn no_call_fails_while_twelve_connections_are_closed_in_order() {
    let mut config = ServerConfig::default();
    config.max_connection_age = crate::support::millis(300);
    let server = start(TestService::default(), config).await;
    let channel = crate::support::single_attempt(server.address, SECOND * 60);
    let started = std::time::Instant::now();
    let callers = (0..4).map(|_| {
        let channel = channel.clone();
        tokio::spawn(async move {
            while started.elapsed() < crate::support::millis(13 * 330) {
                call(&channel, "report", 0).await.unwrap();
            }
        })
    });
    for caller in futures::future::join_all(callers).await {
        caller.unwrap();
    }
}
