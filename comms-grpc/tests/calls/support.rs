//! A test service without generated code. The request selects the action; the response reports the context of the
//! handler.

use std::{
    convert::Infallible,
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context as TaskContext, Poll},
    time::Duration,
};

use bytes::Bytes;
use comms_core::{Error, clock::Clock, context::Context, wire::NOT_EXECUTED};
use comms_grpc::{Channel, Server, ServerConfig, refused, serve, to_status, tonic};
use futures::{Stream, StreamExt, stream};
use http::{HeaderMap, uri::PathAndQuery};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinHandle,
    time::sleep,
};
use tonic::{Request, Response, Status, Streaming, body::Body, server::NamedService, service::Routes};
use tonic_prost::ProstCodec;

/// The action of the handler, and its duration.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct TestRequest {
    #[prost(string, tag = "1")]
    pub(crate) action: String,
    #[prost(uint64, tag = "2")]
    pub(crate) millis: u64,
}

/// The context that a handler observed. `next` is the observation of the service that the handler called.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Observation {
    #[prost(uint64, tag = "1")]
    pub(crate) remaining_micros: u64,
    #[prost(string, tag = "2")]
    pub(crate) trace_id: String,
    #[prost(string, tag = "3")]
    pub(crate) key: String,
    #[prost(message, optional, boxed, tag = "4")]
    pub(crate) next: Option<Box<Observation>>,
}

/// The service, with the number of handlers that began and of handlers that were dropped before their end.
#[derive(Clone, Default)]
pub(crate) struct TestService {
    /// The service that the actions `relay`, `forward` and `pass on` call.
    pub(crate) next: Option<Channel>,
    pub(crate) begun: Arc<AtomicUsize>,
    pub(crate) dropped: Arc<AtomicUsize>,
}

impl NamedService for TestService {
    const NAME: &'static str = "test.Service";
}

type Observations = Pin<Box<dyn Stream<Item = Result<Observation, Status>> + Send>>;

impl TestService {
    async fn unary(self, request: Request<TestRequest>) -> Result<Response<Observation>, Status> {
        self.begun.fetch_add(1, SeqCst);
        let unfinished = DropCounter(self.dropped.clone());
        let key = comms_grpc::key_of(&request).unwrap_or_default();
        let request = request.into_inner();
        let time = Duration::from_millis(request.millis);
        let mut observation = Observation { key, ..observe() };
        match request.action.as_str() {
            "report" => {}
            "sleep" => sleep(time).await,
            "hang" => std::future::pending().await,
            "spend" => spend_budget().await,
            "panic" => panic!("requested by the test"),
            "busy" => return Err(to_status(&Error::rejected("busy", Some(time)))),
            "refuse" => return Err(refused(&Error::rejected("full", Some(time)))),
            "not ready" => return Err(refused(&Error::not_executed("hunter2"))),
            "forge" => {
                let mut status = Status::unavailable("forged");
                status.metadata_mut().insert(NOT_EXECUTED, "not_executed".parse().expect("ASCII"));
                return Err(status);
            }
            "internal" => return Err(to_status(&Error::internal("a defect"))),
            "long" => return Err(Status::invalid_argument("ж".repeat(100_000))),
            "forward" => {
                let next = self.next.clone().expect("a next service");
                return call(&next, "refuse", request.millis).await.map(Response::new);
            }
            "relay" => {
                sleep(time).await;
                let next = self.next.clone().expect("a next service");
                observation.next = Some(Box::new(call(&next, "report", 0).await?));
            }
            "pass on" => match &self.next {
                Some(next) => {
                    observation.next = Some(Box::new(call(next, "pass on", request.millis).await?));
                }
                None if request.millis > 0 => std::future::pending().await,
                None => {}
            },
            other => return Err(Status::invalid_argument(other)),
        }
        std::mem::forget(unfinished);
        Ok(Response::new(observation))
    }

