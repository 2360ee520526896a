//! A server of comms-grpc for the clients of the peers.

use std::{
    collections::HashMap,
    convert::Infallible,
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context as TaskContext, Poll},
    time::{Duration, Instant},
};

use comms_core::{Error, clock::Clock, context::Context};
use comms_grpc::{Server, ServerConfig, refused, to_status, tonic};
use futures::{StreamExt, stream, stream::BoxStream};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};
use tonic::{Code, Request, Response, Status, body::Body, server::NamedService, service::Routes};
use tonic_prost::ProstCodec;
use tonic_types::{ErrorDetails, StatusExt};

use crate::calls::Text;

/// The time and the `grpc-previous-rpc-attempts` of an attempt of the action `refuse`.
type Attempt = (Instant, Option<String>);
type Texts = BoxStream<'static, Result<Text, Status>>;

/// The service, and what its handlers have observed.
#[derive(Clone, Default)]
pub(crate) struct Peer {
    /// The number of handlers that began, and of those that were dropped before their end.
    pub(crate) begun: Arc<AtomicUsize>,
    pub(crate) dropped: Arc<AtomicUsize>,
    attempts: Arc<Mutex<Vec<Attempt>>>,
}

impl NamedService for Peer {
    const NAME: &'static str = "peers.Peer";
}

impl Peer {
    async fn unary(self, request: Request<Text>) -> Result<Response<Text>, Status> {
        self.begun.fetch_add(1, SeqCst);
        let unfinished = DropCounter(self.dropped.clone());
        let previous = request.metadata().get("grpc-previous-rpc-attempts");
        let previous = previous.map(|value| value.to_str().unwrap().to_owned());
        let request: Value = serde_json::from_str(request.get_ref()).unwrap();
        let response = match request["action"].as_str().unwrap() {
            "echo" => Ok(echo(&request)),
            "sleep" => {
                tokio::time::sleep(millis(&request["ms"])).await;
                Ok(json!({}))
            }
            "hang" => std::future::pending().await,
            "refuse" => self.refuse(&request, previous),
            "conflict" => Err(to_status(&Error::conflict("the order has changed: щедро"))),
            "details" => Err(with_details()),
            other => panic!("the action {other} is unknown"),
        };
        std::mem::forget(unfinished);
        response.map(|response| Response::new(response.to_string()))
    }

    /// Refuses the first `times` attempts, each with a wait of `ms`.
    fn refuse(&self, request: &Value, previous: Option<String>) -> Result<Value, Status> {
        let mut attempts = self.attempts.lock().unwrap();
        attempts.push((Instant::now(), previous));
        if attempts.len() as u64 <= request["times"].as_u64().unwrap() {
            return Err(refused(&Error::rejected("busy", Some(millis(&request["ms"])))));
        }
        let gaps: Vec<_> =
            attempts.windows(2).map(|pair| (pair[1].0 - pair[0].0).as_millis() as u64).collect();
        let previous: Vec<_> = attempts.iter().map(|(_, previous)| previous).collect();
        Ok(json!({ "gaps_ms": gaps, "previous": previous }))
    }

    /// Sends `count` messages of `size` bytes, one every `ms`.
    async fn stream(self, request: Request<Text>) -> Result<Response<Texts>, Status> {
        self.begun.fetch_add(1, SeqCst);
        let request: Value = serde_json::from_str(request.get_ref()).unwrap();
        let (count, pause) = (request["count"].as_u64().unwrap() as usize, millis(&request["ms"]));
        let text = "x".repeat(request["size"].as_u64().unwrap() as usize);
        let held = DropCounter(self.dropped.clone());
        let messages = stream::unfold((held, count), move |(held, left)| {
            let text = text.clone();
            async move {
                if left == 0 {
                    std::mem::forget(held);
                    return None;
                }
                tokio::time::sleep(pause).await;
                Some((Ok(text), (held, left - 1)))
            }
        });
        Ok(Response::new(messages.boxed()))
    }
}

fn echo(request: &Value) -> Value {
    let remaining = Context::current().deadline.and_then(|deadline| deadline.remaining(&Clock::system()));
    let size = request["size"].as_u64().unwrap_or_default();
    json!({
        "remaining_ms": remaining.map(|remaining| remaining.as_millis() as u64),
        "received": request["text"].as_str().map(str::len),
        "text": "x".repeat(size as usize),
    })
}

fn millis(value: &Value) -> Duration {
    Duration::from_millis(value.as_u64().unwrap())
}

fn with_details() -> Status {
    let details = ErrorDetails::with_error_info("QUOTA", "peers.example", HashMap::new());
    Status::with_error_details(Code::ResourceExhausted, "no quota: щедро", details)
}

/// Counts a handler that is dropped before its end.
struct DropCounter(Arc<AtomicUsize>);

impl Drop for DropCounter {
    fn drop(&mut self) {
        self.0.fetch_add(1, SeqCst);
    }
}

impl tower::Service<http::Request<Body>> for Peer {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move {
            let mut grpc = tonic::server::Grpc::new(ProstCodec::<Text, Text>::default());
            Ok(match request.uri().path() {
                "/peers.Peer/Unary" => {
                    grpc.unary(tower::service_fn(move |r| service.clone().unary(r)), request).await
                }
                "/peers.Peer/Stream" => {
                    grpc.server_streaming(tower::service_fn(move |r| service.clone().stream(r)), request)
                        .await
                }
                _ => Status::unimplemented("").into_http(),
            })
        })
    }
}

/// A running server.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) peer: Peer,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<Result<(), Error>>,
}

impl Running {
    pub(crate) async fn start(config: ServerConfig) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, peer) = (listener.local_addr().unwrap(), Peer::default());
        let (stop, stopped) = oneshot::channel();
        let shutdown = async move { drop(stopped.await) };
        let server = Server::new(Routes::new(peer.clone())).service_names([Peer::NAME]).config(config);
        let ended = tokio::spawn(server.serve(listener, shutdown));
        Self { address, peer, stop, ended }
    }

    /// Requests the shutdown, and waits for the end of the server.
    pub(crate) async fn stop(self) {
        self.stop.send(()).unwrap();
        tokio::time::timeout(crate::calls::LIMIT, self.ended)
            .await
            .expect("the server ends")
            .unwrap()
            .unwrap();
    }
}
