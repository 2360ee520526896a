//! Calls are shed by priority before their handler.

use std::sync::atomic::Ordering::SeqCst;

use comms_core::{
    ErrorKind,
    clock::Clock,
    context::{Context, Priority},
    resilience::{ShedConfig, Shedder},
};
use comms_grpc::{Channel, Server, ServerConfig, from_status, tonic};
use tonic::{Code, service::Routes};

use crate::support::{SECOND, TestService, call, eventually, server_streaming, single_attempt, start_server};

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
