//! The accept loop: accepts sockets within the connection limits, spawns their handshakes if the listener has TLS, and
//! spawns the task of each connection.

use std::{
    io,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use comms_core::{
    BoxError, Error,
    clock::Clock,
    telemetry::{self, LogLimit},
};
use http::{Request, Response};
use http_body::Body;
use hyper_util::{rt::TokioIo, server::conn::auto::Builder};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};
use tower_service::Service;

use super::{
    activity::Activity,
    close_counters::CloseCounters,
    config::{ListenerConfig, Protocols},
    connection,
    connection_limits::{ConnectionLimits, ConnectionPermit},
    counting_service::{CountingService, RequestBody},
    peer::Peer,
    problem_details::ProblemDetails,
    socket::Socket,
    stream_task::StreamExecutor,
    transport::{AcceptedConnection, Stream, Transport},
    watchdog::GOAWAY_TIMEOUT,
};

/// The wait after an accept that failed for lack of descriptors or memory. An immediate retry would be a busy loop.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);
/// The time after the drain limit at which connections whose handlers block their threads are given up.
const DRAIN_GRACE: Duration = Duration::from_secs(1);

/// The unsent bytes of a connection up to which the kernel accepts writes. Without this limit the kernel accepts
/// megabytes and then nothing for minutes from a slow peer that reads all the time, which looks like a peer that does
/// not read.
#[cfg(any(target_os = "android", target_os = "linux"))]
const MAX_UNSENT: u32 = 32 * 1024;

/// A socket with its permit.
struct AcceptedSocket {
    stream: TcpStream,
    permit: ConnectionPermit,
}

pub(super) struct Acceptor {
    limits: ConnectionLimits,
    builder: Arc<Builder<StreamExecutor>>,
    config: Arc<ListenerConfig>,
    counters: Arc<CloseCounters>,
    clock: Clock,
    failed_log: LogLimit,
    /// The tasks of the connections. Each returns the number of requests that the end of the drain cut.
    connections: JoinSet<u32>,
    /// The tasks of the TLS handshakes. Empty without TLS.
    handshakes: JoinSet<Option<(AcceptedConnection, Peer)>>,
    #[cfg(feature = "tls")]
    tls: Option<Arc<super::handshake::Handshakes>>,
    shutdown: watch::Sender<bool>,
}

impl Acceptor {
    pub(super) fn new(config: ListenerConfig, clock: Clock) -> Result<Self, Error> {
        let config = Arc::new(config);
        let gauge = metrics::gauge!(telemetry::CONNECTIONS, "listener" => config.name.clone());
        Ok(Self {
            limits: ConnectionLimits::new(config.max_connections, config.per_address(), gauge),
            builder: Arc::new(connection::builder(&config, &clock)),
            counters: Arc::new(CloseCounters::new(&config.name)),
            #[cfg(feature = "tls")]
            tls: super::handshake::Handshakes::start(&config, &clock)?,
            config,
            clock,
            failed_log: LogLimit::new(),
            connections: JoinSet::new(),
            handshakes: JoinSet::new(),
            shutdown: watch::Sender::new(false),
        })
    }

    /// Waits for the next connection within the limits, after its TLS handshake. No error ends the loop. Cancel safe.
    pub(super) async fn accept(&mut self, listener: &TcpListener) -> (AcceptedConnection, Peer) {
        loop {
            let accepted = tokio::select! {
                Some(_) = self.connections.join_next() => continue,
                Some(ended) = self.handshakes.join_next() => match ended {
                    Ok(Some(ready)) => return ready,
                    Ok(None) | Err(_) => continue,
                },
                accepted = accept(listener, &self.limits) => accepted,
            };
            match accepted {
                Ok(Accepted::Socket(socket, peer)) => {
                    if let Some(ready) = self.begin(socket, peer) {
                        return ready;
                    }
                }
                Ok(Accepted::Refused(address)) => {
                    self.counters.refuse(address, &self.config, &self.clock);
                }
                Err(error) if concerns_one_connection(&error) => {
                    tracing::debug!(listener = self.config.name, %error, "an accept failed");
                }
                Err(error) => {
                    self.report(&error);
                    self.clock.sleep(ACCEPT_RETRY_DELAY).await;
                }
            }
        }
    }

