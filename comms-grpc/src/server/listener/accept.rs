//! The accept loop: accepts sockets within the connection limits, spawns their handshakes if the listener has TLS, and
//! spawns the task of each connection.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use comms_core::{BoxError, Error, clock::Clock, telemetry};
use http::{Request, Response};
use http_body::Body;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
};
use metrics::Counter;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};
use tower_service::Service;

use super::{
    activity::Activity,
    config::{ListenerConfig, Protocols},
    connection::{self, ConnectionEnd},
    connection_limits::{ConnectionLimits, ConnectionPermit},
    counting_service::{CountingService, RequestBody},
    peer::Peer,
    problem_details::ProblemDetails,
    socket::Socket,
    transport::{AcceptedConnection, Stream, Transport},
    watchdog::Limit,
};

/// The wait after an accept that failed for lack of descriptors or memory. An immediate retry would be a busy loop.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);
/// The minimum time between two warnings about failed accepts.
const WARNING_INTERVAL: Duration = Duration::from_secs(10);
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
    listener: TcpListener,
    limits: ConnectionLimits,
    builder: Arc<Builder<TokioExecutor>>,
    config: Arc<ListenerConfig>,
    counters: Arc<CloseCounters>,
    clock: Clock,
    last_warning: Option<Instant>,
    /// The tasks of the connections. Each returns the number of requests that the end of the drain cut.
    connections: JoinSet<u32>,
    /// The tasks of the TLS handshakes. Empty without TLS.
    handshakes: JoinSet<Option<(AcceptedConnection, Peer)>>,
    #[cfg(feature = "tls")]
    tls: Option<Arc<super::handshake::Handshakes>>,
    shutdown: watch::Sender<bool>,
}

impl Acceptor {
    pub(super) fn new(listener: TcpListener, config: ListenerConfig, clock: Clock) -> Result<Self, Error> {
        let config = Arc::new(config);
        let gauge = metrics::gauge!(telemetry::CONNECTIONS, "listener" => config.name.clone());
        Ok(Self {
            listener,
            limits: ConnectionLimits::new(config.max_connections, config.per_address(), gauge),
            builder: Arc::new(connection::builder(&config)),
            counters: Arc::new(CloseCounters::new(&config.name)),
            #[cfg(feature = "tls")]
            tls: super::handshake::Handshakes::start(&config, &clock)?,
            config,
            clock,
            last_warning: None,
            connections: JoinSet::new(),
            handshakes: JoinSet::new(),
            shutdown: watch::Sender::new(false),
        })
    }

    /// Waits for the next connection within the limits, after its TLS handshake. No error ends the loop. Cancel safe.
    pub(super) async fn accept(&mut self) -> (AcceptedConnection, Peer) {
        loop {
            let accepted = tokio::select! {
                Some(_) = self.connections.join_next() => continue,
                Some(ended) = self.handshakes.join_next() => match ended {
                    Ok(Some(ready)) => return ready,
                    Ok(None) | Err(_) => continue,
                },
                accepted = accept(&self.listener, &self.limits) => accepted,
            };
            match accepted {
                Ok(Some((socket, peer))) => {
                    if let Some(ready) = self.begin(socket, peer) {
                        return ready;
                    }
                }
                Ok(None) => self.counters.address.increment(1),
                Err(error) if concerns_one_connection(&error) => {
                    tracing::debug!(listener = self.config.name, %error, "an accept failed");
                }
                Err(error) => {
                    self.warn(&error);
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
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            self.handshakes.spawn(tls.clone().run(socket, activity, accepted, peer));
            return None;
        }
        Some((AcceptedConnection { stream: Stream::Plain(socket), activity, accepted }, peer))
    }

    fn warn(&mut self, error: &io::Error) {
        let now = self.clock.now();
        if self.last_warning.is_none_or(|last| now.saturating_duration_since(last) >= WARNING_INTERVAL) {
            self.last_warning = Some(now);
            tracing::warn!(listener = self.config.name, %error, "connections cannot be accepted");
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
        let clock = self.config.problem_details.then(|| self.clock.clone());
        let socket = ProblemDetails::new(Transport::new(stream, activity.clone()), clock);
        let socket = TokioIo::new(socket);
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

    /// Closes the listener, signals shutdown to every connection, and waits for the requests in flight for at most the
    /// drain limit.
    pub(super) async fn drain(mut self) {
        drop(self.listener);
        self.shutdown.send_replace(true);
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

/// Counters of the connections that the listener closed, by reason.
struct CloseCounters {
    address: Counter,
    head: Counter,
    progress: Counter,
}

impl CloseCounters {
    fn new(listener: &str) -> Self {
        let counter = |reason: &'static str| {
            let listener = listener.to_owned();
            metrics::counter!(telemetry::CONNECTIONS_CLOSED, "listener" => listener, "reason" => reason)
        };
        Self {
            address: counter("address_limit"),
            head: counter("head_timeout"),
            progress: counter("progress_timeout"),
        }
    }

    /// Counts the end of a connection. Returns the number of requests that the end of the drain cut.
    fn record(&self, listener: &str, end: ConnectionEnd) -> u32 {
        match end {
            ConnectionEnd::Closed => {}
            ConnectionEnd::Failed(error) => tracing::debug!(listener, error, "a connection failed"),
            ConnectionEnd::Cut(Limit::Head, _) => self.head.increment(1),
            ConnectionEnd::Cut(Limit::Progress, requests) => {
                self.progress.increment(1);
                tracing::debug!(listener, requests, "a connection without progress was cut");
            }
            ConnectionEnd::Cut(Limit::Drain, requests) => return requests.max(1),
            ConnectionEnd::Cut(Limit::Age | Limit::Goaway | Limit::Idle, _) => {}
        }
        0
    }
}

/// Accepts the next socket. Returns `None` if the socket was closed because its address has reached its limit.
async fn accept(
    listener: &TcpListener,
    limits: &ConnectionLimits,
) -> io::Result<Option<(AcceptedSocket, Peer)>> {
    let Some(permit) = limits.acquire().await else { return Ok(None) };
    let (stream, remote) = listener.accept().await?;
    let Some(permit) = limits.admit(permit, remote.ip()) else { return Ok(None) };
    // Responses are small. Nagle's algorithm would delay them until the peer's delayed acknowledgement.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot set TCP_NODELAY");
    }
    #[cfg(any(target_os = "android", target_os = "linux"))]
    if let Err(error) = socket2::SockRef::from(&stream).set_tcp_notsent_lowat(MAX_UNSENT) {
        tracing::debug!(%error, "cannot set TCP_NOTSENT_LOWAT");
    }
    let peer = Peer { remote, local: stream.local_addr().ok(), identity: None };
    Ok(Some((AcceptedSocket { stream, permit }, peer)))
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
        let (accepted, peer) = accept(&listener, &limits).await.unwrap().unwrap();
        assert!(accepted.stream.nodelay().unwrap());
        assert_eq!(Some(peer.remote), client.local_addr().ok());
        assert_eq!(peer.local, client.peer_addr().ok());
    }
}
