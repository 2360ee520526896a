//! A listener whose routes respond late, slowly, with large bodies, or never.

use std::{
    collections::VecDeque,
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use comms_core::{Error, clock::Clock};
use comms_grpc::{ListenerConfig, Protocols, RequestBody, listen};
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinHandle,
    time::{Sleep, sleep, timeout},
};

/// The value of the time limits under test.
pub(crate) const LIMIT: Duration = Duration::from_millis(500);
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub(crate) const LARGE: usize = 16 << 20;
pub(crate) const FRAME: usize = 16 << 10;

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) stop: oneshot::Sender<()>,
    pub(crate) ended: JoinHandle<Result<(), Error>>,
    /// The number of requests whose handler or response body is not dropped.
    pub(crate) alive: Arc<AtomicUsize>,
    /// The number of bytes that the listener took from response bodies.
    pub(crate) taken: Arc<AtomicUsize>,
}

impl Server {
    pub(crate) async fn start(change: impl FnOnce(&mut ListenerConfig)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut config = ListenerConfig::default();
        (config.head_timeout, config.progress_timeout) = (LIMIT, LIMIT);
        change(&mut config);
        let (stop, stopped) = oneshot::channel();
        let (alive, taken) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let counted = (alive.clone(), taken.clone());
        let service = move |_| {
            let (alive, taken) = counted.clone();
            tower::service_fn(move |request| respond(request, RequestCounters::new(&alive, &taken)))
        };
        let shutdown = async move { drop(stopped.await) };
        let ended = tokio::spawn(listen(listener, service, config, Clock::system(), shutdown));
        Self { address, stop, ended, alive, taken }
    }

    pub(crate) async fn with_protocols(protocols: Protocols) -> Self {
        Self::start(|config| config.protocols = protocols).await
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    pub(crate) async fn send(&self, bytes: &[u8]) -> TcpStream {
        let mut socket = self.connect().await;
        socket.write_all(bytes).await.unwrap();
        socket
    }

    /// Checks that an ordinary HTTP/1 client is served.
    pub(crate) async fn assert_serves(&self) {
        let text = self.get("/").await;
        assert!(text.starts_with("HTTP/1.1 200") && text.ends_with("hello"), "{text}");
    }

    /// Returns the whole response to one HTTP/1 request.
    pub(crate) async fn get(&self, path: &str) -> String {
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        let mut socket = self.send(request.as_bytes()).await;
        let mut text = String::new();
        socket.read_to_string(&mut text).await.unwrap();
        text
    }

    /// Connects an HTTP/2 client whose streams have a window of `window` bytes, and which sends only the frames of its
    /// requests.
    pub(crate) async fn http2_without_pings(
        &self,
        window: u32,
    ) -> (h2::client::SendRequest<Bytes>, h2::client::Connection<TcpStream>) {
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(window);
        builder.handshake(self.connect().await).await.unwrap()
    }

    /// Connects an HTTP/2 client that also sends pings, and returns the task that drives its connection.
    pub(crate) async fn http2(
        &self,
        window: u32,
    ) -> (h2::client::SendRequest<Bytes>, JoinHandle<Result<(), h2::Error>>) {
        let (client, mut connection) = self.http2_without_pings(window).await;
        let mut pings = connection.ping_pong().unwrap();
        let connection = tokio::spawn(async move {
            // Pings and their responses are no progress.
            let pinging = async {
                while pings.ping(h2::Ping::opaque()).await.is_ok() {
                    sleep(LIMIT / 10).await;
                }
                std::future::pending().await
            };
            tokio::select! {
                end = connection => end,
                () = pinging => Ok(()),
            }
        });
        (client, connection)
    }
}

/// Sends GET `path` over HTTP/2 and returns the stream of the response body.
pub(crate) async fn get(client: &h2::client::SendRequest<Bytes>, path: &str) -> h2::RecvStream {
    let request = Request::get(format!("http://x{path}")).body(()).unwrap();
    let mut ready = client.clone().ready().await.unwrap();
    ready.send_request(request, true).unwrap().0.await.unwrap().into_body()
}

/// Reads until the server closes the socket. Returns whether the server did so within `limit`.
pub(crate) async fn closed(socket: &mut TcpStream, limit: Duration) -> bool {
    let mut buffer = [0; 1024];
    let reads = async { while socket.read(&mut buffer).await.is_ok_and(|read| read > 0) {} };
    timeout(limit, reads).await.is_ok()
}

pub(crate) async fn eventually(what: &str, test: impl Fn() -> bool) {
    for _ in 0..1_000 {
        if test() {
            return;
        }
        sleep(Duration::from_millis(10)).await;
    }
    panic!("not within 10 s: {what}");
}

/// The counters of one request, which counts as alive until this is dropped.
struct RequestCounters {
    alive: Arc<AtomicUsize>,
    taken: Arc<AtomicUsize>,
}

impl RequestCounters {
    fn new(alive: &Arc<AtomicUsize>, taken: &Arc<AtomicUsize>) -> Self {
        alive.fetch_add(1, SeqCst);
        Self { alive: alive.clone(), taken: taken.clone() }
    }
}

impl Drop for RequestCounters {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, SeqCst);
    }
}