    /// Returns the connection, or spawns its handshake.
    #[allow(clippy::unnecessary_wraps, reason = "without the feature `tls` there is no handshake")]
    fn begin(&mut self, socket: AcceptedSocket, peer: Peer) -> Option<(AcceptedConnection, Peer)> {
        let activity = Arc::new(Activity::default());
        let socket = Socket::new(socket.stream, socket.permit, activity.clone());
        let accepted = self.clock.now();
        if self.config.protocols == Protocols::Http2 {
            activity.require_http2();
        }
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            self.handshakes.spawn(tls.clone().run(socket, activity, accepted, peer));
            return None;
        }
        Some((AcceptedConnection { stream: Stream::Plain(socket), activity, accepted }, peer))
    }

    fn report(&self, error: &io::Error) {
        if let Some(suppressed) = self.failed_log.admit(&self.clock) {
            tracing::warn!(listener = self.config.name, %error, suppressed, "connections cannot be accepted");
        }
    }

    /// Spawns the task of a connection.
    pub(super) fn serve<S, B>(&mut self, connection: AcceptedConnection, service: S)
    where
        S: Service<Request<RequestBody>, Response = Response<B>, Error: Into<BoxError>>,
        S: Clone + Send + 'static,
        S::Future: Send + 'static,
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let AcceptedConnection { stream, activity, accepted } = connection;
        match stream {
            Stream::Plain(socket) => self.spawn(socket, activity, accepted, service),
            #[cfg(feature = "tls")]
            Stream::Tls(stream) => self.spawn(stream, activity, accepted, service),
        }
    }

    /// Spawns the task of a connection on `stream`. One type of connection for each type of stream, because
    /// [`take_socket`](super::take_socket) recognizes a connection in plain text by its type.
    fn spawn<T, S, B>(&mut self, stream: T, activity: Arc<Activity>, accepted: Instant, service: S)
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        S: Service<Request<RequestBody>, Response = Response<B>, Error: Into<BoxError>>,
        S: Clone + Send + 'static,
        S::Future: Send + 'static,
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let clock = self.config.problem_details.then(|| self.clock.clone());
        let socket = TokioIo::new(ProblemDetails::new(Transport::new(stream, activity.clone()), clock));
        let service = CountingService::new(service, activity.clone());
        let (builder, config, clock) = (self.builder.clone(), self.config.clone(), self.clock.clone());
        let (counters, shutdown) = (self.counters.clone(), self.shutdown.subscribe());
        self.connections.spawn(async move {
            let end = match config.protocols {
                Protocols::Http => {
                    let connection = builder.serve_connection_with_upgrades(socket, service);
                    connection::drive(connection, &activity, accepted, &config, &clock, shutdown).await
                }
                Protocols::Http2 => {
                    let connection = builder.serve_connection(socket, service);
                    connection::drive(connection, &activity, accepted, &config, &clock, shutdown).await
                }
            };
            counters.record(&config.name, end)
        });
    }

    /// Signals shutdown to every connection. Returns the time until which handshakes may end.
    pub(super) fn shut_down(&self) -> Instant {
        self.shutdown.send_replace(true);
        self.clock.now() + GOAWAY_TIMEOUT
    }

    /// Waits until `end` for the next TLS handshake that ends. Returns `None` if there is none.
    pub(super) async fn finish_handshake(&mut self, end: Instant) -> Option<(AcceptedConnection, Peer)> {
        let handshakes = &mut self.handshakes;
        let next = async {
            while let Some(ended) = handshakes.join_next().await {
                if let Ok(Some(ready)) = ended {
                    return Some(ready);
                }
            }
            None
        };
        let left = end.saturating_duration_since(self.clock.now());
        self.clock.timeout(left, next).await.ok().flatten()
    }

    /// Waits for the requests in flight for at most the drain limit, after [`shut_down`](Self::shut_down).
    pub(super) async fn drain(mut self) {
        // No request of these connections was read.
        self.handshakes.shutdown().await;
        let mut cut = 0;
        let ends = async {
            while let Some(end) = self.connections.join_next().await {
                cut += end.unwrap_or_default();
            }
        };
        // Connections end in time, unless a handler blocks their thread.
        let limit = self.config.drain.saturating_add(DRAIN_GRACE);
        let late = self.clock.timeout(limit, ends).await.is_err();
        let (listener, stuck) = (&self.config.name, self.connections.len());
        if late || cut > 0 {
            tracing::warn!(listener, requests = cut, stuck, "requests were cut at the end of the drain");
        }
        // A blocked thread cannot be waited for. The remaining tasks are aborted when they yield.
        self.connections.abort_all();
    }
}

/// The result of an accept.
enum Accepted {
    Socket(AcceptedSocket, Peer),
    /// The socket was closed because its address has reached its limit.
    Refused(IpAddr),
}

/// Accepts the next socket, as soon as the total limit allows.
async fn accept(listener: &TcpListener, limits: &ConnectionLimits) -> io::Result<Accepted> {
    let permit = limits.acquire().await;
    let (stream, remote) = listener.accept().await?;
    let Some(permit) = permit.and_then(|permit| limits.admit(permit, remote.ip())) else {
        return Ok(Accepted::Refused(remote.ip()));
    };
    // Responses are small. Nagle's algorithm would delay them until the peer's delayed acknowledgement.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot set TCP_NODELAY");
    }
    #[cfg(any(target_os = "android", target_os = "linux"))]
    if let Err(error) = socket2::SockRef::from(&stream).set_tcp_notsent_lowat(MAX_UNSENT) {
        tracing::debug!(%error, "cannot set TCP_NOTSENT_LOWAT");
    }
    let peer = Peer { remote, local: stream.local_addr().ok(), identity: None };
    Ok(Accepted::Socket(AcceptedSocket { stream, permit }, peer))
}

/// Returns whether `error` concerns only the connection that was being accepted, so that the next accept may succeed.
fn concerns_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

#[cfg(test)]
mod tests {
    use metrics::Gauge;

    use super::*;

    #[tokio::test]
    async fn accepted_sockets_send_without_delay() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let limits = ConnectionLimits::new(1, 1, Gauge::noop());
        let Ok(Accepted::Socket(accepted, peer)) = accept(&listener, &limits).await else {
            panic!("refused")
        };
        assert!(accepted.stream.nodelay().unwrap());
        assert_eq!(Some(peer.remote), client.local_addr().ok());
        assert_eq!(peer.local, client.peer_addr().ok());
    }
}
