//! Calls with an idempotency key are executed once.

use std::sync::{Arc, atomic::Ordering::SeqCst};

use comms_core::{
    ErrorKind,
    clock::Clock,
    idempotency::{LeaseOptions, MemoryStore},
};
use comms_grpc::{Replay, Server, ServerConfig, from_status, keyed, tonic};
use tonic::{Code, Request, Status, metadata::MetadataMap, service::Routes};

use crate::support::{
    Observation, RunningServer, SECOND, TestRequest, TestService, eventually, millis, single_attempt,
    start_server, unary,
};

const UNARY: &str = "/test.Service/Unary";

async fn start(service: &TestService, replay: impl FnOnce(Replay) -> Replay, clock: &Clock) -> RunningServer {
    let store = Arc::new(MemoryStore::new(clock.clone()));
    let replay = replay(Replay::new(store).method(UNARY));
    let config = ServerConfig::default().max_timeout(SECOND);
    start_server(Server::new(Routes::new(service.clone())).config(config).replay(replay)).await
}

fn request(action: &str, key: &str, millis: u64) -> Request<TestRequest> {
    let request = Request::new(TestRequest { action: action.into(), millis });
    if key.is_empty() { request } else { keyed(request, key).unwrap() }
}

async fn call(server: &RunningServer, action: &str, key: &str) -> Result<Observation, Status> {
    unary(single_attempt(server.address, SECOND * 5), request(action, key, 0)).await
}

/// Calls and returns the metadata of the response.
async fn metadata(server: &RunningServer, action: &str, key: &str) -> (MetadataMap, Observation) {
    let mut grpc = tonic::client::Grpc::new(single_attempt(server.address, SECOND));
    grpc.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<TestRequest, Observation>::default();
    let response = grpc.unary(request(action, key, 0), UNARY.parse().unwrap(), codec).await.unwrap();
    let (metadata, message, _) = response.into_parts();
    (metadata, message)
}

#[tokio::test]
async fn a_repetition_gets_the_stored_response() {
    let service = TestService::default();
    let server = start(&service, |replay| replay, &Clock::system()).await;
    let (first, message) = metadata(&server, "report", "order-7").await;
    assert!(first.get("idempotent-replayed").is_none());
    // The handler would report another remaining time.
    let (second, replayed) = metadata(&server, "report", "order-7").await;
    assert_eq!(second.get("idempotent-replayed").unwrap(), "true");
    assert_eq!(replayed, message);
    assert_eq!(service.begun.load(SeqCst), 1);
    call(&server, "report", "order-8").await.unwrap();
    // Without a key, the call is not replayed.
    call(&server, "report", "").await.unwrap();
    call(&server, "report", "").await.unwrap();
    assert_eq!(service.begun.load(SeqCst), 4);
}

#[tokio::test]
async fn a_key_of_another_request_is_an_invalid_argument() {
    let service = TestService::default();
    let server = start(&service, |replay| replay, &Clock::system()).await;
    call(&server, "report", "order-7").await.unwrap();
    let status =
        unary(single_attempt(server.address, SECOND), request("report", "order-7", 1)).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    assert!(status.message().contains("another request"), "{status}");
    assert_eq!(service.begun.load(SeqCst), 1);
}

#[tokio::test]
async fn a_repetition_while_the_call_runs_is_aborted_with_a_wait() {
    let service = TestService::default();
    let server = start(&service, |replay| replay, &Clock::system()).await;
    let channel = single_attempt(server.address, SECOND * 5);
    let first = tokio::spawn(unary(channel.clone(), request("sleep", "order-7", 500)));
    eventually("the call runs", || service.begun.load(SeqCst) == 1).await;
    let status = unary(channel.clone(), request("sleep", "order-7", 500)).await.unwrap_err();
    assert_eq!(status.code(), Code::Aborted, "{status}");
    let error = from_status(&status);
    assert_eq!((error.kind, error.retry_after), (ErrorKind::Conflict, Some(SECOND)));
    let first = first.await.unwrap().unwrap();
    assert_eq!(unary(channel, request("sleep", "order-7", 500)).await.unwrap(), first);
    assert_eq!(service.begun.load(SeqCst), 1);
}

