//! One HTTP/2 connection.
//!
//! A connection is ready once the peer has sent its settings (RFC 9113, section 3.4) and permits a call. A peer that accepts
//! the socket and stays silent, or permits no call, therefore fails the connection attempt, and no call is sent to it.
//!
//! The files:
//! - `mod.rs`: opens the connection, and sends requests;
//! - `observed.rs`, `frames.rs`: observe the settings and the GOAWAY of the peer;
//! - `traffic.rs`: what the connection has sent and received;
//! - `streams.rs`: the calls that the peer permits at the same time;
//! - `exchange.rs`, `received.rs`: one request and its response;
//! - `wakes.rs`: delays the wakes that h2 makes while it holds the lock of the connection;
//! - `driver.rs`: drives the connection to its end, and watches the peer.
//!
//! The connection is that of h2, without the client of hyper around it: the task of a call hands its request to h2 and
//! reads the response, so that a call of one message starts no task, and its headers and its message are written at once.

mod driver;
mod exchange;
mod frames;
mod observed;
mod received;
mod streams;
mod traffic;
mod wakes;

use std::{
    fmt,
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use comms_core::{BoxError, clock::Clock};
use h2::client::SendRequest;
use http::{Request, Response};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    runtime::Handle,
};

use self::{
    driver::{EndOnDrop, run, watch},
    exchange::send_body,
    observed::Observed,
    streams::{Permit, Streams},
    traffic::Traffic,
    wakes::{DelayableWaker, DelayedWakes},
};
use super::{keep_alive::KeepAlive, request::RequestBody, task::Task};

pub(super) use exchange::{Exchange, ExchangeGuard};
pub(super) use received::ReceivedBody;

/// The maximum size of response headers or trailers in bytes: room for a status message of 256 KiB, percent-encoded in
/// full. Above a limit of 16 KiB, the call would lose its status, and other calls on the connection would fail.
const HEADER_LIST: u32 = 1024 * 1024;

/// The bytes of one response, and of all responses of a connection, that no caller has read. Responses that are not read
/// leave room for others.
const STREAM_WINDOW: u32 = 1024 * 1024;
const CONNECTION_WINDOW: u32 = 64 * 1024 * 1024;
/// The bytes of one request body that wait for the peer, beyond the message that is sent.
const SEND_BUFFER: usize = 1024 * 1024;

/// The time limits of a connection.
#[derive(Debug, Clone)]
pub(super) struct Limits {
    pub(super) keep_alive: KeepAlive,
    /// The maximum duration of the connection attempt, and the longest time in which the peer may permit no call.
    pub(super) connect_timeout: Duration,
    pub(super) clock: Clock,
}

/// A connection. Clones send on the same connection.
///
/// The connection takes no further call after a GOAWAY of the peer, and ends when its streams have ended.
#[derive(Clone)]
pub(super) struct Connection {
    shared: Arc<Shared>,
    /// Set when the peer answers a call.
    answered: Arc<AtomicBool>,
}

struct Shared {
    sender: SendRequest<Bytes>,
    streams: Arc<Streams>,
    traffic: Arc<Traffic>,
    runtime: Handle,
    opened: Instant,
    clock: Clock,
}

/// A connection with a stream that is reserved for one call.
pub(super) struct FreeStream {
    connection: Connection,
    exchange: Arc<Exchange>,
}

/// A request that was not answered.
#[derive(Debug)]
pub(super) struct Unanswered {
    pub(super) error: BoxError,
    /// Whether the request was still in this process.
    pub(super) is_unsent: bool,
    /// Whether the body of the caller failed, so that this process ended the request.
    pub(super) is_local: bool,
}

