//! A listener in plain text or with TLS, whose routes respond late, slowly, with large bodies, or never.

pub(crate) mod log;
mod routes;
#[cfg(feature = "tls")]
mod tls;

use std::{
    net::SocketAddr,
    panic::{AssertUnwindSafe, resume_unwind},
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};

use bytes::Bytes;
use comms_core::{Error, clock::Clock};
use comms_grpc::{ListenerConfig, Peer, Protocols, listen};
use futures::FutureExt;
use http::Request;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinHandle,
    time::{sleep, timeout},
};

use routes::{RequestCounters, respond};
#[cfg(feature = "tls")]
pub(crate) use tls::{Client, Leaf, Pki, get_text, http2_only, install_provider, now, self_signed};

/// The value of the time limits under test.
pub(crate) const LIMIT: Duration = Duration::from_millis(500);
/// Far above [`LIMIT`].
pub(crate) const WAIT: Duration = Duration::from_secs(10);
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub(crate) const LARGE: usize = 16 << 20;
/// Fits into the buffer of TLS, and not into that of the kernel.
pub(crate) const MEDIUM: usize = 60 << 10;
pub(crate) const FRAME: usize = 16 << 10;

/// The transport between a client and the listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Plain,
    #[cfg(feature = "tls")]
    MutualTls,
}

impl Transport {
    pub(crate) const ALL: &[Self] = &[
        Self::Plain,
        #[cfg(feature = "tls")]
        Self::MutualTls,
    ];
}

/// Runs `test` over each transport, all at the same time.
pub(crate) async fn over_each_transport(test: impl AsyncFn(Transport)) {
    let runs = Transport::ALL.iter().map(|transport| AssertUnwindSafe(test(*transport)).catch_unwind());
    let ends = futures::future::join_all(runs).await;
    for (transport, end) in Transport::ALL.iter().zip(ends) {
        if let Err(panic) = end {
            eprintln!("the test failed over {transport:?}");
            resume_unwind(panic);
        }
    }
}

/// The bytes of a connection, in plain text or encrypted.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

pub(crate) type Socket = Box<dyn Stream>;

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) stop: oneshot::Sender<()>,
    pub(crate) ended: JoinHandle<Result<(), Error>>,
    /// The number of requests whose handler or response body is not dropped.
    pub(crate) alive: Arc<AtomicUsize>,
    /// The number of bytes that the listener took from response bodies.
    pub(crate) taken: Arc<AtomicUsize>,
    /// The client that the listener admits, if it has TLS.
    #[cfg(feature = "tls")]
    client: Option<Client>,
}

impl Server {
    /// Starts a listener with short limits.
    pub(crate) async fn start(transport: Transport, change: impl FnOnce(&mut ListenerConfig)) -> Self {
        match transport {
            Transport::Plain => Self::listen(change).await,
            #[cfg(feature = "tls")]
            Transport::MutualTls => Self::mutual(&Pki::new("authority"), change).await,
        }
    }

    pub(crate) async fn with_protocols(transport: Transport, protocols: Protocols) -> Self {
        Self::start(transport, |config| config.protocols = protocols).await
    }

    async fn listen(change: impl FnOnce(&mut ListenerConfig)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut config = ListenerConfig::default().name("test");
        (config.head_timeout, config.progress_timeout) = (LIMIT, LIMIT);
        change(&mut config);
        let (stop, stopped) = oneshot::channel();
        let (alive, taken) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let counted = (alive.clone(), taken.clone());
        let service = move |peer: Peer| {
            let (alive, taken) = counted.clone();
            tower::service_fn(move |request| {
                respond(request, peer.clone(), RequestCounters::new(&alive, &taken))
            })
        };
        let shutdown = async move { drop(stopped.await) };
        let ended = tokio::spawn(listen(listener, service, config, Clock::system(), shutdown));
        // The listener loads its files when it is polled first.
        tokio::task::yield_now().await;
        Self {
            address,
            stop,
            ended,
            alive,
            taken,
            #[cfg(feature = "tls")]
            client: None,
        }
    }

    pub(crate) async fn connect_tcp(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Connects as a client that may speak HTTP/1 and HTTP/2.
    pub(crate) async fn connect(&self) -> Socket {
        self.encrypt(self.connect_tcp().await).await
    }

    /// Makes the handshake of the transport on `socket`.
    pub(crate) async fn encrypt(&self, socket: TcpStream) -> Socket {
        #[cfg(feature = "tls")]
        if let Some(client) = &self.client {
            return Box::new(client.handshake(socket).await.unwrap());
        }
        Box::new(socket)
    }

    /// Connects as a client of HTTP/2.
    async fn connect_http2(&self) -> Socket {
        #[cfg(feature = "tls")]
        if let Some(client) = &self.client {
            let client = Client { alpn: vec!["h2"], ..client.clone() };
            return Box::new(client.connect(self.address).await.unwrap());
        }
        self.connect().await
    }

    pub(crate) async fn send(&self, bytes: &[u8]) -> Socket {
        let mut socket = self.connect().await;
        socket.write_all(bytes).await.unwrap();
        socket.flush().await.unwrap();
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
    ) -> (h2::client::SendRequest<Bytes>, h2::client::Connection<Socket>) {
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(window);
        builder.handshake(self.connect_http2().await).await.unwrap()
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
pub(crate) async fn closed(socket: &mut (impl AsyncRead + Unpin), limit: Duration) -> bool {
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