/// A failure that excludes an effect releases the key at once, any other one at the end of the lease.
#[tokio::test]
async fn the_lease_of_a_failed_call_depends_on_its_effect() {
    let service = TestService::default();
    let clock = Clock::manual(SECOND);
    let server =
        start(&service, |replay| replay.lease(LeaseOptions::new(SECOND * 10, SECOND * 60).unwrap()), &clock);
    let server = server.await;
    for (action, code) in [("refuse", Code::ResourceExhausted), ("unknown action", Code::InvalidArgument)] {
        for _ in 0..2 {
            assert_eq!(call(&server, action, action).await.unwrap_err().code(), code, "{action}");
        }
    }
    assert_eq!(service.begun.load(SeqCst), 4);
    // The last one is dropped at the deadline of the server.
    for (action, code) in [
        ("internal", Code::Internal),
        ("panic", Code::Internal),
        ("busy", Code::ResourceExhausted),
        ("hang", Code::DeadlineExceeded),
    ] {
        let begun = service.begun.load(SeqCst);
        assert_eq!(call(&server, action, action).await.unwrap_err().code(), code, "{action}");
        assert_eq!(call(&server, action, action).await.unwrap_err().code(), Code::Aborted, "{action}");
        assert_eq!(service.begun.load(SeqCst), begun + 1, "{action}");
        clock.advance(SECOND * 10);
        assert_eq!(call(&server, action, action).await.unwrap_err().code(), code, "{action}");
        assert_eq!(service.begun.load(SeqCst), begun + 2, "{action}");
        clock.advance(SECOND * 10);
    }
}

#[tokio::test]
async fn requests_and_responses_are_limited() {
    let service = TestService::default();
    let server = start(&service, |replay| replay.max_request(20).max_response(100), &Clock::system()).await;
    let status = call(&server, &"x".repeat(20), "large").await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    assert_eq!(service.begun.load(SeqCst), 0);
    // The response has the key of 90 bytes and more: the caller gets it, and a repetition does not.
    let key = "k".repeat(90);
    assert_eq!(call(&server, "report", &key).await.unwrap().key, key);
    let status = call(&server, "report", &key).await.unwrap_err();
    assert_eq!((status.code(), from_status(&status).kind), (Code::AlreadyExists, ErrorKind::Conflict));
    assert_eq!(service.begun.load(SeqCst), 1);
}

/// The caller is gone before the handler has finished: the key stays taken.
#[tokio::test]
async fn a_call_that_its_caller_cancels_keeps_its_key() {
    let service = TestService::default();
    let server = start(&service, |replay| replay, &Clock::system()).await;
    let status =
        unary(single_attempt(server.address, millis(100)), request("hang", "order-7", 0)).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    eventually("the handler is dropped", || service.dropped.load(SeqCst) == 1).await;
    let status = call(&server, "hang", "order-7").await.unwrap_err();
    assert_eq!(status.code(), Code::Aborted, "{status}");
    assert_eq!(service.begun.load(SeqCst), 1);
}

#[tokio::test]
async fn a_lease_shorter_than_the_longest_call_is_invalid() {
    let lease = LeaseOptions::new(SECOND * 9, SECOND * 60).unwrap();
    let replay = Replay::new(Arc::new(MemoryStore::new(Clock::system()))).lease(lease);
    let config = ServerConfig::default().max_timeout(SECOND * 10);
    let server = start_server(Server::new(Routes::default()).config(config).replay(replay)).await;
    assert_eq!(server.ended.await.unwrap().unwrap_err().kind, ErrorKind::Invalid);
}