impl Connection {
    /// Speaks HTTP/2 over `io`, and waits until the peer has sent its settings and permits a call. The tasks of the
    /// connection run on `runtime`. `opened` is the time of the attempt. `answered` is set when the peer answers a call.
    pub(super) async fn open<T>(
        io: T,
        limits: Limits,
        runtime: &Handle,
        opened: Instant,
        answered: Arc<AtomicBool>,
    ) -> Result<Self, BoxError>
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (connect_timeout, clock) = (limits.connect_timeout, limits.clock.clone());
        let (streams, traffic) = (Streams::new(), Arc::new(Traffic::new(clock.clone())));
        let (io, peer_spoke) = Observed::new(io, streams.clone(), traffic.clone());
        let (sender, mut connection) = h2::client::Builder::new()
            .max_header_list_size(HEADER_LIST)
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buffer_size(SEND_BUFFER)
            .enable_push(false)
            .handshake(io)
            .await?;
        let watch = watch(connection.ping_pong(), streams.clone(), traffic.clone(), limits);
        let end = EndOnDrop { streams: streams.clone(), _watch: Task::spawn(runtime, watch) };
        runtime.spawn(run(connection, traffic.clone(), end));
        peer_spoke.await.map_err(|_| "the peer closed the connection before its HTTP/2 settings")??;
        tokio::select! {
            // Also if the connection has ended: a server may close any connection in order.
            stream = streams.open() => drop(stream),
            () = clock.sleep_until(opened + connect_timeout) => {
                return Err("the peer permits no call: its SETTINGS_MAX_CONCURRENT_STREAMS is 0".into());
            }
        }
        let runtime = runtime.clone();
        let shared = Shared { sender, streams, traffic, runtime, opened, clock };
        Ok(Self { shared: Arc::new(shared), answered })
    }

    /// Returns whether the connection takes no further call.
    pub(super) fn is_closed(&self) -> bool {
        self.shared.streams.is_closed()
    }

    /// Returns the number of streams that the peer permits at the same time.
    pub(super) fn max_streams(&self) -> usize {
        self.shared.streams.limit()
    }

    /// Returns when the connection attempt began.
    pub(super) fn opened(&self) -> Instant {
        self.shared.opened
    }

    /// Returns a handle to the same connection for calls of the channel itself: their answers do not show that the peer
    /// answers calls.
    pub(super) fn for_health(&self) -> Self {
        Self { answered: Arc::default(), ..self.clone() }
    }

    /// Reserves a stream, or returns `None` if the connection has as many calls as the peer permits.
    pub(super) fn try_stream(self) -> Option<FreeStream> {
        self.shared.streams.try_open().map(|permit| self.reserved(permit))
    }

    /// Waits for a free stream, in the order of the calls. Returns `None` if the connection takes no further call.
    pub(super) async fn stream(self) -> Option<FreeStream> {
        self.shared.streams.open().await.map(|permit| self.reserved(permit))
    }

    fn reserved(self, permit: Permit) -> FreeStream {
        let exchange = Exchange::new(permit, self.shared.traffic.clone());
        FreeStream { connection: self, exchange }
    }
}

impl FreeStream {
    /// Returns the state of the exchange for which the stream is reserved.
    pub(super) const fn exchange(&self) -> &Arc<Exchange> {
        &self.exchange
    }

    /// Returns whether the peer has answered no call on the connection.
    pub(super) fn is_first(&self) -> bool {
        !self.connection.answered.load(Relaxed)
    }

    /// Sends `request` and waits for the response headers. The request ends when the returned guard is dropped, and at
    /// `deadline` if its messages are a stream.
    pub(super) async fn send(
        self,
        request: Request<RequestBody>,
        deadline: Instant,
    ) -> Result<(Response<ReceivedBody>, ExchangeGuard), Unanswered> {
        let Self { connection: Connection { shared, answered }, exchange } = self;
        let guard = ExchangeGuard(exchange.clone());
        let (head, body) = request.into_parts();
        let body = body.into_whole();
        let wakes = DelayedWakes::begin();
        let sent =
            shared.sender.clone().send_request(Request::from_parts(head, ()), matches!(body, Ok(None)));
        let (mut response, mut stream) = sent.map_err(|error| {
            // The connection has ended, or has no further stream.
            shared.streams.close();
            Unanswered { error: error.into(), is_unsent: true, is_local: false }
        })?;
        exchange.begin(response.stream_id().as_u32());
        match body {
            // The message leaves with the headers. If the stream has ended, the response reports it.
            Ok(Some(message)) => {
                let _ = stream.send_data(message, true);
                drop(stream);
            }
            Ok(None) => drop(stream),
            Err(body) => {
                let clock = shared.clock.clone();
                shared.runtime.spawn(send_body(body, stream, exchange.clone(), deadline, clock));
            }
        }
        drop(wakes);
        let waker = DelayableWaker::new();
        match poll_fn(|cx| waker.poll(cx, |cx| Pin::new(&mut response).poll(cx))).await {
            Ok(response) => {
                answered.store(true, Relaxed);
                Ok((response.map(|stream| ReceivedBody::new(stream, waker)), guard))
            }
            Err(error) => {
                let is_local = exchange.body_failed();
                let reason = shared.traffic.reason().map(BoxError::from);
                let error = reason.unwrap_or_else(|| error.into());
                Err(Unanswered { error, is_unsent: !is_local && !exchange.is_sent(), is_local })
            }
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("closed", &self.is_closed()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
