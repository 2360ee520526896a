//! Shutdown, health, panics of handlers, and limits of the server.

use std::{convert::Infallible, sync::atomic::Ordering::SeqCst};

use comms_core::{ErrorKind, clock::Clock};
use comms_grpc::{ListenerConfig, RequestBody, ServerConfig, ServerLayer, from_status, listen, serve, tonic};
use http::{Request, Response};
use tokio::{net::TcpListener, time::timeout};
use tonic::{Code, body::Body, service::Routes};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tower::{Layer, ServiceExt};

use crate::support::{
    SECOND, TestService, call, channel, eventually, millis, raw_call, server_streaming, start,
};

#[tokio::test]
async fn shutdown_finishes_calls_in_flight_and_accepts_no_others() {
    let service = TestService::default();
    let server = start(service.clone(), ServerConfig::default()).await;
    let open = server.channel(SECOND * 60);
    let in_flight = tokio::spawn({
        let open = open.clone();
        async move { call(&open, "sleep", 500).await }
    });
    eventually("the call runs", || service.begun.load(SeqCst) == 1).await;
    server.stop.send(()).unwrap();
    let ended = timeout(SECOND * 5, server.ended).await.expect("before the end of the drain");
    ended.unwrap().unwrap();
    in_flight.await.unwrap().unwrap();
    let status = call(&channel(server.address, SECOND), "report", 0).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
}

#[tokio::test]
async fn shutdown_cuts_calls_at_the_end_of_the_drain() {
    let service = TestService::default();
    let mut config = ServerConfig::default();
    config.drain = millis(200);
    let server = start(service.clone(), config).await;
    let open = server.channel(SECOND * 60);
    let in_flight = tokio::spawn(async move { call(&open, "hang", 0).await });
    eventually("the call runs", || service.begun.load(SeqCst) == 1).await;
    server.stop.send(()).unwrap();
    timeout(SECOND * 2, server.ended).await.expect("limited by the drain").unwrap().unwrap();
    let status = timeout(SECOND * 2, in_flight).await.expect("the call is cut").unwrap().unwrap_err();
    assert_eq!(from_status(&status).kind, ErrorKind::Indeterminate, "{status}");
    eventually("the handler is dropped", || service.dropped.load(SeqCst) == 1).await;
}

/// A watch has no deadline, reports the shutdown, and does not delay it.
#[tokio::test]
async fn health_reports_not_serving_before_the_drain() {
    let mut config = ServerConfig::default();
    config.max_timeout = millis(300);
    let server = start(TestService::default(), config).await;
    let plain = tonic::transport::Endpoint::from_shared(format!("http://{}", server.address)).unwrap();
    let mut health = HealthClient::new(plain.connect().await.unwrap());
    let mut watch = health.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    let next = watch.message().await.unwrap().unwrap();
    assert_eq!(next.status(), ServingStatus::Serving);
    tokio::time::sleep(millis(500)).await;
    server.stop.send(()).unwrap();
    let next = watch.message().await.unwrap().unwrap();
    assert_eq!(next.status(), ServingStatus::NotServing);
    let end = timeout(SECOND * 5, watch.message()).await.expect("the watch ends");
    assert!(end.unwrap().is_none());
    timeout(SECOND * 5, server.ended).await.expect("the watch does not delay the shutdown").unwrap().unwrap();
}

#[tokio::test]
async fn a_panic_of_a_handler_is_internal_and_the_server_continues() {
    let server = start(TestService::default(), ServerConfig::default()).await;
    let channel = server.channel(SECOND);
    for _ in 0..3 {
        let status = call(&channel, "panic", 0).await.unwrap_err();
        assert_eq!((status.code(), status.message()), (Code::Internal, "internal error"));
        let mut stream = server_streaming(channel.clone(), "panic", 0).await.unwrap();
        let status = stream.message().await.unwrap_err();
        assert_eq!((status.code(), status.message()), (Code::Internal, "internal error"));
    }
    call(&channel, "report", 0).await.unwrap();
}

