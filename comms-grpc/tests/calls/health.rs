//! The health service reports the readiness of the process, by the names of services.

use std::net::SocketAddr;

use comms_core::{ErrorKind, health::Health};
use comms_grpc::{Server, ServerConfig, tonic};
use tokio::{net::TcpStream, time::timeout};
use tonic::{Code, Status, service::Routes, transport::Channel};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::support::{RunningServer, SECOND, TestService, call, channel, millis, start_server};

async fn client(server: &RunningServer) -> HealthClient<Channel> {
    let plain = tonic::transport::Endpoint::from_shared(format!("http://{}", server.address)).unwrap();
    HealthClient::new(plain.connect().await.unwrap())
}

fn named(service: &str) -> HealthCheckRequest {
    HealthCheckRequest { service: service.into() }
}

#[tokio::test]
async fn each_registered_name_has_the_readiness_of_the_process() {
    let health = Health::new();
    let database = health.component("database");
    let server = Server::new(Routes::default()).add_service(TestService::default());
    let server = start_server(server.service_names(["test.Other"]).health(health)).await;
    let mut client = client(&server).await;
    for (set, expected) in [(false, ServingStatus::NotServing), (true, ServingStatus::Serving)] {
        if set {
            database.ready();
        }
        for name in ["", "test.Service", "test.Other"] {
            let status = client.check(named(name)).await.unwrap().into_inner().status();
            assert_eq!(status, expected, "{name:?}");
        }
    }
    let unknown = client.check(named("test.Unknown")).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
}

#[tokio::test]
async fn a_watch_sees_each_change_and_the_shutdown_first() {
    let health = Health::new();
    let database = health.component("database");
    database.ready();
    let server = Server::new(Routes::default()).add_service(TestService::default()).health(health);
    let server = start_server(server).await;
    let mut client = client(&server).await;
    let mut watch = client.watch(named("test.Service")).await.unwrap().into_inner();
    let mut unknown = client.watch(named("test.Unknown")).await.unwrap().into_inner();
    assert_eq!(unknown.message().await.unwrap().unwrap().status(), ServingStatus::ServiceUnknown);
    for (ready, expected) in
        [(true, ServingStatus::Serving), (false, ServingStatus::NotServing), (true, ServingStatus::Serving)]
    {
        if ready {
            database.ready()
        } else {
            database.unready("away")
        }
        let next = timeout(SECOND * 5, watch.message()).await.expect("within the interval");
        assert_eq!(next.unwrap().unwrap().status(), expected);
    }
    server.stop.send(()).unwrap();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    for watch in [&mut watch, &mut unknown] {
        assert!(timeout(SECOND * 5, watch.message()).await.expect("the watch ends").unwrap().is_none());
    }
    timeout(SECOND * 5, server.ended).await.expect("the watches do not delay the shutdown").unwrap().unwrap();
}

/// Clients that watch the health stop sending before the listener closes.
#[tokio::test]
async fn calls_are_accepted_between_not_serving_and_the_close_of_the_listener() {
    let config = ServerConfig::default().shutdown_delay(SECOND);
    let server = Server::new(Routes::default()).add_service(TestService::default()).config(config);
    let server = start_server(server).await;
    let mut watcher = client(&server).await;
    let mut watch = watcher.watch(named("")).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    let address = server.address;
    server.stop.send(()).unwrap();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    // A new connection.
    call(&channel(address, SECOND), "report", 0).await.unwrap();
    let status = watcher.check(named("")).await.unwrap().into_inner().status();
    assert_eq!(status, ServingStatus::NotServing);
    timeout(SECOND * 5, server.ended).await.expect("the server ends after the delay").unwrap().unwrap();
    call(&channel(address, SECOND), "report", 0).await.unwrap_err();
}

/// Sends the header of a call of `method`, and no message. Returns the status that ends the call.
async fn call_without_message(address: SocketAddr, method: &str) -> Status {
    let socket = TcpStream::connect(address).await.unwrap();
    let (client, connection) = h2::client::handshake(socket).await.unwrap();
    tokio::spawn(connection);
    let uri = format!("http://test/grpc.health.v1.Health/{method}");
    let request = http::Request::post(uri).header("content-type", "application/grpc").body(()).unwrap();
    // The open stream.
    let (response, _sent) = client.ready().await.unwrap().send_request(request, false).unwrap();
    let response = timeout(SECOND * 10, response).await.expect("the call is limited").unwrap();
    Status::from_header_map(response.headers()).unwrap()
}

#[tokio::test]
async fn a_request_that_does_not_arrive_is_limited_in_time_and_does_not_hold_the_shutdown() {
    let start = async |limit| {
        let config = ServerConfig::default().max_timeout(limit).drain(SECOND * 60);
        start_server(Server::new(Routes::default()).config(config)).await
    };
    let server = start(millis(200)).await;
    for method in ["Check", "Watch"] {
        assert_eq!(call_without_message(server.address, method).await.code(), Code::DeadlineExceeded);
    }
    let server = start(SECOND * 60).await;
    let call = tokio::spawn(call_without_message(server.address, "Watch"));
    tokio::time::sleep(millis(200)).await;
    server.stop.send(()).unwrap();
    assert_eq!(call.await.unwrap().code(), Code::Unavailable);
    timeout(SECOND * 5, server.ended).await.expect("before the end of the drain").unwrap().unwrap();
}

/// The calls of such a service would never reach it.
#[tokio::test]
async fn a_health_service_of_the_application_ends_the_start() {
    let server = Server::new(Routes::default()).service_names(["grpc.health.v1.Health"]);
    let error = start_server(server).await.ended.await.unwrap().unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid);
    assert!(error.to_string().contains("Server::health"), "{error}");
}
