//! Every call ends at its deadline, on both sides, with DEADLINE_EXCEEDED.

use std::{
    future::pending,
    sync::atomic::Ordering::SeqCst,
    time::{Duration, Instant},
};

use comms_core::{
    ErrorKind,
    clock::Clock,
    context::{Context, Deadline},
};
use comms_grpc::{Channel, ServerConfig, ServerLayer, from_status, tonic};
use futures::FutureExt;
use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};
use tonic::{Code, Request, Status, body::Body};
use tower_layer::Layer;
use tower_service::Service;

use crate::support::{
    SECOND, TestRequest, TestService, call, channel, eventually, millis, server_streaming, start, unary,
};

fn context_with_timeout(timeout: Duration) -> Context {
    let clock = Clock::system();
    Context::root(&clock).with_deadline(Deadline::after(timeout, &clock))
}

fn now() -> Instant {
    Instant::now()
}

fn expect_deadline_exceeded(result: Result<impl std::fmt::Debug, Status>) -> Status {
    let status = result.expect_err("the deadline passed");
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
    status
}

#[test]
fn a_manual_clock_ends_a_handler_at_the_maximum_of_the_server() {
    let clock = Clock::manual(SECOND);
    let hang = tower::service_fn(|_: http::Request<Body>| pending::<Result<http::Response<Body>, Status>>());
    let mut service = ServerLayer::new(SECOND * 30, clock.clone()).unwrap().layer(hang);
    let mut call = service.call(http::Request::new(Body::empty()));
    clock.advance(SECOND * 29);
    assert!(call.as_mut().now_or_never().is_none());
    clock.advance(SECOND);
    let response = call.now_or_never().expect("the deadline has passed").unwrap();
    let status = Status::from_header_map(response.headers()).unwrap();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
}

#[tokio::test]
async fn a_manual_clock_ends_a_call_at_the_timeout_of_the_channel() {
    let (service, clock) = (TestService::default(), Clock::manual(SECOND));
    let server = start(service.clone(), ServerConfig::default()).await;
    let channel = Channel::builder(format!("http://{}", server.address)).timeout(SECOND * 600);
    let channel = channel.clock(clock.clone()).build().unwrap();
    let hanging = tokio::spawn(async move { call(&channel, "hang", 0).await });
    eventually("the call runs", || service.begun.load(SeqCst) == 1).await;
    clock.advance(SECOND * 600);
    expect_deadline_exceeded(timeout(SECOND * 5, hanging).await.expect("at once").unwrap());
}

#[tokio::test]
async fn the_remaining_time_is_passed_over_two_hops_and_shrinks() {
    let last = start(TestService::default(), ServerConfig::default()).await;
    // The limits of both channels are far longer than the remaining time of the first caller.
    let next = Some(last.channel(SECOND * 20));
    let first = start(TestService { next, ..TestService::default() }, ServerConfig::default()).await;
    let channel = first.channel(SECOND * 20);

    let seen = context_with_timeout(SECOND * 3).scope(call(&channel, "relay", 300)).await.unwrap();
    let near = Duration::from_micros(seen.remaining_micros);
    let far = Duration::from_micros(seen.next.unwrap().remaining_micros);
    assert!(near <= SECOND * 3 && near > SECOND * 2, "{near:?}");
    assert!(far <= near - millis(300) && far > SECOND, "{far:?} after {near:?}");
}

#[tokio::test]
async fn all_hops_share_the_trace_and_the_key_is_not_passed_on() {
    let last = start(TestService::default(), ServerConfig::default()).await;
    let next = Some(last.channel(SECOND));
    let first = start(TestService { next, ..TestService::default() }, ServerConfig::default()).await;

    let context = context_with_timeout(SECOND * 5);
    let trace_id = context.trace.unwrap().trace_id();
    let request = Request::new(TestRequest { action: "relay".into(), millis: 0 });
    let request = comms_grpc::keyed(request, "order-7").unwrap();
    let seen = context.scope(unary(first.channel(SECOND * 5), request)).await.unwrap();
    let behind = seen.next.unwrap();
    assert_eq!((seen.trace_id, seen.key), (trace_id.clone(), "order-7".into()));
    assert_eq!((behind.trace_id, behind.key), (trace_id, String::new()));

    let alone = call(&first.channel(SECOND), "report", 0).await.unwrap();
    assert_eq!(alone.trace_id.len(), 32, "a call without a trace starts one");
}