/// Returns the response of the route.
async fn respond(
    mut request: Request<RequestBody>,
    counters: RequestCounters,
) -> Result<Response<Frames>, Infallible> {
    let hello = Bytes::from_static(b"hello");
    let frames: Vec<(Duration, Bytes)> = match request.uri().path() {
        "/late" => {
            sleep(LIMIT * 3).await;
            vec![(Duration::ZERO, hello)]
        }
        "/hang" => std::future::pending().await,
        "/frames" => vec![(Duration::ZERO, Bytes::from(vec![b'x'; FRAME])); 1_000],
        "/large" => vec![(Duration::ZERO, Bytes::from(vec![b'x'; LARGE]))],
        "/later" => vec![(LIMIT / 5, hello)],
        "/pauses" => vec![(Duration::ZERO, hello.clone()), (LIMIT * 3, hello)],
        "/upload" => {
            let mut body = Pin::new(request.body_mut());
            let mut length = 0;
            while let Some(Ok(frame)) = std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
                length += frame.data_ref().map_or(0, Bytes::len);
            }
            vec![(Duration::ZERO, Bytes::from(length.to_string()))]
        }
        "/upgrade" => {
            tokio::spawn(echo(hyper::upgrade::on(&mut request)));
            let mut response = Response::new(Frames::new(vec![], counters));
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            response.headers_mut().insert("upgrade", "echo".parse().unwrap());
            response.headers_mut().insert("connection", "upgrade".parse().unwrap());
            return Ok(response);
        }
        _ => vec![(Duration::ZERO, hello)],
    };
    Ok(Response::new(Frames::new(frames, counters)))
}

async fn echo(upgrade: hyper::upgrade::OnUpgrade) {
    let mut socket = TokioIo::new(upgrade.await.unwrap());
    let mut byte = [0];
    while socket.read_exact(&mut byte).await.is_ok() {
        socket.write_all(&byte).await.unwrap();
    }
}

/// A response body of frames, each after a pause.
struct Frames {
    frames: VecDeque<(Duration, Bytes)>,
    pause: Option<Pin<Box<Sleep>>>,
    counters: RequestCounters,
}

impl Frames {
    fn new(frames: Vec<(Duration, Bytes)>, counters: RequestCounters) -> Self {
        Self { frames: frames.into(), pause: None, counters }
    }
}

impl Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some((pause, _)) = self.frames.front() else { return Poll::Ready(None) };
        let pause = *pause;
        let timer = self.pause.get_or_insert_with(|| Box::pin(sleep(pause)));
        std::task::ready!(timer.as_mut().poll(cx));
        self.pause = None;
        let frame = self.frames.pop_front();
        self.counters.taken.fetch_add(frame.as_ref().map_or(0, |(_, data)| data.len()), SeqCst);
        Poll::Ready(frame.map(|(_, data)| Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.frames.iter().map(|(_, data)| data.len() as u64).sum())
    }
}
