//! The accept loop.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use comms_core::{BoxError, clock::Clock, telemetry};
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
    time::timeout,
};
use tower_service::Service;

use super::{
    ListenerConfig, Peer, Protocols, RequestBody,
    activity::Activity,
    connection::{self, End},
    refusal::HyperRefusals,
    room::{Room, Slot},
    service::Counted,
    socket::Socket,
    watch::Limit,
};

/// How long to wait after an accept that failed for want of descriptors or memory: at once would be a busy loop.
const PAUSE: Duration = Duration::from_millis(100);
/// The shortest time between two warnings about such failures.
const QUIET: Duration = Duration::from_secs(10);
/// How much later than its limit the drain gives up on connections whose handlers block their threads.
const LATE: Duration = Duration::from_secs(1);

/// Bytes of a connection that the kernel accepts ahead of what it can send. Without this bound it takes megabytes, and then
/// nothing for minutes from a slow peer that reads all the time, which looks like a peer that does not read.
#[cfg(any(target_os = "android", target_os = "linux"))]
const UNSENT: u32 = 32 * 1024;

pub(super) struct Acceptor {
    listener: TcpListener,
    room: Room,
    builder: Arc<Builder<TokioExecutor>>,
    config: Arc<ListenerConfig>,
    closed: Arc<Closed>,
    clock: Clock,
    warned: Option<Instant>,
    /// Each with the number of requests that were cut at the end of the drain.
    open: JoinSet<u32>,
    ending: watch::Sender<bool>,
}

/// An accepted socket with its place.
pub(super) struct Accepted {
    stream: TcpStream,
    slot: Slot,
}

/// How many connections the listener closed, by reason.
struct Closed {
    address: Counter,
    head: Counter,
    progress: Counter,
}

impl Closed {
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
}

impl Acceptor {
    pub(super) fn new(listener: TcpListener, config: ListenerConfig, clock: Clock) -> Self {
        let gauge = metrics::gauge!(telemetry::CONNECTIONS, "listener" => config.name.clone());
        Self {
            listener,
            room: Room::new(config.max_connections, config.per_address(), gauge),
            builder: Arc::new(connection::builder(&config)),
            closed: Arc::new(Closed::new(&config.name)),
            config: Arc::new(config),
            clock,
            warned: None,
            open: JoinSet::new(),
            ending: watch::Sender::new(false),
        }
    }

    /// The next connection for which there is room. No error ends the loop. Cancel safe.
    pub(super) async fn accept(&mut self) -> (Accepted, Peer) {
        loop {
            let accepted = tokio::select! {
                Some(_) = self.open.join_next() => continue,
                accepted = accept(&self.listener, &self.room) => accepted,
            };
            match accepted {
                Ok(Some(accepted)) => return accepted,
                Ok(None) => self.closed.address.increment(1),
                Err(error) if is_of_one_connection(&error) => tracing::debug!(%error, "accept"),
                Err(error) => {
                    self.warn(&error);
                    self.clock.sleep(PAUSE).await;
                }
            }
        }
    }

    fn warn(&mut self, error: &io::Error) {
        let now = self.clock.now();
        if self.warned.is_none_or(|warned| now.saturating_duration_since(warned) >= QUIET) {
            self.warned = Some(now);
            tracing::warn!(listener = self.config.name, %error, "connections cannot be accepted");
        }
    }

    pub(super) fn serve<S, B>(&mut self, accepted: Accepted, service: S)
    where
        S: Service<Request<RequestBody>, Response = Response<B>, Error: Into<BoxError>>,
        S: Clone + Send + 'static,
        S::Future: Send + 'static,
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let Accepted { stream, slot } = accepted;
        let activity = Arc::new(Activity::default());
        let clock = self.config.problem_details.then(|| self.clock.clone());
        let socket = HyperRefusals::new(Socket::new(stream, slot, activity.clone()), clock);
        let socket = TokioIo::new(socket);
        let service = Counted::new(service, activity.clone());
        let (builder, config, clock) = (self.builder.clone(), self.config.clone(), self.clock.clone());
        let (closed, ending) = (self.closed.clone(), self.ending.subscribe());
        self.open.spawn(async move {
            let end = match config.protocols {
                Protocols::Http => {
                    let connection = builder.serve_connection_with_upgrades(socket, service);
                    connection::drive(connection, &activity, &config, &clock, ending).await
                }
                Protocols::Http2 => {
                    let connection = builder.serve_connection(socket, service);
                    connection::drive(connection, &activity, &config, &clock, ending).await
                }
            };
            closed.note(&config.name, end)
        });
    }

    /// Closes the listener, tells every connection to end, and waits for the requests in flight, at most for the limit of
    /// the drain.
    pub(super) async fn drain(mut self) {
        drop(self.listener);
        self.ending.send_replace(true);
        let mut cut = 0;
        let ends = async {
            while let Some(end) = self.open.join_next().await {
                cut += end.unwrap_or_default();
            }
        };
        // Connections end by themselves in time, unless a handler blocks their thread.
        let late = timeout(self.config.drain.saturating_add(LATE), ends).await.is_err();
        let (listener, stuck) = (&self.config.name, self.open.len());
        if late || cut > 0 {
            tracing::warn!(listener, requests = cut, stuck, "requests were cut at the end of the drain");
        }
        // A thread that is blocked cannot be waited for: what is left is aborted when it yields.
        self.open.abort_all();
    }
}

impl Closed {
    /// Counts the end of a connection. Returns the number of requests that the drain cut.
    fn note(&self, listener: &str, end: End) -> u32 {
        match end {
            End::Closed => {}
            End::Failed(error) => tracing::debug!(listener, error, "a connection failed"),
            End::Cut(Limit::Head, _) => self.head.increment(1),
            End::Cut(Limit::Progress, requests) => {
                self.progress.increment(1);
                tracing::debug!(listener, requests, "a connection without progress was cut");
            }
            End::Cut(Limit::Drain, requests) => return requests.max(1),
            End::Cut(Limit::Age | Limit::Goaway | Limit::Idle, _) => {}
        }
        0
    }
}

/// The next socket, or `None` for one that was closed because its address has as many as it may.
async fn accept(listener: &TcpListener, room: &Room) -> io::Result<Option<(Accepted, Peer)>> {
    let Some(place) = room.place().await else { return Ok(None) };
    let (stream, remote) = listener.accept().await?;
    let Some(slot) = room.slot(place, remote.ip()) else { return Ok(None) };
    // Responses are small: with Nagle's algorithm they wait for the peer's delayed acknowledgement.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY");
    }
    #[cfg(any(target_os = "android", target_os = "linux"))]
    if let Err(error) = socket2::SockRef::from(&stream).set_tcp_notsent_lowat(UNSENT) {
        tracing::debug!(%error, "TCP_NOTSENT_LOWAT");
    }
    let peer = Peer { remote, local: stream.local_addr().ok() };
    Ok(Some((Accepted { stream, slot }, peer)))
}

/// Whether the error says something about the connection that was to be accepted, and nothing about the next.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

#[cfg(test)]
mod tests {
    use metrics::Gauge;

    use super::*;

    #[tokio::test]
    async fn accepted_sockets_send_at_once() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let room = Room::new(1, 1, Gauge::noop());
        let (accepted, peer) = accept(&listener, &room).await.unwrap().unwrap();
        assert!(accepted.stream.nodelay().unwrap());
        assert_eq!(Some(peer.remote), client.local_addr().ok());
        assert_eq!(peer.local, client.peer_addr().ok());
    }
}
