//! A server with a log of numbers. Each call follows the next line of a script; calls after the last line stream the rest
//! of the log and end.

use std::{
    collections::VecDeque,
    convert::Infallible,
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context as TaskContext, Poll},
    time::Duration,
};

use comms_core::{Error, clock::Clock, resilience::Backoff};
use comms_grpc::{Channel, Resume, ResumeConfig, Resuming, ServerConfig, serve, tonic};
use futures::{Stream, StreamExt, stream};
use http::uri::PathAndQuery;
use tokio::{net::TcpListener, sync::oneshot};
use tonic::{Request, Response, Status, Streaming, body::Body, server::NamedService, service::Routes};
use tonic_prost::ProstCodec;

/// An item of the log. Position 0 is a keep-alive.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Item {
    #[prost(uint64, tag = "1")]
    pub(crate) position: u64,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) payload: Vec<u8>,
}

/// Another message, which cannot be read as an [`Item`].
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Poison {
    #[prost(string, tag = "1")]
    pub(crate) position: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct After {
    #[prost(uint64, tag = "1")]
    pub(crate) position: u64,
}

/// The behaviour of one call: how many items it sends, and what follows them.
#[derive(Clone, Debug)]
pub(crate) enum Line {
    /// Sends items, then this status.
    Break(u64, Status),
    /// Sends items, then ends the stream without an error.
    End(u64),
    /// Sends items, then nothing more.
    Silent(u64),
    /// Starts this many items before the requested position.
    Back(u64),
    /// Sends the item at this position, whatever was requested, then this status.
    Repeat(u64, Status),
    /// Fails the call before a stream.
    Refuse(Status),
    /// Sends keep-alives with this interval, and a last item after them.
    KeepAlive(u32, Duration),
}

#[derive(Clone)]
pub(crate) struct Log {
    pub(crate) length: u64,
    pub(crate) payload: usize,
    /// The pause before each item. Without a pause several items are sent in one frame.
    pub(crate) pace: Duration,
    pub(crate) script: Arc<Mutex<VecDeque<Line>>>,
    /// The position that each call requested.
    pub(crate) calls: Arc<Mutex<Vec<u64>>>,
    pub(crate) produced: Arc<AtomicUsize>,
    /// Response streams that were dropped.
    pub(crate) dropped: Arc<AtomicUsize>,
}

impl NamedService for Log {
    const NAME: &'static str = "test.Log";
}

type Items = Pin<Box<dyn Stream<Item = Result<Item, Status>> + Send>>;

struct DropCounter(Arc<AtomicUsize>);

impl Drop for DropCounter {
    fn drop(&mut self) {
        self.0.fetch_add(1, SeqCst);
    }
}

impl Log {
    pub(crate) fn new(length: u64, script: impl IntoIterator<Item = Line>) -> Self {
        let script = Arc::new(Mutex::new(script.into_iter().collect()));
        let (produced, dropped) = (Arc::default(), Arc::default());
        Self { length, payload: 0, pace: Duration::ZERO, script, calls: Arc::default(), produced, dropped }
    }

    pub(crate) fn calls(&self) -> Vec<u64> {
        self.calls.lock().unwrap().clone()
    }

    fn items(&self, after: u64, count: u64) -> impl Stream<Item = Result<Item, Status>> + Send + use<> {
        let (produced, payload, pace) = (self.produced.clone(), self.payload, self.pace);
        let last = self.length.min(after.saturating_add(count));
        stream::iter(after + 1..=last).then(move |position| {
            let produced = produced.clone();
            async move {
                if !pace.is_zero() {
                    tokio::time::sleep(pace).await;
                }
                produced.fetch_add(1, SeqCst);
                Ok(Item { position, payload: vec![0; payload] })
            }
        })
    }

    async fn list(self, request: Request<After>) -> Result<Response<Items>, Status> {
        let after = request.into_inner().position;
        self.calls.lock().unwrap().push(after);
        let line = self.script.lock().unwrap().pop_front();
        let held = DropCounter(self.dropped.clone());
        let items: Items = match line {
            None => self.items(after, u64::MAX).boxed(),
            Some(Line::Break(count, status)) => {
                self.items(after, count).chain(stream::iter([Err(status)])).boxed()
            }
            Some(Line::End(count)) => self.items(after, count).boxed(),
            Some(Line::Silent(count)) => self.items(after, count).chain(stream::pending()).boxed(),
            Some(Line::Back(back)) => self.items(after.saturating_sub(back), u64::MAX).boxed(),
            Some(Line::Repeat(position, status)) => {
                self.items(position - 1, 1).chain(stream::iter([Err(status)])).boxed()
            }
            Some(Line::Refuse(status)) => return Err(status),
            Some(Line::KeepAlive(count, interval)) => stream::iter(0..count)
                .then(move |_| async move {
                    tokio::time::sleep(interval).await;
                    Ok(Item::default())
                })
                .chain(self.items(after, 1))
                .boxed(),
        };
        let items = items.map(move |item| {
            let _ = &held;
            item
        });
        Ok(Response::new(items.boxed()))
    }

    async fn poison(
        self,
        request: Request<After>,
    ) -> Result<Response<Pin<Box<dyn Stream<Item = Result<Poison, Status>> + Send>>>, Status> {
        self.calls.lock().unwrap().push(request.into_inner().position);
        Ok(Response::new(stream::iter([Ok(Poison { position: "seven".into() })]).boxed()))
    }
}

impl tower::Service<http::Request<Body>> for Log {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let log = self.clone();
        Box::pin(async move {
            Ok(if request.uri().path() == "/test.Log/Poison" {
                let mut grpc = tonic::server::Grpc::new(ProstCodec::<Poison, After>::default());
                let method = tower::service_fn(move |request| log.clone().poison(request));
                grpc.server_streaming(method, request).await
            } else {
                let mut grpc = tonic::server::Grpc::new(ProstCodec::<Item, After>::default());
                let method = tower::service_fn(move |request| log.clone().list(request));
                grpc.server_streaming(method, request).await
            })
        })
    }
}

