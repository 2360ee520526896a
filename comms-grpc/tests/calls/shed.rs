//! Calls are shed by priority before their handler.

use std::sync::{Arc, atomic::Ordering::SeqCst};

use bytes::Bytes;
use comms_core::{
    ErrorKind,
    clock::Clock,
    context::{Context, Priority},
    idempotency::MemoryStore,
    resilience::{AdaptiveLimitConfig, ShedConfig, ShedLimit, Shedder},
};
use comms_grpc::{Channel, Replay, Server, ServerConfig, from_status, tonic};
use tokio::net::TcpStream;
use tonic::{Code, Status, service::Routes};

use crate::{
    message_limits::descriptors,
    support::{
        SECOND, TestService, call, eventually, millis, server_streaming, single_attempt, start_server,
    },
};

async fn call_as(channel: &Channel, priority: Priority) -> Result<(), tonic::Status> {
    let mut context = Context::root(&Clock::system());
    context.priority = priority;
    context.scope(call(channel, "report", 0)).await.map(drop)
}

#[tokio::test]
async fn a_shed_call_is_rejected_with_its_wait_and_a_proof() {
    let service = TestService::default();
    let shedder = Shedder::new("test-calls", ShedConfig::fixed(10), Clock::system()).unwrap();
    let server = Server::new(Routes::new(service.clone())).shed(shedder.clone());
    let server = start_server(server.config(ServerConfig::default().max_timeout(SECOND * 2))).await;
    let channel = single_attempt(server.address, SECOND * 5);
    // Six of the ten permits, the share of batch work.
    let mut streams = Vec::new();
    for _ in 0..6 {
        let mut stream = server_streaming(channel.clone(), "ticks", 10).await.unwrap();
        stream.message().await.unwrap().unwrap();
        streams.push(stream);
    }
    assert_eq!(shedder.in_flight().total(), 6, "a stream holds its permit after its headers");
    let begun = service.begun.load(SeqCst);
    let status = call_as(&channel, Priority::Batch).await.unwrap_err();
    let error = from_status(&status);
    assert_eq!(error.kind, ErrorKind::Rejected, "{status:?}");
    assert!(error.retry_after.is_some_and(|wait| !wait.is_zero()), "{status:?}");
    assert_eq!(service.begun.load(SeqCst), begun, "the handler did not run");
    call_as(&channel, Priority::Critical).await.unwrap();
    // The client drops three streams, and the others end at their deadline.
    streams.truncate(3);
    eventually("permits of dropped streams are released", || shedder.in_flight().total() == 3).await;
    call_as(&channel, Priority::Batch).await.unwrap();
    for stream in &mut streams {
        let status = loop {
            match stream.message().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("the stream ends at the deadline"),
                Err(status) => break status,
            }
        };
        assert_eq!(status.code(), Code::DeadlineExceeded);
    }
    eventually("permits of ended streams are released", || shedder.in_flight().total() == 0).await;
    for action in ["report", "internal", "panic", "busy"] {
        let _ = call(&channel, action, 0).await;
    }
    eventually("permits of ended calls are released", || shedder.in_flight().total() == 0).await;
}

/// Requests that never arrive would hold every permit, and one connection can send the headers of all of them.
#[tokio::test]
async fn a_request_of_one_message_holds_no_permit_before_it_has_arrived() {
    const MESSAGE: &[u8] = b"\0\0\0\0\x08\x0a\x06report";
    let service = TestService::default();
    let shedder = Shedder::new("test-headers", ShedConfig::fixed(4), Clock::system()).unwrap();
    let replay = Replay::new(Arc::new(MemoryStore::new(Clock::system()))).method("/test.Service/Unary");
    let server = Server::new(Routes::new(service.clone())).descriptors(descriptors());
    let server = start_server(server.shed(shedder.clone()).replay(replay)).await;
    let socket = TcpStream::connect(server.address).await.unwrap();
    let (client, connection) = h2::client::handshake(socket).await.unwrap();
    tokio::spawn(connection);
    let send = async |path: &str, key: &str, whole: bool| {
        let mut request = http::Request::post(format!("http://test/test.Service/{path}"))
            .header("content-type", "application/grpc");
        if !key.is_empty() {
            request = request.header("idempotency-key", key);
        }
        let mut client = client.clone().ready().await.unwrap();
        let (response, mut sent) = client.send_request(request.body(()).unwrap(), false).unwrap();
        // A message without the end of the stream has not arrived.
        sent.send_data(Bytes::from_static(MESSAGE), whole).unwrap();
        (response, sent)
    };
    let mut waiting = Vec::new();
    for (path, key) in [("Unary", ""), ("Unary", "order-7"), ("Stream", ""), ("Unary", ""), ("Unary", "")] {
        waiting.push(send(path, key, false).await);
    }
    let (response, _sent) = send("Unary", "", true).await;
    let mut body = response.await.unwrap().into_body();
    while body.data().await.is_some() {}
    let trailers = body.trailers().await.unwrap().unwrap();
    assert_eq!(trailers["grpc-status"], "0", "{trailers:?}");
    drop(body);
    eventually("the permit of the call is released", || shedder.in_flight().total() == 0).await;

    // All permits of the priority are in use when the rest of a request arrives.
    let channel = single_attempt(server.address, SECOND * 20);
    let mut streams = Vec::new();
    for _ in 0..3 {
        streams.push(server_streaming(channel.clone(), "ticks", 10).await.unwrap());
    }
    let begun = service.begun.load(SeqCst);
    for (response, mut sent) in waiting.drain(..3) {
        sent.send_data(Bytes::new(), true).unwrap();
        let headers = response.await.unwrap().into_parts().0.headers;
        let status = Status::from_header_map(&headers).unwrap();
        assert_eq!(status.code(), Code::Unavailable, "{status:?}");
        assert_eq!(headers["comms-not-executed"], "rejected", "{headers:?}");
        assert!(headers.contains_key("grpc-retry-pushback-ms"), "{headers:?}");
    }
    assert_eq!(service.begun.load(SeqCst), begun, "no handler ran");
    drop(streams);
    eventually("the permits are released", || shedder.in_flight().total() == 0).await;
    let (response, mut sent) = waiting.remove(0);
    sent.send_data(Bytes::new(), true).unwrap();
    assert_eq!(response.await.unwrap().status(), 200);
    assert_eq!(service.begun.load(SeqCst), begun + 1);
}