#[tokio::test]
async fn a_call_after_its_deadline_is_rejected_without_being_sent() {
    let service = TestService::default();
    let server = start(service.clone(), ServerConfig::default()).await;
    let channel = server.channel(SECOND);
    let context = context_with_timeout(millis(1));
    sleep(millis(5)).await;
    let status = expect_deadline_exceeded(context.scope(call(&channel, "report", 0)).await);
    assert_eq!(from_status(&status).kind, ErrorKind::Rejected);
    assert_eq!(service.begun.load(SeqCst), 0);
}

#[tokio::test]
async fn a_handler_that_hangs_is_dropped_at_the_deadline_on_both_sides() {
    let service = TestService::default();
    let server = start(service.clone(), ServerConfig::default()).await;
    let begun = now();
    let status = expect_deadline_exceeded(call(&server.channel(millis(200)), "hang", 0).await);
    assert!(begun.elapsed() < SECOND * 2, "{:?}", begun.elapsed());
    assert_eq!(from_status(&status).kind, ErrorKind::Indeterminate);
    crate::support::eventually("the handler is dropped", || service.dropped.load(SeqCst) == 1).await;
}

/// The kernel of the peer accepts the connection, and no process reads it. The deadline covers queueing and connecting.
#[tokio::test]
async fn a_call_to_a_peer_that_never_responds_ends_at_the_deadline() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let channel = channel(silent.local_addr().unwrap(), millis(200));
    let begun = now();
    let calls = (0..50).map(|_| call(&channel, "report", 0));
    for result in futures::future::join_all(calls).await {
        expect_deadline_exceeded(result);
    }
    assert!(begun.elapsed() < SECOND * 2, "{:?}", begun.elapsed());
}

/// Also a stream that always has an item ready, so that the timer must be polled before the items.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_at_the_deadline() {
    let service = TestService::default();
    let server = start(service.clone(), ServerConfig::default()).await;
    for what in ["ticks", "flood"] {
        let mut ticks = server_streaming(server.channel(SECOND), what, 10).await.unwrap();
        let mut seen = 0;
        let read = async {
            while ticks.message().await?.is_some() {
                seen += 1;
            }
            Ok(())
        };
        expect_deadline_exceeded(tokio::time::timeout(SECOND * 10, read).await.expect("bounded"));
        assert!(seen > 1, "{seen} of {what}");
    }
    crate::support::eventually("the streams are dropped", || service.dropped.load(SeqCst) == 2).await;
}

/// For a caller without a deadline, the maximum of the server applies to the handler and to the stream.
#[tokio::test]
async fn the_maximum_of_the_server_limits_every_call() {
    let mut config = ServerConfig::default();
    config.max_timeout = millis(200);
    let server = start(TestService::default(), config).await;
    let plain = tonic::transport::Endpoint::from_shared(format!("http://{}", server.address)).unwrap();
    let plain = plain.connect().await.unwrap();
    expect_deadline_exceeded(
        unary(plain.clone(), Request::new(TestRequest { action: "hang".into(), millis: 0 })).await,
    );
    let mut ticks = server_streaming(plain, "ticks", 10).await.unwrap();
    let status = expect_deadline_exceeded(
        async {
            while ticks.message().await?.is_some() {}
            Ok(())
        }
        .await,
    );
    assert!(status.message().contains("streamed"), "{status}");
    // The maximum also applies to a caller with a later deadline.
    expect_deadline_exceeded(call(&server.channel(SECOND * 20), "hang", 0).await);
}

/// The timer of tonic responds with CANCELLED, so the timer of the server layer must fire first. The client has no
/// timer.
#[tokio::test(flavor = "multi_thread")]
async fn the_server_responds_with_deadline_exceeded_and_not_with_cancelled() {
    let server = start(TestService::default(), ServerConfig::default()).await;
    let socket = TcpStream::connect(server.address).await.unwrap();
    let (client, connection) = h2::client::handshake(socket).await.unwrap();
    tokio::spawn(async move { connection.await.unwrap() });
    let calls = (0..200u32).map(|n| {
        let client = client.clone();
        async move {
            let request = http::Request::post("http://test/test.Service/Unary")
                .header("content-type", "application/grpc")
                .header("grpc-timeout", format!("{}u", 3_000 + n * 37))
                .body(())
                .unwrap();
            let (response, mut body) = client.ready().await.unwrap().send_request(request, false).unwrap();
            // TestRequest { action: "hang" }, after the prefix of five bytes.
            body.send_data(bytes::Bytes::from_static(b"\0\0\0\0\x06\x0a\x04hang"), true).unwrap();
            let response = response.await.unwrap();
            response.headers().get("grpc-status").map(|v| v.to_str().unwrap().to_owned())
        }
    });
    for status in futures::future::join_all(calls).await {
        assert_eq!(status.as_deref(), Some("4"));
    }
}

