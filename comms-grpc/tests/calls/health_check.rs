//! Channels that watch the health of their endpoints.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use comms_core::{ErrorKind, health::Health, resilience::Backoff};
use comms_grpc::{Channel, ChannelBuilder, EndpointState, Server, from_status, tonic};
use futures::{Stream, StreamExt, stream};
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle, time::timeout};
use tonic::{
    Code, Request, Response, Status,
    service::Routes,
    transport::{Server as TonicServer, server::TcpIncoming},
};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse,
    health_check_response::ServingStatus::{self, NotServing, ServiceUnknown, Serving},
    health_server::{self, HealthServer},
};

use crate::{
    frames::{DATA, NO_ERROR, frame, goaway, headers, success},
    h2_peer::{Answer, H2Peer},
    raw_peer::{RawPeer, max_streams},
    support::{RunningServer, SECOND, TestService, call, eventually, millis, start_server},
};

/// The reports of one watch. The watch stays open after its last report, or ends with the status.
type Script = Vec<Result<ServingStatus, Code>>;

/// A health service whose watches follow scripts.
#[derive(Clone, Default)]
struct Scripted {
    scripts: Arc<Mutex<VecDeque<Script>>>,
    watches: Arc<AtomicUsize>,
    open: Arc<AtomicUsize>,
}

/// Counts an open watch.
struct Open(Arc<AtomicUsize>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

#[tonic::async_trait]
impl health_server::Health for Scripted {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn check(&self, _: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        Err(Status::internal("the channel watches"))
    }

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        assert_eq!(request.get_ref().service, "test.Service");
        self.watches.fetch_add(1, SeqCst);
        self.open.fetch_add(1, SeqCst);
        let open = Open(self.open.clone());
        let script = self.scripts.lock().unwrap().pop_front().unwrap_or_else(|| vec![Ok(Serving)]);
        let reports = stream::iter(script).then(|report| async move {
            match report {
                Ok(status) => Ok(HealthCheckResponse { status: status.into() }),
                Err(code) => {
                    tokio::time::sleep(millis(50)).await;
                    Err(Status::new(code, "scripted"))
                }
            }
        });
        let reports = reports.chain(stream::pending()).inspect(move |_| _ = &open);
        Ok(Response::new(Box::pin(reports)))
    }
}

/// A server of tonic, with a scripted health service.
struct Peer {
    address: SocketAddr,
    health: Scripted,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<()>,
}

impl Peer {
    async fn start(scripts: impl IntoIterator<Item = Script>) -> Self {
        let health =
            Scripted { scripts: Mutex::new(scripts.into_iter().collect()).into(), ..Scripted::default() };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let server = TonicServer::builder()
            .add_service(HealthServer::new(health.clone()))
            .add_service(TestService::default());
        let ended = tokio::spawn(async move {
            let shutdown = async { drop(stopped.await) };
            server.serve_with_incoming_shutdown(TcpIncoming::from(listener), shutdown).await.unwrap();
        });
        Self { address, health, stop, ended }
    }

    fn builder(&self) -> ChannelBuilder {
        checked(self.address)
    }

    fn open(&self) -> usize {
        self.health.open.load(SeqCst)
    }
}

fn checked(address: SocketAddr) -> ChannelBuilder {
    let channel = Channel::builder(format!("http://{address}")).peer("test-service").without_policy();
    let backoff = Backoff::new(millis(50), millis(50)).unwrap();
    channel.reconnect_backoff(backoff).health_check("test.Service").connect_timeout(millis(500))
}

/// Returns the beginning of a watch on `stream`: response headers and the report SERVING.
fn serving(stream: u32) -> Vec<u8> {
    let head = headers(stream, 0, &[("content-type", "application/grpc")]);
    [head, frame(DATA, 0, stream, &[0, 0, 0, 0, 2, 8, 1])].concat()
}

fn states(channel: &Channel) -> Vec<EndpointState> {
    channel.snapshot().endpoints.iter().map(|endpoint| endpoint.state).collect()
}