    async fn server_streaming(self, request: Request<TestRequest>) -> Result<Response<Observations>, Status> {
        self.begun.fetch_add(1, SeqCst);
        let request = request.into_inner();
        let time = Duration::from_millis(request.millis);
        let unfinished = DropCounter(self.dropped.clone());
        let observations: Observations = match request.action.as_str() {
            "ticks" => stream::unfold(unfinished, move |held| async move {
                sleep(time).await;
                Some((Ok(observe()), held))
            })
            .boxed(),
            "spend" => stream::once(async move {
                let _held = unfinished;
                spend_budget().await;
                Ok(observe())
            })
            .boxed(),
            "flood" => stream::repeat_with(move || {
                let _ = &unfinished;
                Ok(observe())
            })
            .boxed(),
            "refuse" => stream::iter([Ok(observe()), Err(refused(&Error::not_executed("late")))]).boxed(),
            // Each observation is made when it is polled, after the handler has returned.
            "three" => stream::iter(0..3).map(|_| Ok(observe())).boxed(),
            _ => stream::once(async { panic!("requested by the test") }).boxed(),
        };
        Ok(Response::new(observations))
    }
}

/// Never resolves, and uses up tokio's cooperative budget in every poll. No receive of the channel waits for a sender.
async fn spend_budget() {
    let (sender, mut receiver) = tokio::sync::mpsc::channel(1);
    while sender.try_send(()).is_ok() {
        receiver.recv().await;
        tokio::task::coop::consume_budget().await;
    }
}

/// Counts a handler that is dropped before its end.
struct DropCounter(Arc<AtomicUsize>);

impl Drop for DropCounter {
    fn drop(&mut self) {
        self.0.fetch_add(1, SeqCst);
    }
}

/// Returns the remaining time and the trace of the current context.
fn observe() -> Observation {
    let context = Context::current();
    let remaining = context.deadline.and_then(|d| d.remaining(&Clock::system())).unwrap_or_default();
    let trace_id = context.trace.map(|t| t.trace_id()).unwrap_or_default();
    Observation { remaining_micros: remaining.as_micros() as u64, trace_id, ..Observation::default() }
}

impl tower::Service<http::Request<Body>> for TestService {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let service = self.clone();
        let path = request.uri().path().to_owned();
        Box::pin(async move {
            let mut grpc = tonic::server::Grpc::new(ProstCodec::<Observation, TestRequest>::default());
            Ok(match path.as_str() {
                "/test.Service/Unary" => {
                    grpc.unary(tower::service_fn(move |r| service.clone().unary(r)), request).await
                }
                "/test.Service/Stream" => {
                    grpc.server_streaming(
                        tower::service_fn(move |r| service.clone().server_streaming(r)),
                        request,
                    )
                    .await
                }
                _ => Status::unimplemented("").into_http(),
            })
        })
    }
}

/// Calls `/test.Service/Unary` as generated code does.
pub(crate) async fn call(channel: &Channel, action: &str, millis: u64) -> Result<Observation, Status> {
    unary(channel.clone(), Request::new(TestRequest { action: action.into(), millis })).await
}

/// Calls `/test.Service/Unary` through any transport, with any metadata.
pub(crate) async fn unary<T>(transport: T, request: Request<TestRequest>) -> Result<Observation, Status>
where
    T: tonic::client::GrpcService<Body>,
    T::ResponseBody: http_body::Body + Send + 'static,
    <T::ResponseBody as http_body::Body>::Error: Into<comms_core::BoxError>,
{
    let mut grpc = tonic::client::Grpc::new(transport);
    grpc.ready().await.map_err(|e| Status::from_error(e.into()))?;
    let path = PathAndQuery::from_static("/test.Service/Unary");
    grpc.unary(request, path, ProstCodec::default()).await.map(Response::into_inner)
}

