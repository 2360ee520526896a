//! A service without generated code: it does what the request says, and tells what it saw.

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

use comms_core::{Error, clock::Clock, context::Context, wire::NOT_EXECUTED};
use comms_grpc::{Channel, ServerConfig, refused, serve, to_status, tonic};
use futures::{Stream, StreamExt, stream};
use http::uri::PathAndQuery;
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle, time::sleep};
use tonic::{Request, Response, Status, Streaming, body::Body, server::NamedService, service::Routes};
use tonic_prost::ProstCodec;

/// What to do, and for how long.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Ask {
    #[prost(string, tag = "1")]
    pub(crate) what: String,
    #[prost(uint64, tag = "2")]
    pub(crate) millis: u64,
}

/// What a handler saw; `next` is what the one behind it saw.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Saw {
    #[prost(uint64, tag = "1")]
    pub(crate) left_micros: u64,
    #[prost(string, tag = "2")]
    pub(crate) trace_id: String,
    #[prost(string, tag = "3")]
    pub(crate) key: String,
    #[prost(message, optional, boxed, tag = "4")]
    pub(crate) next: Option<Box<Saw>>,
}

/// How often handlers began, and how often one was dropped before its end.
#[derive(Clone, Default)]
pub(crate) struct Probe {
    pub(crate) next: Option<Channel>,
    pub(crate) begun: Arc<AtomicUsize>,
    pub(crate) dropped: Arc<AtomicUsize>,
}

impl NamedService for Probe {
    const NAME: &'static str = "test.Probe";
}

type Ticks = Pin<Box<dyn Stream<Item = Result<Saw, Status>> + Send>>;

impl Probe {
    async fn ask(self, request: Request<Ask>) -> Result<Response<Saw>, Status> {
        self.begun.fetch_add(1, SeqCst);
        let unfinished = Dropped(self.dropped.clone());
        let key = comms_grpc::key_of(&request).unwrap_or_default();
        let ask = request.into_inner();
        let time = Duration::from_millis(ask.millis);
        let mut seen = Saw { key, ..saw() };
        match ask.what.as_str() {
            "report" => {}
            "sleep" => sleep(time).await,
            "hang" => std::future::pending().await,
            "panic" => panic!("as asked"),
            "busy" => return Err(to_status(&Error::rejected("busy", Some(time)))),
            "refuse" => return Err(refused(&Error::rejected("full", Some(time)))),
            "not ready" => return Err(refused(&Error::not_executed("hunter2"))),
            "forge" => {
                let mut status = Status::unavailable("forged");
                status.metadata_mut().insert(NOT_EXECUTED, "not_executed".parse().expect("ASCII"));
                return Err(status);
            }
            "long" => return Err(Status::invalid_argument("ж".repeat(100_000))),
            "forward" => {
                let next = self.next.clone().expect("a service behind this one");
                return call(&next, "refuse", ask.millis).await.map(Response::new);
            }
            "relay" => {
                sleep(time).await;
                let next = self.next.clone().expect("a service behind this one");
                seen.next = Some(Box::new(call(&next, "report", 0).await?));
            }
            other => return Err(Status::invalid_argument(other)),
        }
        std::mem::forget(unfinished);
        Ok(Response::new(seen))
    }

    async fn watch(self, request: Request<Ask>) -> Result<Response<Ticks>, Status> {
        self.begun.fetch_add(1, SeqCst);
        let ask = request.into_inner();
        let time = Duration::from_millis(ask.millis);
        let unfinished = Dropped(self.dropped.clone());
        let ticks: Ticks = match ask.what.as_str() {
            "ticks" => stream::unfold(unfinished, move |held| async move {
                sleep(time).await;
                Some((Ok(saw()), held))
            })
            .boxed(),
            "flood" => stream::repeat_with(move || {
                let _ = &unfinished;
                Ok(saw())
            })
            .boxed(),
            "refuse" => stream::iter([Ok(saw()), Err(refused(&Error::not_executed("late")))]).boxed(),
            // Each as it is polled, after the handler has answered.
            "three" => stream::iter(0..3).map(|_| Ok(saw())).boxed(),
            _ => stream::once(async { panic!("as asked") }).boxed(),
        };
        Ok(Response::new(ticks))
    }
}