/// A running server, which stops when this is dropped.
pub(crate) struct Running {
    pub(crate) log: Log,
    pub(crate) address: SocketAddr,
    _stop: oneshot::Sender<()>,
}

pub(crate) async fn start(log: Log) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let shutdown = async move { drop(stopped.await) };
    let routes = Routes::new(log.clone());
    tokio::spawn(serve(listener, routes, ServerConfig::default(), Clock::system(), shutdown));
    Running { log, address, _stop: stop }
}

impl Running {
    pub(crate) fn channel(&self) -> Channel {
        channel(self.address, Duration::from_secs(60))
    }
}

pub(crate) fn channel(address: SocketAddr, timeout: Duration) -> Channel {
    Channel::builder(format!("http://{address}"))
        .peer("log")
        .timeout(timeout)
        .without_policy()
        .build()
        .unwrap()
}

/// Settings with waits of about 10 ms.
pub(crate) fn quick() -> ResumeConfig {
    let backoff = Backoff::new(Duration::from_millis(10), Duration::from_millis(20)).unwrap();
    ResumeConfig::default().backoff(backoff)
}

pub(crate) fn resume(config: ResumeConfig) -> Resume<u64> {
    Resume::new("log", config, Clock::system()).unwrap()
}

/// Opens the log of `channel`.
pub(crate) fn open(resume: Resume<u64>, channel: Channel) -> Resuming<Item> {
    open_path(resume, channel, "/test.Log/List")
}

pub(crate) fn open_path(resume: Resume<u64>, channel: Channel, path: &'static str) -> Resuming<Item> {
    let position = |item: &Item| (item.position != 0).then_some(item.position);
    resume.open(position, move |after| {
        let mut client = tonic::client::Grpc::new(channel.clone());
        async move {
            client.ready().await?;
            let request = Request::new(After { position: after.unwrap_or(0) });
            let path = PathAndQuery::from_static(path);
            let response: Result<Response<Streaming<Item>>, Status> =
                client.server_streaming(request, path, ProstCodec::<After, Item>::default()).await;
            response
        }
    })
}

/// Reads to the end. Returns the positions, and the error at the end.
pub(crate) async fn read(mut stream: Resuming<Item>) -> (Vec<u64>, Option<Error>) {
    let mut positions = Vec::new();
    while let Some(item) = stream.next().await {
        match item {
            Ok(item) => positions.push(item.position),
            Err(error) => {
                assert!(stream.next().await.is_none(), "the stream ends after an error");
                return (positions, Some(error));
            }
        }
    }
    assert!(stream.next().await.is_none(), "the end stays the end");
    (positions, None)
}
