//! Requests that are not gRPC are answered before any handler.

use std::sync::atomic::Ordering::SeqCst;

use comms_core::wire::NOT_EXECUTED;
use comms_grpc::{ServerConfig, tonic};
use tonic::Code;

use crate::support::{TestService, raw_call, start};

const GRPC: (&str, &str) = ("content-type", "application/grpc");

#[tokio::test]
async fn another_method_is_405_and_another_content_type_is_415() {
    let service = TestService::default();
    let server = start(service.clone(), ServerConfig::default()).await;
    for path in ["/test.Service/Unary", "/grpc.health.v1.Health/Check", "/test.Service/None"] {
        for method in ["GET", "PUT", "HEAD", "DELETE"] {
            let response = raw_call(server.address, method, path, &[GRPC], b"\0\0\0\0\0").await;
            assert_eq!(response.status, 405, "{method} {path}");
            assert_eq!(response.headers["allow"], "POST", "{method} {path}");
            assert_eq!(response.headers[NOT_EXECUTED], "not_executed", "{method} {path}");
            assert!(response.grpc.is_none(), "{method} {path}");
        }
        for content_type in ["application/grpc+json", "text/plain", "application/grpc-web+proto"] {
            let fields = [("content-type", content_type)];
            let response = raw_call(server.address, "POST", path, &fields, b"\0\0\0\0\0").await;
            assert_eq!(response.status, 415, "{content_type} {path}");
            assert_eq!(response.headers[NOT_EXECUTED], "not_executed", "{content_type} {path}");
        }
        assert_eq!(raw_call(server.address, "POST", path, &[], b"\0\0\0\0\0").await.status, 415);
    }
    assert_eq!(service.begun.load(SeqCst), 0);
}

/// Proxies remove `te: trailers`.
#[tokio::test]
async fn a_call_without_te_and_with_parameters_of_the_content_type_is_served() {
    let server = start(TestService::default(), ServerConfig::default()).await;
    for content_type in ["application/grpc", "application/grpc+proto", "application/grpc;charset=utf-8"] {
        let fields = [("content-type", content_type)];
        let body = b"\0\0\0\0\x08\x0a\x06report";
        let response = raw_call(server.address, "POST", "/test.Service/Unary", &fields, body).await;
        assert_eq!(response.grpc.unwrap().code(), Code::Ok, "{content_type}");
    }
}