#[tokio::test]
async fn a_malformed_timeout_is_an_invalid_argument() {
    let service = TestService::default();
    let server = start(service.clone(), ServerConfig::default()).await;
    let plain = tonic::transport::Endpoint::from_shared(format!("http://{}", server.address)).unwrap();
    let plain = plain.connect().await.unwrap();
    for text in ["+5S", "5x", "", "S", "123456789m", "1 S", "-1S"] {
        let mut request = Request::new(TestRequest { action: "report".into(), millis: 0 });
        request.metadata_mut().insert("grpc-timeout", text.parse().unwrap());
        let status = unary(plain.clone(), request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{text:?}: {status}");
    }
    assert_eq!(service.begun.load(SeqCst), 0);
}

#[tokio::test]
async fn a_timeout_of_the_maximum_duration_does_not_panic() {
    let server = start(TestService::default(), ServerConfig::default()).await;
    let channel = server.channel(Duration::MAX);
    let seen = context_with_timeout(Duration::MAX).scope(call(&channel, "report", 0)).await.unwrap();
    assert!(Duration::from_micros(seen.remaining_micros) <= SECOND * 30, "limited by the server");
}

/// The earliest deadline applies: here that of the request.
#[tokio::test]
async fn a_timeout_on_the_request_applies() {
    let server = start(TestService::default(), ServerConfig::default()).await;
    let mut request = Request::new(TestRequest { action: "hang".into(), millis: 0 });
    request.set_timeout(millis(100));
    let begun = now();
    expect_deadline_exceeded(unary(server.channel(SECOND * 20), request).await);
    assert!(begun.elapsed() < SECOND * 2);
}

#[tokio::test]
async fn the_settings_of_a_channel_are_checked_when_it_is_built() {
    for uri in [
        "",
        "127.0.0.1:1",
        "https://host:1",
        "http://",
        "http://host:1/path",
        "unix:/tmp/x",
        "http://h o",
        "http://shop:hunter2@host:1",
        "ftp://shop:hunter2@host:1",
        "shop:hunter2",
    ] {
        let builder = Channel::builder(uri);
        let shown = format!("{builder:?}");
        let error = builder.build().unwrap_err();
        assert_eq!(error.kind, ErrorKind::Invalid, "{uri:?}");
        let text = error.chain().to_string();
        assert!(!text.contains("hunter2") && !shown.contains("hunter2"), "{uri:?}: {error:?} {shown}");
    }
    assert!(Channel::builder("http://h:1").timeout(Duration::ZERO).build().is_err());
    let outside = std::thread::spawn(|| Channel::builder("http://h:1").build().is_err());
    assert!(outside.join().unwrap(), "outside a runtime");
}

/// A handler that never waits uses up the cooperative budget of its task before the timer is polled. The client has no
/// timer of its own.
#[tokio::test]
async fn a_handler_and_a_stream_that_spend_the_budget_of_their_task_end_at_the_deadline() {
    let service = TestService::default();
    let server = start(service.clone(), ServerConfig::default().max_timeout(millis(300))).await;
    let plain = tonic::transport::Endpoint::from_shared(format!("http://{}", server.address)).unwrap();
    let plain = plain.connect().await.unwrap();
    let request = Request::new(TestRequest { action: "spend".into(), millis: 0 });
    let ended = timeout(SECOND * 10, unary(plain.clone(), request)).await.expect("the handler is dropped");
    expect_deadline_exceeded(ended);
    let mut stream = server_streaming(plain, "spend", 0).await.unwrap();
    let ended = timeout(SECOND * 10, stream.message()).await.expect("the stream is dropped");
    expect_deadline_exceeded(ended);
    eventually("handler and stream are dropped", || service.dropped.load(SeqCst) == 2).await;
}