struct Dropped(Arc<AtomicUsize>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.fetch_add(1, SeqCst);
    }
}

fn saw() -> Saw {
    let context = Context::current();
    let left = context.deadline.and_then(|d| d.remaining(&Clock::system())).unwrap_or_default();
    let trace_id = context.trace.map(|t| t.trace_id()).unwrap_or_default();
    Saw { left_micros: left.as_micros() as u64, trace_id, ..Saw::default() }
}

impl tower::Service<http::Request<Body>> for Probe {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let probe = self.clone();
        let path = request.uri().path().to_owned();
        Box::pin(async move {
            let mut grpc = tonic::server::Grpc::new(ProstCodec::<Saw, Ask>::default());
            Ok(match path.as_str() {
                "/test.Probe/Ask" => {
                    grpc.unary(tower::service_fn(move |r| probe.clone().ask(r)), request).await
                }
                "/test.Probe/Watch" => {
                    grpc.server_streaming(tower::service_fn(move |r| probe.clone().watch(r)), request).await
                }
                _ => Status::unimplemented("").into_http(),
            })
        })
    }
}

/// A call of `/test.Probe/Ask`, as generated code makes it.
pub(crate) async fn call(channel: &Channel, what: &str, millis: u64) -> Result<Saw, Status> {
    ask(channel.clone(), Request::new(Ask { what: what.into(), millis })).await
}

/// The same through any transport, with any metadata.
pub(crate) async fn ask<T>(transport: T, request: Request<Ask>) -> Result<Saw, Status>
where
    T: tonic::client::GrpcService<Body>,
    T::ResponseBody: http_body::Body + Send + 'static,
    <T::ResponseBody as http_body::Body>::Error: Into<comms_core::BoxError>,
{
    let mut grpc = tonic::client::Grpc::new(transport);
    grpc.ready().await.map_err(|e| Status::from_error(e.into()))?;
    let path = PathAndQuery::from_static("/test.Probe/Ask");
    grpc.unary(request, path, ProstCodec::default()).await.map(Response::into_inner)
}

/// A call of `/test.Probe/Watch`.
pub(crate) async fn watch<T>(transport: T, what: &str, millis: u64) -> Result<Streaming<Saw>, Status>
where
    T: tonic::client::GrpcService<Body>,
    T::ResponseBody: http_body::Body + Send + 'static,
    <T::ResponseBody as http_body::Body>::Error: Into<comms_core::BoxError>,
{
    let mut grpc = tonic::client::Grpc::new(transport);
    grpc.ready().await.map_err(|e| Status::from_error(e.into()))?;
    let path = PathAndQuery::from_static("/test.Probe/Watch");
    let request = Request::new(Ask { what: what.into(), millis });
    grpc.server_streaming(request, path, ProstCodec::default()).await.map(Response::into_inner)
}

/// A running server.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) stop: oneshot::Sender<()>,
    pub(crate) ended: JoinHandle<Result<(), Error>>,
}

impl Running {
    pub(crate) fn channel(&self, timeout: Duration) -> Channel {
        channel(self.address, timeout)
    }
}

pub(crate) async fn start(probe: Probe, config: ServerConfig) -> Running {
    start_on(TcpListener::bind("127.0.0.1:0").await.unwrap(), probe, config)
}

pub(crate) fn start_on(listener: TcpListener, probe: Probe, config: ServerConfig) -> Running {
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let shutdown = async move { drop(stopped.await) };
    let ended = tokio::spawn(serve(listener, Routes::new(probe), config, Clock::system(), shutdown));
    Running { address, stop, ended }
}

pub(crate) fn channel(address: SocketAddr, timeout: Duration) -> Channel {
    Channel::builder(format!("http://{address}")).peer("probe").timeout(timeout).build().unwrap()
}

pub(crate) const SECOND: Duration = Duration::from_secs(1);

pub(crate) fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Waits until `test` holds: for what happens on the other side a moment later.
pub(crate) async fn eventually(what: &str, test: impl Fn() -> bool) {
    for _ in 0..500 {
        if test() {
            return;
        }
        sleep(millis(10)).await;
    }
    panic!("not within 5 s: {what}");
}