/// A body that nothing reads is not polled, so it cannot end itself. Another stream of the connection makes progress all the
/// time.
#[tokio::test]
async fn a_client_that_does_not_read_holds_its_permit_until_the_deadline() {
    let shedder = Shedder::new("test-window", ShedConfig::fixed(10), Clock::system()).unwrap();
    let server = Server::new(Routes::new(TestService::default())).shed(shedder.clone());
    let config = ServerConfig::default().max_timeout(SECOND / 2).progress_timeout(SECOND * 60);
    let server = start_server(server.config(config)).await;
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(0);
    let socket = TcpStream::connect(server.address).await.unwrap();
    let (client, connection) = builder.handshake::<_, Bytes>(socket).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut unread = Vec::new();
    for (path, body) in [
        ("/test.Service/Unary", &b"\0\0\0\0\x08\x0a\x06report"[..]),
        ("/test.Service/Stream", b"\0\0\0\0\x07\x0a\x05flood"),
        ("/test.Service/Stream", b"\0\0\0\0\x07\x0a\x05three"),
    ] {
        let request =
            http::Request::post(format!("http://test{path}")).header("content-type", "application/grpc");
        let (response, mut sent) =
            client.clone().ready().await.unwrap().send_request(request.body(()).unwrap(), false).unwrap();
        sent.send_data(Bytes::from_static(body), true).unwrap();
        unread.push(response.await.unwrap().into_body());
    }
    assert_eq!(shedder.in_flight().total(), 3);
    eventually("the permits are released", || shedder.in_flight().total() == 0).await;
    assert!(!connection.is_finished());
    for mut body in unread {
        let error = body.data().await.unwrap().unwrap_err();
        assert_eq!(error.reason(), Some(h2::Reason::CANCEL));
    }
}

/// Neither an oversized message, nor a quota of a handler, nor a deadline in haste, nor a slow upload says anything about
/// the load of the server.
#[tokio::test]
async fn no_client_shrinks_the_limit_of_the_others() {
    let adaptive = AdaptiveLimitConfig::default().min_samples(1).window(millis(1));
    let config = ShedConfig::default().limit(ShedLimit::Adaptive(adaptive));
    let shedder = Shedder::new("test-adaptive", config, Clock::system()).unwrap();
    let server = Server::new(Routes::new(TestService::default())).shed(shedder.clone());
    let config = ServerConfig::default().max_timeout(SECOND).max_request_message(64);
    let server = start_server(server.config(config)).await;
    let channel = single_attempt(server.address, SECOND * 5);
    for _ in 0..5 {
        call(&channel, "sleep", 20).await.unwrap();
    }
    let before = shedder.limit();
    let hasty = single_attempt(server.address, millis(5));
    for _ in 0..5 {
        assert_eq!(call(&channel, &"x".repeat(100), 0).await.unwrap_err().code(), Code::ResourceExhausted);
        assert_eq!(call(&channel, "busy", 0).await.unwrap_err().code(), Code::ResourceExhausted);
        assert!(call(&hasty, "sleep", 20).await.is_err());
    }
    // A client that never sends the rest of its request.
    let socket = TcpStream::connect(server.address).await.unwrap();
    let (client, connection) = h2::client::handshake(socket).await.unwrap();
    tokio::spawn(connection);
    let request =
        http::Request::post("http://test/test.Service/Unary").header("content-type", "application/grpc");
    let (response, mut sent) =
        client.ready().await.unwrap().send_request(request.body(()).unwrap(), false).unwrap();
    sent.send_data(Bytes::from_static(b"\0\0\0\0\x08"), false).unwrap();
    let headers = response.await.unwrap().into_parts().0.headers;
    assert_eq!(Status::from_header_map(&headers).unwrap().code(), Code::DeadlineExceeded);
    eventually("the permits are released", || shedder.in_flight().total() == 0).await;
    assert_eq!(shedder.limit(), before);
}
