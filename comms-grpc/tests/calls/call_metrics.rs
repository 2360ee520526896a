//! The metrics of calls. A peer cannot create label values.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use comms_core::{
    clock::Clock,
    context::Priority,
    resilience::{ShedConfig, Shedder},
    telemetry::{RPC_CLIENT_DURATION, RPC_SERVER_DURATION},
};
use comms_grpc::{Access, Caller, Channel, Server, ServerConfig, keyed};
use http::uri::PathAndQuery;
use metrics::{Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use tonic::{
    Code, Request, Status,
    service::{Routes, interceptor::InterceptedService},
};
use tonic_prost::ProstCodec;

use crate::support::{
    Observation, SECOND, TestRequest, TestService, call, millis, raw_call, server_streaming, single_attempt,
    start, start_server, unary,
};

/// A recorder with one line per recorded call: metric, method, code.
#[derive(Clone, Default)]
struct CallLog(Arc<Mutex<Vec<String>>>);

struct Line(CallLog, String);

impl HistogramFn for Line {
    fn record(&self, seconds: f64) {
        assert!((0.0..10.0).contains(&seconds));
        self.0.0.lock().unwrap().push(self.1.clone());
    }
}

impl Recorder for CallLog {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        Counter::noop()
    }
    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }
    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        let label = |name| key.labels().find(|l| l.key() == name).map_or("-", |l| l.value());
        let (method, code) = (label("rpc.method"), label("rpc.response.status_code"));
        // The policy of the channel has metrics of its own.
        if !key.name().starts_with("rpc_") {
            return Histogram::noop();
        }
        let line = format!("{} {method} {code}", key.name());
        Histogram::from_arc(Arc::new(Line(self.clone(), line)))
    }
}

#[test]
fn every_call_is_recorded_once_with_its_status_code() {
    let log = CallLog::default();
    // The recorder is local to the thread, so all tasks run on this thread.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    metrics::with_local_recorder(&log, || runtime.block_on(calls()));
    let mut lines = log.0.lock().unwrap().clone();
    lines.sort();
    let both = [
        "test.Service/Unary DEADLINE_EXCEEDED",
        "test.Service/Unary OK",
        "test.Service/Unary RESOURCE_EXHAUSTED",
        "test.Service/Stream CANCELLED",
        "test.Service/Stream OK",
    ];
    let mut expected: Vec<String> = [RPC_CLIENT_DURATION, RPC_SERVER_DURATION]
        .iter()
        .flat_map(|m| both.map(|b| format!("{m} {b}")))
        .collect();
    expected.push(format!("{RPC_CLIENT_DURATION} test.Service/Unknown UNIMPLEMENTED"));
    expected.push(format!("{RPC_SERVER_DURATION} _OTHER UNIMPLEMENTED"));
    expected.sort();
    assert_eq!(lines, expected);
}

#[test]
fn a_refused_path_is_a_label_only_if_a_rule_names_it() {
    let log = CallLog::default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    metrics::with_local_recorder(&log, || runtime.block_on(refused_calls()));
    let mut lines = log.0.lock().unwrap().clone();
    lines.sort();
    let expected =
        ["_OTHER PERMISSION_DENIED", "_OTHER UNAUTHENTICATED", "test.Service/Unary UNAUTHENTICATED"];
    assert_eq!(lines, expected.map(|line| format!("{RPC_SERVER_DURATION} {line}")));
}

async fn refused_calls() {
    let caller = || [Caller::spiffe_id("spiffe://shop/order")];
    let access = Access::builder().allow("/test.Service/Unary", caller()).allow("/test.Other/*", caller());
    let server = Server::new(Routes::new(TestService::default())).authorize(access.build().unwrap());
    let server = start_server(server.service_names(["test.Other"])).await;
    for path in ["/test.Service/Unary", "/test.Service/Made-up", "/test.Other/Made-up"] {
        let fields = [("content-type", "application/grpc")];
        raw_call(server.address, "POST", path, &fields, b"\0\0\0\0\0").await;
    }
    tokio::time::sleep(millis(100)).await;
}

/// The path of a label is known, so a peer cannot add labels by calls that no handler answers.
#[test]
fn a_call_that_no_handler_answers_is_recorded_under_a_label_that_exists() {
    let log = CallLog::default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    metrics::with_local_recorder(&log, || runtime.block_on(unanswered_calls()));
    let mut lines = log.0.lock().unwrap().clone();
    lines.sort();
    let expected = [
        "_OTHER DEADLINE_EXCEEDED",
        "_OTHER UNAVAILABLE",
        "_OTHER UNKNOWN",
        "test.Service/Unary DEADLINE_EXCEEDED",
        "test.Service/Unary OK",
        "test.Service/Unary UNAVAILABLE",
    ];
    assert_eq!(lines, expected.map(|line| format!("{RPC_SERVER_DURATION} {line}")));
}