/// Calls `/test.Service/Stream`.
pub(crate) async fn server_streaming<T>(
    transport: T,
    action: &str,
    millis: u64,
) -> Result<Streaming<Observation>, Status>
where
    T: tonic::client::GrpcService<Body>,
    T::ResponseBody: http_body::Body + Send + 'static,
    <T::ResponseBody as http_body::Body>::Error: Into<comms_core::BoxError>,
{
    let mut grpc = tonic::client::Grpc::new(transport);
    grpc.ready().await.map_err(|e| Status::from_error(e.into()))?;
    let path = PathAndQuery::from_static("/test.Service/Stream");
    let request = Request::new(TestRequest { action: action.into(), millis });
    grpc.server_streaming(request, path, ProstCodec::default()).await.map(Response::into_inner)
}

/// A running server.
pub(crate) struct RunningServer {
    pub(crate) address: SocketAddr,
    pub(crate) stop: oneshot::Sender<()>,
    pub(crate) ended: JoinHandle<Result<(), Error>>,
}

impl RunningServer {
    pub(crate) fn channel(&self, timeout: Duration) -> Channel {
        channel(self.address, timeout)
    }
}

pub(crate) async fn start(service: TestService, config: ServerConfig) -> RunningServer {
    start_on(TcpListener::bind("127.0.0.1:0").await.unwrap(), service, config)
}

pub(crate) fn start_on(listener: TcpListener, service: TestService, config: ServerConfig) -> RunningServer {
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let shutdown = async move { drop(stopped.await) };
    let ended = tokio::spawn(serve(listener, Routes::new(service), config, Clock::system(), shutdown));
    RunningServer { address, stop, ended }
}

/// Starts `server` on a free port.
pub(crate) async fn start_server(server: Server) -> RunningServer {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let shutdown = async move { drop(stopped.await) };
    let server = server.service_names([TestService::NAME]);
    RunningServer { address, stop, ended: tokio::spawn(server.serve(listener, shutdown)) }
}

/// The response to a request that a test writes by hand.
pub(crate) struct RawResponse {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    /// The status of the call, from the headers or the trailers.
    pub(crate) grpc: Option<Status>,
}

/// Sends a request with `fields` and the bytes `body`.
pub(crate) async fn raw_call(
    address: SocketAddr,
    method: &str,
    path: &str,
    fields: &[(&str, &str)],
    body: &'static [u8],
) -> RawResponse {
    let socket = TcpStream::connect(address).await.unwrap();
    let (client, connection) = h2::client::handshake(socket).await.unwrap();
    tokio::spawn(connection);
    let mut request = http::Request::builder().method(method).uri(format!("http://test{path}"));
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let request = request.body(()).unwrap();
    let (response, mut sent) = client.ready().await.unwrap().send_request(request, false).unwrap();
    // The server may have answered and reset the stream.
    let _ = sent.send_data(Bytes::from_static(body), true);
    let (parts, mut received) = response.await.unwrap().into_parts();
    while received.data().await.is_some() {}
    let trailers = received.trailers().await.unwrap().unwrap_or_default();
    let grpc = Status::from_header_map(&parts.headers).or_else(|| Status::from_header_map(&trailers));
    RawResponse { status: parts.status.as_u16(), headers: parts.headers, grpc }
}

pub(crate) fn channel(address: SocketAddr, timeout: Duration) -> Channel {
    Channel::builder(format!("http://{address}")).peer("test-service").timeout(timeout).build().unwrap()
}

/// Returns a channel that makes one attempt of each call.
pub(crate) fn single_attempt(address: SocketAddr, timeout: Duration) -> Channel {
    let builder = Channel::builder(format!("http://{address}")).peer("test-service").timeout(timeout);
    builder.without_policy().build().unwrap()
}

pub(crate) const SECOND: Duration = Duration::from_secs(1);

pub(crate) fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Waits until `test` returns true, for an effect on the other side of the connection.
pub(crate) async fn eventually(what: &str, test: impl Fn() -> bool) {
    for _ in 0..500 {
        if test() {
            return;
        }
        sleep(millis(10)).await;
    }
    panic!("not within 5 s: {what}");
}