/// The stream of a handler that has returned runs in the context of its call.
#[tokio::test]
async fn a_response_stream_runs_in_the_context_of_its_call() {
    let server = start(TestService::default(), ServerConfig::default()).await;
    let mut stream = server_streaming(server.channel(SECOND), "three", 0).await.unwrap();
    let mut seen = 0;
    while let Some(observation) = stream.message().await.unwrap() {
        assert!(observation.remaining_micros > 0 && observation.trace_id.len() == 32, "{observation:?}");
        seen += 1;
    }
    assert_eq!(seen, 3);
}

#[tokio::test]
async fn limits_of_zero_are_invalid() {
    let cases: [fn(&mut ServerConfig); 5] = [
        |c| c.max_timeout = millis(0),
        |c| c.max_connections = 0,
        |c| c.max_streams = 0,
        |c| c.keep_alive = millis(0),
        |c| c.max_connection_age = millis(0),
    ];
    for change in cases {
        let mut config = ServerConfig::default();
        change(&mut config);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let clock = comms_core::clock::Clock::system();
        let result = serve(listener, Routes::default(), config, clock, std::future::pending()).await;
        assert_eq!(result.unwrap_err().kind, ErrorKind::Invalid);
    }
}

/// A connection over the limit waits until the first connection is closed because of its age.
#[tokio::test]
async fn connections_are_limited_in_number_and_age() {
    let mut config = ServerConfig::default();
    config.max_connections = 1;
    config.max_connection_age = millis(500);
    let server = start(TestService::default(), config).await;
    let first = server.channel(SECOND * 60);
    call(&first, "report", 0).await.unwrap();
    let second = server.channel(millis(200));
    call(&second, "report", 0).await.unwrap_err();
    tokio::time::sleep(millis(600)).await;
    call(&server.channel(SECOND * 60), "report", 0).await.unwrap();
}

/// The server waits half a second for the peer to close a connection that the server has closed.
#[tokio::test]
async fn a_peer_that_does_not_close_its_connection_loses_it() {
    use tokio::io::AsyncWriteExt;
    let server = start(TestService::default(), ServerConfig::default()).await;
    let mut socket = tokio::net::TcpStream::connect(server.address).await.unwrap();
    // DATA on stream 0 is a connection error.
    let settings = crate::frames::frame(crate::frames::SETTINGS, 0, 0, &[]);
    let wrong = crate::frames::frame(crate::frames::DATA, 0, 0, b"x");
    let bytes = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &settings, &wrong].concat();
    socket.write_all(&bytes).await.unwrap();
    for _ in 0..200 {
        tokio::time::sleep(crate::support::millis(50)).await;
        if socket.write_all(b"more").await.is_err() {
            return;
        }
    }
    panic!("the connection is still open after 10 s");
}

/// A handler may make a call in its own process. The deadline of that call is not the one of the response.
#[tokio::test]
async fn the_deadline_of_an_inner_call_does_not_reset_the_stream() {
    let clock = Clock::manual(SECOND);
    let answer = |_: Request<Body>| std::future::ready(Ok::<_, Infallible>(Response::new(Body::empty())));
    let inner = ServerLayer::new(SECOND, clock.clone()).unwrap().layer(tower::service_fn(answer));
    let time = clock.clone();
    let service = tower::service_fn(move |_: Request<RequestBody>| {
        let (inner, time) = (inner.clone(), time.clone());
        async move {
            let inner = inner.oneshot(Request::new(Body::empty())).await;
            tokio::task::yield_now().await;
            time.advance(SECOND * 3);
            tokio::task::yield_now().await;
            inner.map(|_| Response::new(Body::empty()))
        }
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let config = ListenerConfig::default();
    tokio::spawn(listen(listener, move |_| service.clone(), config, clock, std::future::pending()));
    assert_eq!(raw_call(address, "POST", "/", &[], b"").await.status, 200);
}