async fn comms_server(health: Health) -> RunningServer {
    start_server(Server::new(Routes::default()).add_service(TestService::default()).health(health)).await
}

#[tokio::test]
async fn an_endpoint_that_does_not_serve_gets_no_calls_until_it_serves() {
    let health = Health::new();
    let database = health.component("database");
    let (changing, steady) = (comms_server(health).await, comms_server(Health::new()).await);
    let channel =
        checked(changing.address).endpoints([format!("http://{}", steady.address)]).build().unwrap();
    let counts = || channel.snapshot().endpoints.iter().map(|e| e.started).collect::<Vec<_>>();
    for _ in 0..10 {
        call(&channel, "report", 0).await.unwrap();
    }
    eventually("the first endpoint does not serve", || {
        states(&channel) == [EndpointState::NotServing, EndpointState::Ready]
    })
    .await;
    assert_eq!(counts(), [0, 10], "the watch is not counted as a call");

    database.ready();
    eventually("the first endpoint serves", || states(&channel) == [EndpointState::Ready; 2]).await;
    for _ in 0..10 {
        call(&channel, "report", 0).await.unwrap();
    }
    assert_eq!(counts(), [5, 15]);

    database.unready("away");
    eventually("the first endpoint serves no more", || states(&channel)[0] == EndpointState::NotServing)
        .await;
    for _ in 0..10 {
        call(&channel, "report", 0).await.unwrap();
    }
    assert_eq!(counts(), [5, 25]);
}

/// Each report other than SERVING is a refusal of calls, and the channel tells why.
#[tokio::test]
async fn calls_are_not_executed_if_no_endpoint_serves() {
    for (script, text) in [
        (vec![Ok(NotServing)], "NOT_SERVING"),
        (vec![Ok(Serving), Ok(ServiceUnknown)], "SERVICE_UNKNOWN"),
        (vec![Err(Code::PermissionDenied)], "PermissionDenied: scripted"),
    ] {
        // The watch that is repeated gets no report.
        let peer = Peer::start([script, vec![]]).await;
        let channel = peer.builder().build().unwrap();
        let _ = call(&channel, "report", 0).await;
        eventually(text, || states(&channel) == [EndpointState::NotServing]).await;
        let status = call(&channel, "report", 0).await.unwrap_err();
        let error = from_status(&status);
        assert_eq!((status.code(), error.kind), (Code::Unavailable, ErrorKind::NotExecuted), "{status:?}");
        assert!(status.message().contains(text), "{status}");
    }
}

#[tokio::test]
async fn a_channel_that_waits_for_readiness_waits_until_the_peer_serves() {
    let peer = Peer::start([vec![Ok(NotServing), Err(Code::Unavailable)]]).await;
    let channel = peer.builder().wait_for_ready(true).build().unwrap();
    call(&channel, "report", 0).await.unwrap();
    assert_eq!(peer.health.watches.load(SeqCst), 2);
}

/// A watch that fails is repeated with a wait, on the same connection.
#[tokio::test]
async fn a_watch_that_ends_is_repeated() {
    let failed = || vec![Err(Code::Internal)];
    let peer = Peer::start([vec![Ok(Serving), Err(Code::Unavailable)], failed(), failed()]).await;
    let channel = peer.builder().build().unwrap();
    call(&channel, "report", 0).await.unwrap();
    eventually("the watch has failed", || states(&channel) == [EndpointState::NotServing]).await;
    eventually("the peer serves again", || states(&channel) == [EndpointState::Ready]).await;
    assert_eq!((peer.health.watches.load(SeqCst), peer.open()), (4, 1));
    call(&channel, "report", 0).await.unwrap();
}

#[tokio::test]
async fn a_peer_without_the_health_service_counts_as_healthy() {
    let peer = H2Peer::start(|n| if n == 0 { Answer::Status("12", vec![]) } else { Answer::Success }).await;
    let channel = checked(peer.address).build().unwrap();
    for _ in 0..3 {
        call(&channel, "report", 0).await.unwrap();
    }
    assert_eq!(peer.received().len(), 4, "one watch and three calls");
}