async fn unanswered_calls() {
    let shedder = Shedder::new("test-labels", ShedConfig::fixed(1), Clock::system()).unwrap();
    let routes = Routes::new(TestService::default()).into_axum_router();
    let routes = Routes::from(routes.fallback(async || http::StatusCode::NOT_FOUND));
    let server = start_server(Server::new(routes).shed(shedder.clone())).await;
    let send = async |path, timeout| {
        let fields = [("content-type", "application/grpc"), ("grpc-timeout", timeout)];
        raw_call(server.address, "POST", path, &fields, b"\0\0\0\0\x08\x0a\x06report").await;
    };
    let (known, made_up) = ("/test.Service/Unary", "/made.Up/Path");
    send(known, "5S").await;
    send(made_up, "5S").await;
    for path in [known, made_up] {
        send(path, "0n").await;
    }
    let full = shedder.try_acquire(Priority::Critical).unwrap();
    for path in [known, made_up] {
        send(path, "5S").await;
    }
    drop(full);
    tokio::time::sleep(millis(100)).await;
}

async fn calls() {
    let mut config = ServerConfig::default();
    // The deadline of the server passes first, so that both sides record the same status.
    config.max_timeout = millis(500);
    let server = start(TestService::default(), config).await;
    let channel = server.channel(SECOND * 5);
    call(&channel, "report", 0).await.unwrap();
    call(&channel, "busy", 1).await.unwrap_err();
    call(&channel, "hang", 0).await.unwrap_err();
    let mut all = server_streaming(channel.clone(), "three", 0).await.unwrap();
    while all.message().await.unwrap().is_some() {}
    // The client drops this stream after the first message.
    let mut some = server_streaming(channel.clone(), "ticks", 1).await.unwrap();
    some.message().await.unwrap();
    drop(some);
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await.unwrap();
    let path = PathAndQuery::from_static("/test.Service/Unknown");
    let codec = ProstCodec::<TestRequest, Observation>::default();
    let status = grpc.unary(Request::new(TestRequest::default()), path, codec).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    tokio::time::sleep(millis(100)).await;
}

#[test]
fn the_refusals_of_an_interceptor_make_a_bounded_number_of_labels() {
    let log = CallLog::default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    metrics::with_local_recorder(&log, || runtime.block_on(intercepted_calls()));
    let lines = log.0.lock().unwrap().clone();
    let labels: BTreeSet<_> = lines
        .iter()
        .filter(|line| line.starts_with(RPC_SERVER_DURATION))
        .filter_map(|line| line.split(' ').nth(1))
        .collect();
    assert_eq!(
        labels.len(),
        128 + 1 + 1,
        "a bounded number of paths, the others, and the method that answers"
    );
    assert!(labels.contains("_OTHER") && labels.contains("test.Service/Unary"));
}

/// Calls of made-up methods, which an interceptor refuses before the route is looked up, and one call that it admits.
async fn intercepted_calls() {
    let check = |request: Request<()>| match request.metadata().get("idempotency-key") {
        Some(_) => Ok(request),
        None => Err(Status::unauthenticated("no key")),
    };
    let service = InterceptedService::new(TestService::default(), check);
    let server = start_server(Server::new(Routes::new(service))).await;
    // A refused credential counts for the breaker of a policy.
    let channel = single_attempt(server.address, SECOND * 20);
    for number in 0..200 {
        let mut grpc = tonic::client::Grpc::new(channel.clone());
        grpc.ready().await.unwrap();
        let path = format!("/test.Service/Made-up-{number}").parse().unwrap();
        let codec = ProstCodec::<TestRequest, Observation>::default();
        let status = grpc.unary(Request::new(TestRequest::default()), path, codec).await.unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated);
    }
    let request = Request::new(TestRequest { action: "report".into(), millis: 0 });
    unary(channel, keyed(request, "order-7").unwrap()).await.unwrap();
    tokio::time::sleep(millis(100)).await;
}

#[test]
fn the_methods_of_a_channel_beyond_a_thousand_share_one_label() {
    let log = CallLog::default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    metrics::with_local_recorder(&log, || runtime.block_on(many_methods()));
    let lines = log.0.lock().unwrap().clone();
    let labels: BTreeSet<_> = lines.iter().filter_map(|line| line.split(' ').nth(1)).collect();
    assert_eq!(lines.len(), 1_302);
    assert_eq!(labels.len(), 1_024 + 1 + 2, "the first methods, the others, and the two that have settings");
    assert!(
        ["_OTHER", "test.Service/M0", "proxied/Marked", "proxied/Configured"]
            .iter()
            .all(|l| labels.contains(l))
    );
}

/// Calls as a proxy makes them, which sees the paths of its own callers.
async fn many_methods() {
    let json =
        r#"{"methodConfig": [{"name": [{"service": "proxied", "method": "Configured"}], "timeout": "1s"}]}"#;
    let builder = Channel::builder("http://127.0.0.1:1").without_policy().service_config(json);
    let channel = builder.idempotent_methods(["/proxied/Marked"]).build().unwrap();
    let call = async |path: String| {
        let mut grpc = tonic::client::Grpc::new(channel.clone());
        grpc.ready().await.unwrap();
        let codec = ProstCodec::<TestRequest, Observation>::default();
        grpc.unary(Request::new(TestRequest::default()), path.parse().unwrap(), codec).await.unwrap_err();
    };
    for number in 0..1_300 {
        // An update forgets no label.
        if number == 1_200 {
            channel.update_service_config(json).unwrap();
        }
        call(format!("/test.Service/M{number}")).await;
    }
    call("/proxied/Marked".into()).await;
    call("/proxied/Configured".into()).await;
}
