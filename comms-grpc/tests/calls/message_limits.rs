//! The size, the number and the completeness of the messages of a call.

use std::sync::atomic::Ordering::SeqCst;

use comms_core::{BoxError, ErrorKind};
use comms_grpc::{Channel, Server, ServerConfig, from_status, keyed, tonic};
use prost::Message;
use prost_types::{FileDescriptorProto, FileDescriptorSet, MethodDescriptorProto, ServiceDescriptorProto};
use tokio::net::TcpListener;
use tonic::{Code, Request, Status, service::Routes};

use crate::support::{
    Observation, SECOND, TestRequest, TestService, raw_call, server_streaming, start, start_server, unary,
};

const UNARY: &str = "/test.Service/Unary";
const STREAM: &str = "/test.Service/Stream";
/// Two messages of the action `report`.
const TWO: &[u8] = b"\0\0\0\0\x08\x0a\x06report\0\0\0\0\x08\x0a\x06report";

async fn code(server: std::net::SocketAddr, path: &str, body: &'static [u8]) -> Code {
    let fields = [("content-type", "application/grpc")];
    raw_call(server, "POST", path, &fields, body).await.grpc.unwrap().code()
}

/// Calls with a key of `length` bytes, which the handler returns.
async fn echo(channel: &Channel, length: usize) -> Result<Observation, Status> {
    let request = Request::new(TestRequest { action: "report".into(), millis: 0 });
    unary(channel.clone(), keyed(request, &"k".repeat(length)).unwrap()).await
}

/// The descriptors of the test service as `protoc` writes them.
pub(crate) fn descriptors() -> Vec<u8> {
    let method = |name: &str, client_streaming| MethodDescriptorProto {
        name: Some(name.into()),
        client_streaming: Some(client_streaming),
        ..MethodDescriptorProto::default()
    };
    let service = ServiceDescriptorProto {
        name: Some("Service".into()),
        method: vec![method("Unary", false), method("Stream", false), method("Upload", true)],
        ..ServiceDescriptorProto::default()
    };
    let file = FileDescriptorProto {
        name: Some("test.proto".into()),
        package: Some("test".into()),
        service: vec![service],
        ..FileDescriptorProto::default()
    };
    FileDescriptorSet { file: vec![file] }.encode_to_vec()
}

#[tokio::test]
async fn a_request_over_the_limit_is_resource_exhausted_before_the_handler() {
    let service = TestService::default();
    let request = TestRequest { action: "report".into(), millis: 0 };
    for (limit, expected) in
        [(request.encoded_len(), None), (request.encoded_len() - 1, Some(Code::ResourceExhausted))]
    {
        let config = ServerConfig::default().max_request_message(limit);
        let server = start(service.clone(), config).await;
        let result = unary(server.channel(SECOND), Request::new(request.clone())).await;
        assert_eq!(result.err().map(|status| status.code()), expected, "{limit}");
    }
    assert_eq!(service.begun.load(SeqCst), 1, "the handler of the large request did not run");
    // The limit of tonic's own decoder.
    let server = start(service.clone(), ServerConfig::default().max_request_message(usize::MAX)).await;
    let large = TestRequest { action: "x".repeat(5 << 20), millis: 0 };
    let status = unary(server.channel(SECOND * 5), Request::new(large)).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
}

#[tokio::test]
async fn a_response_over_the_limit_is_resource_exhausted_after_the_handler() {
    let service = TestService::default();
    let server = start(service.clone(), ServerConfig::default().max_response_message(150)).await;
    let channel = server.channel(SECOND);
    echo(&channel, 50).await.unwrap();
    let status = echo(&channel, 200).await.unwrap_err();
    assert_eq!(
        (status.code(), from_status(&status).kind),
        (Code::ResourceExhausted, ErrorKind::Indeterminate)
    );
    let small = start(service, ServerConfig::default().max_response_message(20)).await;
    let mut stream = server_streaming(small.channel(SECOND), "three", 0).await.unwrap();
    assert_eq!(stream.message().await.unwrap_err().code(), Code::ResourceExhausted);
}

#[tokio::test]
async fn a_request_that_ends_inside_of_a_message_is_internal() {
    let service = TestService::default();
    let server = start(service.clone(), ServerConfig::default()).await;
    let truncated: [&'static [u8]; 4] = [
        b"\0\0\0\0\x0a\x0a\x01a",
        // tonic takes these two for a clean end.
        b"\0\0\0\0\0\0\0\0\0\x0a",
        b"\0\0\0\0\x0a",
        b"\0\0\0",
    ];
    for body in truncated {
        for path in [UNARY, STREAM] {
            assert_eq!(code(server.address, path, body).await, Code::Internal, "{path} {body:?}");
        }
    }
    assert_eq!(service.begun.load(SeqCst), 0);
}

#[tokio::test]
async fn with_descriptors_a_method_of_one_message_takes_exactly_one() {
    let service = TestService::default();
    let server = Server::new(Routes::new(service.clone())).descriptors(descriptors());
    let server = start_server(server).await;
    for path in [UNARY, STREAM] {
        assert_eq!(code(server.address, path, b"").await, Code::Unimplemented, "{path}");
        assert_eq!(code(server.address, path, TWO).await, Code::Unimplemented, "{path}");
    }
    assert_eq!(service.begun.load(SeqCst), 0);
    assert_eq!(code(server.address, UNARY, &TWO[..13]).await, Code::Ok);
}

/// Without descriptors the number of messages is not known, except that a unary call has one.
#[tokio::test]
async fn without_descriptors_only_a_missing_message_is_found() {
    let server = start(TestService::default(), ServerConfig::default()).await;
    assert_eq!(code(server.address, UNARY, b"").await, Code::Unimplemented);
    assert_eq!(code(server.address, UNARY, TWO).await, Code::Ok);
}

#[tokio::test]
async fn limits_of_zero_and_undecodable_descriptors_are_invalid() -> Result<(), BoxError> {
    let server = || Server::new(Routes::default());
    for server in [
        server().config(ServerConfig::default().max_request_message(0)),
        server().config(ServerConfig::default().max_response_message(0)),
        server().descriptors(vec![0xff; 9]),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let error = server.serve(listener, std::future::pending()).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Invalid);
    }
    Ok(())
}