/// A peer that accepts the connection and never reports gets no call.
#[tokio::test]
async fn a_peer_that_never_reports_is_not_connected() {
    let silent = H2Peer::start(|_| Answer::Silence).await;
    let channel = checked(silent.address).connect_timeout(millis(100)).build().unwrap();
    let status = call(&channel, "report", 0).await.unwrap_err();
    assert_eq!(from_status(&status).kind, ErrorKind::NotExecuted, "{status:?}");
    assert!(status.message().contains("does not report its health"), "{status}");
    assert_eq!(silent.received().len(), 1, "the watch alone");

    let peer = Peer::start([]).await;
    let both = checked(silent.address).endpoints([format!("http://{}", peer.address)]).build().unwrap();
    for _ in 0..10 {
        call(&both, "report", 0).await.unwrap();
    }
}

#[tokio::test]
async fn a_peer_that_permits_one_stream_gets_no_calls_beside_its_watch() {
    let peer = RawPeer::start(|_| max_streams(1)).await;
    let channel = checked(peer.address).connect_timeout(SECOND * 10).build().unwrap();
    let waiting = tokio::spawn({
        let channel = channel.clone();
        async move { call(&channel, "report", 0).await }
    });
    peer.wait_for_calls(1).await;
    peer.send(0, &serving(1)).await;
    for status in [waiting.await.unwrap().unwrap_err(), call(&channel, "report", 0).await.unwrap_err()] {
        assert_eq!(from_status(&status).kind, ErrorKind::NotExecuted, "{status:?}");
        assert!(status.message().contains("permits one stream"), "{status}");
    }
    assert_eq!(states(&channel), [EndpointState::NotServing]);
    peer.send(0, &max_streams(2)).await;
    eventually("the peer permits a call", || states(&channel) == [EndpointState::Ready]).await;
    let waiting = tokio::spawn(async move { call(&channel, "report", 0).await });
    peer.wait_for_calls(2).await;
    peer.send(0, &success(3)).await;
    waiting.await.unwrap().unwrap();
}

/// The first connection ends in order before the peer reports its health. The call is sent on the next one.
#[tokio::test]
async fn a_connection_that_ends_in_order_before_the_first_report_fails_no_call() {
    let peer = RawPeer::start(|_| max_streams(10)).await;
    let channel = checked(peer.address).connect_timeout(SECOND * 10).build().unwrap();
    let waiting = tokio::spawn(async move { call(&channel, "report", 0).await });
    peer.wait_for_calls(1).await;
    peer.send(0, &goaway(0, NO_ERROR)).await;
    peer.wait_for_calls(2).await;
    assert_eq!(peer.calls(), [(0, 1), (1, 1)], "the watches");
    peer.send(1, &serving(1)).await;
    peer.wait_for_calls(3).await;
    peer.send(1, &success(3)).await;
    waiting.await.unwrap().unwrap();
}

/// The watch would keep the connection open, and with it the server that shuts down.
#[tokio::test]
async fn the_watch_ends_with_its_connection_and_with_the_channel() {
    let peer = Peer::start([]).await;
    let channel = peer.builder().build().unwrap();
    call(&channel, "report", 0).await.unwrap();
    assert_eq!(peer.open(), 1);
    let clone = channel.clone();
    drop(channel);
    call(&clone, "report", 0).await.unwrap();
    drop(clone);
    eventually("the watch has ended with the channel", || peer.open() == 0).await;

    let channel = peer.builder().build().unwrap();
    call(&channel, "report", 0).await.unwrap();
    assert_eq!(peer.open(), 1);
    peer.stop.send(()).unwrap();
    timeout(SECOND * 5, peer.ended).await.expect("a GOAWAY ends the watch").unwrap();
}
