//! Calls without the credentials that a rule requires end before their handler.

use std::{
    sync::{Arc, atomic::Ordering::SeqCst},
    time::Duration,
};

use comms_core::{
    clock::Clock,
    jwt::{Algorithm, DecodingKey, Verifier},
    wire::NOT_EXECUTED,
};
use comms_grpc::{Access, Caller, Server, tonic};
use tonic::{Code, service::Routes};

use crate::support::{TestService, raw_call, start_server};

/// Claims: `{"iss":"https://id.example","aud":"api","sub":"ann","exp":1700000060}`.
const ANN: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.\
    eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUiLCJhdWQiOiJhcGkiLCJzdWIiOiJhbm4iLCJleHAiOjE3MDAwMDAwNjB9.\
    BtxgSs9w_l8hZvDsb1FQCdHvDYvWodpS45k4PB7a8fs";
/// The same claims, and `"scope":"payments:write payments:read"`.
const ANN_WRITES: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.\
    eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUiLCJhdWQiOiJhcGkiLCJzdWIiOiJhbm4iLCJleHAiOjE3MDAwMDAwNjAsInNjb3BlIjoicGF5\
    bWVudHM6d3JpdGUgcGF5bWVudHM6cmVhZCJ9.EPYZUvJLcywhtL-Zo3Jg-CUZtB2zkggBocVq6Wb_ffM";

#[tokio::test]
async fn only_a_token_with_the_scope_reaches_the_handler() {
    let clock = Clock::manual(Duration::from_secs(1_700_000_000));
    let key = Arc::new(DecodingKey::from_secret(b"an HMAC key of 32 bytes, or more"));
    let verifier = Verifier::new(Algorithm::HS256, "https://id.example", "api", key, clock);
    let access =
        Access::builder().verifier(verifier).allow("/test.Service/Unary", [Caller::scope("payments:write")]);
    let service = TestService::default();
    let server = Server::new(Routes::new(service.clone())).authorize(access.build().unwrap());
    let server = start_server(server).await;
    let call = async |path: &str, token: &str| {
        let authorization = format!("Bearer {token}");
        let fields = [("content-type", "application/grpc"), ("authorization", &authorization)];
        let fields = if token.is_empty() { &fields[..1] } else { &fields[..] };
        let response = raw_call(server.address, "POST", path, fields, b"\0\0\0\0\x08\x0a\x06report").await;
        let marker = response.headers.get(NOT_EXECUTED).map(|value| value.to_str().unwrap().to_owned());
        (response.grpc.unwrap().code(), marker)
    };
    let denied = (Code::PermissionDenied, Some("permission_denied".to_owned()));
    let unknown = (Code::Unauthenticated, Some("unauthenticated".to_owned()));
    assert_eq!(call("/test.Service/Unary", "").await, unknown);
    assert_eq!(call("/test.Service/Unary", "nonsense").await, unknown);
    assert_eq!(call("/test.Service/Unary", ANN).await, denied);
    // The method has no rule, and the service has one.
    assert_eq!(call("/test.Service/Stream", ANN_WRITES).await, denied);
    assert_eq!(service.begun.load(SeqCst), 0);
    assert_eq!(call("/test.Service/Unary", ANN_WRITES).await, (Code::Ok, None));
    // The health service needs no credentials.
    let body = b"\0\0\0\0\0";
    let fields = [("content-type", "application/grpc")];
    let health = raw_call(server.address, "POST", "/grpc.health.v1.Health/Check", &fields, body).await;
    assert_eq!(health.grpc.unwrap().code(), Code::Ok);
}

/// A misspelt rule would leave the service open.
#[tokio::test]
async fn a_rule_for_a_service_that_is_not_served_ends_the_start() {
    let access = Access::builder().allow("/test.Servise/Unary", [Caller::anyone()]).build().unwrap();
    let server = Server::new(Routes::new(TestService::default())).authorize(access);
    let error = start_server(server).await.ended.await.unwrap().unwrap_err();
    assert!(error.to_string().contains("test.Servise"), "{error}");
}
